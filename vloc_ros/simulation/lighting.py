# Copyright 2026 vloc_ros maintainers
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

"""Light and sensor: from radiance to the image of a camera, by day, at dusk and at night."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array

_WHITE = 255.0
_DISPLAY_GAMMA = 2.2


@dataclass(frozen=True, slots=True)
class Lighting:
    """The light of a time of day, and the response of a small camera to it.

    Attributes:
        daylight: strength of the ambient light; 1 shows a white wall as white.
        lamps: strength of the world's lamps; their light falls off with distance.
        exposure: gain of the sensor.
        exposure_jitter: standard deviation of log exposure between frames, as of a hunting auto-exposure.
        gamma: exponent of the tone curve; a value above 1 darkens the shadows.
        vignetting: share of the light that is lost in the corners.
        tint: gain of blue, green and red.
        noise: standard deviation of the noise of a white pixel, of 255.
        read_noise: standard deviation of the noise of a black pixel, of 255.
        blur_px: standard deviation of the lens blur at 640 pixels of width.
        motion_blur_px: length of the mean motion blur at 640 pixels of width.
    """

    daylight: float = 0.72
    lamps: float = 0.3
    exposure: float = 1.0
    exposure_jitter: float = 0.05
    gamma: float = 1.0
    vignetting: float = 0.25
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise: float = 10.0
    read_noise: float = 6.0
    blur_px: float = 0.8
    motion_blur_px: float = 1.0


DAY = Lighting()
# a larger camera under the open sky, as cars carry
CLEAR_DAY = Lighting(daylight=1.0, noise=5.0, read_noise=2.0, blur_px=0.4, motion_blur_px=0.3)
DUSK = Lighting(daylight=0.25, lamps=0.35, exposure=1.15, exposure_jitter=0.08, vignetting=0.35,
                tint=(1.08, 0.97, 0.95), noise=12.0, read_noise=7.0, motion_blur_px=1.5)  # fmt: skip
NIGHT = Lighting(daylight=0.03, lamps=0.5, exposure=1.1, exposure_jitter=0.1, gamma=1.15, vignetting=0.45,
                 tint=(0.78, 0.95, 1.15), noise=13.0, read_noise=8.0, blur_px=0.9, motion_blur_px=2.5)  # fmt: skip


def relight(image: Array, lighting: Lighting, seed: int) -> Array:
    """Change the light of a photograph. Only the photometry changes, not the geometry.

    The photograph is assumed to be taken by DAY. Lamps at unknown positions are modelled by a smooth random field.

    Args:
        image: (H, W, 3) uint8 BGR or (H, W) uint8 grey.
        lighting: the new light.
        seed: equal seeds give equal images.
    """
    rng = np.random.default_rng([seed, 2])
    height, width = image.shape[:2]
    grid = np.exp(0.5 * rng.standard_normal((4, 5))).astype(np.float32)
    pools = cv2.resize(grid / grid.mean(), (width, height), interpolation=cv2.INTER_CUBIC)
    irradiance = (lighting.daylight + lighting.lamps * pools) / (DAY.daylight + DAY.lamps)
    colour = image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    result = expose(colour * irradiance[..., None], lighting, seed)
    return result if image.ndim == 3 else np.asarray(cv2.cvtColor(result, cv2.COLOR_BGR2GRAY))


def underexpose(
    image: Array, light: float, *, full_well: float, read_noise: float, vignetting: float, seed: int
) -> Array:
    """A photograph as a camera would take it in less light with the same exposure: photon noise, read noise, 8 bits.

    Args:
        image: (H, W, 3) or (H, W) uint8, taken in full light, with a tone curve of exponent 1 / 2.2.
        light: share of the light that is left.
        full_well: electrons of a white pixel in full light.
        read_noise: standard deviation, electrons.
        vignetting: share of the light that is lost in the corners.
        seed: equal seeds give equal images.
    """
    rng = np.random.default_rng([seed, 5])
    height, width = image.shape[:2]
    kept = _vignette(width, height, vignetting)
    linear = cv2.pow(image.astype(np.float32) / _WHITE, _DISPLAY_GAMMA)
    electrons = linear * (light * full_well * (kept[..., None] if image.ndim == 3 else kept))
    counted = rng.poisson(electrons) + read_noise * rng.standard_normal(image.shape, dtype=np.float32)
    shown = np.clip(counted / full_well, 0.0, 1.0) ** (1 / _DISPLAY_GAMMA)
    return np.asarray(np.rint(_WHITE * shown).astype(np.uint8))


def blur_by_motion(image: Array, length_px: float, angle_rad: float) -> Array:
    """A photograph blurred by a motion along a line of the image; its centre stays where it is."""
    kernel = _motion_blur_kernel(length_px, angle_rad)
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REPLICATE))


def expose(radiance: Array, lighting: Lighting, seed: int) -> Array:
    """Turn (H, W, 3) float32 radiance (255 is white) into an (H, W, 3) uint8 BGR image: lens, sensor, tone curve."""
    rng = np.random.default_rng([seed, 3])
    height, width = radiance.shape[:2]
    gain = lighting.exposure * np.exp(lighting.exposure_jitter * rng.standard_normal())
    scale = np.float32(gain) * _vignette(width, height, lighting.vignetting)
    image = np.asarray(radiance, dtype=np.float32) * (scale[..., None] * np.array(lighting.tint, np.float32))
    image = _apply_lens(image, lighting, rng, width / 640.0)
    slope = (lighting.noise**2 - lighting.read_noise**2) / _WHITE
    noise = np.clip(image, 0, _WHITE)
    noise *= np.float32(max(0.0, slope))
    noise += lighting.read_noise**2
    np.sqrt(noise, out=noise)
    noise *= rng.standard_normal(image.shape, dtype=np.float32)
    image += noise
    if lighting.gamma != 1.0:
        image = _WHITE * cv2.pow(np.clip(image, 0, _WHITE) / _WHITE, lighting.gamma)
    return np.asarray(cv2.convertScaleAbs(np.maximum(image, 0.0, out=image)))


def _apply_lens(image: Array, lighting: Lighting, rng: np.random.Generator, scale: float) -> Array:
    if lighting.blur_px > 0:
        sigma = lighting.blur_px * scale
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    length, angle = lighting.motion_blur_px * scale * rng.exponential(), rng.uniform(0, np.pi)
    if length > 0.3:
        image = cv2.filter2D(image, -1, _motion_blur_kernel(length, angle), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(image)


def _motion_blur_kernel(length_px: float, angle: float) -> Array:
    """A normalised kernel: a line of `length_px` in direction `angle`. It is symmetric, so the image does not shift."""
    half = int(np.ceil(length_px / 2)) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    kernel = np.clip(length_px / 2 + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1)
    return np.asarray(kernel / kernel.sum(), dtype=np.float32)


@lru_cache(maxsize=8)
def _vignette(width: int, height: int, loss: float) -> Array:
    y, x = np.mgrid[:height, :width]
    radius2 = ((x - width / 2) ** 2 + (y - height / 2) ** 2) / (width**2 + height**2) * 4
    return np.asarray(1.0 - loss * radius2, dtype=np.float32)
