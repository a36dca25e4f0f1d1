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

"""Random light: dusk, night and other colours of an image that was taken by day."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.lighting import DUSK, NIGHT, Lighting, relight


class LightAugmentation(Protocol):
    """How much the light changes.

    Attributes:
        light: largest change of brightness, contrast and each colour.
        dusk: share of images relit as at dusk.
        night: share of images relit as at night.
        blur_px: largest sigma of a blur.
    """

    @property
    def light(self) -> float: ...  # noqa: D102
    @property
    def dusk(self) -> float: ...  # noqa: D102
    @property
    def night(self) -> float: ...  # noqa: D102
    @property
    def blur_px(self) -> float: ...  # noqa: D102


def relight_randomly(
    image: Array, augmentation: LightAugmentation, rng: np.random.Generator, *, original_width: int
) -> Array:
    """An (H, W) or (H, W, 3) uint8 image by day, at dusk or at night, with other colours and blur.

    Noise is that of the sensor's pixels; resizing averages several of them.
    """
    kind, seed = rng.uniform(), int(rng.integers(2**31))
    averaged = min(1.0, image.shape[1] / original_width)
    if kind < augmentation.night:
        image = relight(image, _scale_noise(NIGHT, averaged), seed)
    elif kind < augmentation.night + augmentation.dusk:
        image = relight(image, _scale_noise(DUSK, averaged), seed)
    gain = 1 + rng.uniform(-augmentation.light, augmentation.light) + rng.uniform(-0.25, 0.25, 3) * augmentation.light
    offset, middle = rng.uniform(-0.3, 0.3) * augmentation.light * 255, float(image.mean())
    contrast = 1 + rng.uniform(-augmentation.light, augmentation.light)
    gains = (gain if image.ndim == 3 else gain[:1]).astype(np.float32)
    values = ((image - np.float32(middle)) * np.float32(contrast) + np.float32(middle)) * gains + np.float32(offset)
    changed = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    sigma = rng.uniform(0, augmentation.blur_px)
    return changed if sigma < 0.3 else np.asarray(cv2.GaussianBlur(changed, (0, 0), sigma))


def _scale_noise(lighting: Lighting, factor: float) -> Lighting:
    return replace(lighting, noise=lighting.noise * factor, read_noise=lighting.read_noise * factor)
