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

"""Augmented versions of an image: another viewpoint, other light, blur."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

_LEVELS = 255.0


@dataclass(frozen=True, slots=True)
class ImageAugmentationConfig(Checked):
    """How images are augmented before their keypoints are extracted, once, before training."""

    versions: int = parameter(8, "versions of each image, the first of them unchanged", low=1, high=100)
    sideways: float = parameter(0.25, "largest sideways step, relative to the scene's distance", low=0.0, high=1.0)
    forward: float = parameter(0.3, "largest step forward or back, relative to the distance", low=0.0, high=0.8)
    tilt_deg: float = parameter(40.0, "largest tilt of the plane that approximates the scene", low=0.0, high=75.0)
    roll_deg: float = parameter(15.0, "largest rotation about the optical axis", low=0.0, high=180.0)
    light: float = parameter(1.0, "strength of changes of gamma, contrast and shading; 0 for none", low=0.0, high=2.0)
    night: float = parameter(0.1, "share of versions that are dark and noisy", low=0.0, high=1.0)
    blur_px: float = parameter(1.5, "largest sigma of a blur", unit="px", low=0.0, high=20.0)


@dataclass(frozen=True, slots=True, eq=False)
class ImageVersion:
    """An augmented image, and the homography from the original.

    Attributes:
        image: (H, W) uint8 grey or (H, W, 3) uint8 BGR, as the camera gives it.
        version_from_original: (3, 3) homography of pixels in COLMAP's convention.
    """

    image: Array
    version_from_original: Array

    def to_original(self, xy: Array) -> Array:
        """(N, 2) pixels of the original image from (N, 2) pixels of this one."""
        return apply_homography(np.linalg.inv(self.version_from_original), xy)


def apply_homography(homography: Array, xy: Array) -> Array:
    """(N, 2) pixels transformed by a (3, 3) homography."""
    homogeneous = np.column_stack([xy, np.ones(len(xy))]) @ homography.T
    return np.asarray(homogeneous[:, :2] / homogeneous[:, 2:])


def keep_image(image: Array) -> ImageVersion:
    """The original image."""
    return ImageVersion(image, np.eye(3))


def augment_image(
    image: Array, camera: Camera, config: ImageAugmentationConfig, rng: np.random.Generator
) -> ImageVersion:
    """A random version of an (H, W) or (H, W, 3) uint8 image."""
    homography = draw_homography(camera, config, rng)
    version = _change_lighting(warp_image(image, homography), config.light, rng)
    if rng.uniform() < config.night:
        version = _darken(version, rng)
    return ImageVersion(_blur(version, rng.uniform(0, config.blur_px)), homography)


def draw_homography(camera: Camera, config: ImageAugmentationConfig, rng: np.random.Generator) -> Array:
    """(3, 3) homography of a random camera motion in front of a tilted plane in the middle of the view.

    The camera moves sideways, forward or back, turns back towards the middle, and rolls.
    """
    slant = np.tan(np.radians(rng.uniform(-config.tilt_deg, config.tilt_deg))) * _draw_direction(rng)
    normal = np.array([*slant, 1.0])
    x, y = rng.uniform(-config.sideways, config.sideways, 2)
    step = np.array([x, y, rng.uniform(-config.forward, config.forward)])
    away = 1.0 - step[2]
    back_to_middle = np.array([-np.arctan2(y, away), np.arctan2(x, away), 0.0]) * rng.uniform(0.7, 1.0)
    roll = np.array([0.0, 0.0, np.radians(rng.uniform(-config.roll_deg, config.roll_deg))])
    new_from_turned = Pose.from_rotation_vector(roll, np.zeros(3)).rotation
    turned_from_old = Pose.from_rotation_vector(back_to_middle, np.zeros(3)).rotation
    # points of the plane normal · p = 1 in the old frame lie at R (p - step) = R (I - step normalᵀ) p in the new one
    motion = new_from_turned @ turned_from_old @ (np.eye(3) - np.outer(step, normal))
    return np.asarray(camera.matrix @ motion @ np.linalg.inv(camera.matrix))


def warp_image(image: Array, homography: Array) -> Array:
    """An (H, W) or (H, W, 3) image warped by a (3, 3) homography of COLMAP's pixels; grey outside the original."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    in_opencv = np.linalg.inv(half) @ homography @ half
    size = image.shape[1::-1]
    return np.asarray(cv2.warpPerspective(image, in_opencv, size, flags=cv2.INTER_LINEAR, borderValue=(127.0,) * 3))


def _draw_direction(rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _change_lighting(image: Array, strength: float, rng: np.random.Generator) -> Array:
    """Random gamma, contrast and shading from one side, the same in all channels."""
    height, width = image.shape[:2]
    towards = _draw_direction(rng) * rng.uniform(0, 0.4 * strength)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    fall = 1 + np.float32(towards[0]) * x[None] + np.float32(towards[1]) * y[:, None]
    fall = fall if image.ndim == 2 else fall[..., None]
    bright = (image / np.float32(_LEVELS)) ** np.float32(2 ** rng.uniform(-0.8 * strength, 0.8 * strength))
    contrast = np.float32(2 ** rng.uniform(-0.6 * strength, 0.4 * strength))
    return _quantise((bright - bright.mean()) * contrast * fall + bright.mean() * fall)


def _darken(image: Array, rng: np.random.Generator) -> Array:
    """A fifth to a half of the light, and sensor noise of the luminance."""
    dark = image / np.float32(_LEVELS) * np.float32(rng.uniform(0.2, 0.5))
    noise = rng.standard_normal(image.shape[:2], dtype=np.float32) * np.float32(rng.uniform(0.003, 0.01))
    return _quantise(dark + (noise if image.ndim == 2 else noise[..., None]))


def _blur(image: Array, sigma_px: float) -> Array:
    return image if sigma_px < 0.3 else np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px))


def _quantise(light: Array) -> Array:
    return np.asarray(np.rint(np.clip(light, 0, 1) * _LEVELS)).astype(np.uint8)
