"""Changed versions of an image: seen from elsewhere, in another light, blurred."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from training.recognition.config import ImageChangeConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

_LEVELS = 255.0


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A changed image, and where its pixels come from.

    Attributes:
        image: (H, W) uint8.
        changed_from_original: (3, 3) homography of pixels in COLMAP's convention.
    """

    image: Array
    changed_from_original: Array

    def original(self, xy: Array) -> Array:
        """(N, 2) pixels of the unchanged image that (N, 2) pixels of this one show."""
        return transformed(np.linalg.inv(self.changed_from_original), xy)


def transformed(homography: Array, xy: Array) -> Array:
    """(N, 2) pixels carried through a (3, 3) homography."""
    carried = np.column_stack([xy, np.ones(len(xy))]) @ homography.T
    return np.asarray(carried[:, :2] / carried[:, 2:])


def unchanged(image: Array) -> Version:
    """The image as it is, in grey."""
    grey = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) if image.ndim == 3 else image
    return Version(grey, np.eye(3))


def changed(image: Array, camera: Camera, config: ImageChangeConfig, rng: np.random.Generator) -> Version:
    """One version of an (H, W) or (H, W, 3) uint8 image, drawn by lot."""
    homography = drawn_homography(camera, config, rng)
    grey = warped(unchanged(image).image, homography)
    grey = _relit(grey, config.light, rng)
    if rng.uniform() < config.night:
        grey = _at_night(grey, rng)
    return Version(_blurred(grey, rng.uniform(0, config.blur_px)), homography)


def drawn_homography(camera: Camera, config: ImageChangeConfig, rng: np.random.Generator) -> Array:
    """(3, 3) what a step of the camera does to a slanted plane in the middle of the view.

    The camera steps aside, forward or back, turns so that what was in the middle stays near it, and rolls.
    """
    slant = np.tan(np.radians(rng.uniform(-config.tilt_deg, config.tilt_deg))) * _unit(rng)
    normal = np.array([*slant, 1.0])
    x, y = rng.uniform(-config.sideways, config.sideways, 2)
    step = np.array([x, y, rng.uniform(-config.forward, config.forward)])
    away = 1.0 - step[2]
    back_to_middle = np.array([-np.arctan2(y, away), np.arctan2(x, away), 0.0]) * rng.uniform(0.7, 1.0)
    roll = np.array([0.0, 0.0, np.radians(rng.uniform(-config.roll_deg, config.roll_deg))])
    new_from_turned = Pose.from_rotation_vector(roll, np.zeros(3)).rotation
    turned_from_old = Pose.from_rotation_vector(back_to_middle, np.zeros(3)).rotation
    # points of the plane normal · p = 1 in the old frame lie at R (p - step) = R (I - step normalᵀ) p in the new one
    moved = new_from_turned @ turned_from_old @ (np.eye(3) - np.outer(step, normal))
    return np.asarray(camera.matrix @ moved @ np.linalg.inv(camera.matrix))


def warped(grey: Array, homography: Array) -> Array:
    """An (H, W) image moved by a (3, 3) homography of pixels in COLMAP's convention; grey where nothing is known."""
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    in_opencv = np.linalg.inv(half) @ homography @ half
    size = grey.shape[1::-1]
    return np.asarray(cv2.warpPerspective(grey, in_opencv, size, flags=cv2.INTER_LINEAR, borderValue=127.0))


def _unit(rng: np.random.Generator) -> Array:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _relit(grey: Array, strength: float, rng: np.random.Generator) -> Array:
    """Another gamma and contrast, and light that comes from one side."""
    height, width = grey.shape
    towards = _unit(rng) * rng.uniform(0, 0.4 * strength)
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    fall = 1 + np.float32(towards[0]) * x[None] + np.float32(towards[1]) * y[:, None]
    bright = (grey / np.float32(_LEVELS)) ** np.float32(2 ** rng.uniform(-0.8 * strength, 0.8 * strength))
    contrast = np.float32(2 ** rng.uniform(-0.6 * strength, 0.4 * strength))
    return _levels((bright - bright.mean()) * contrast * fall + bright.mean() * fall)


def _at_night(grey: Array, rng: np.random.Generator) -> Array:
    """A fifth to a half of the light, and a sensor's noise."""
    dark = grey / np.float32(_LEVELS) * np.float32(rng.uniform(0.2, 0.5))
    noise = rng.standard_normal(grey.shape, dtype=np.float32) * np.float32(rng.uniform(0.003, 0.01))
    return _levels(dark + noise)


def _blurred(grey: Array, sigma_px: float) -> Array:
    return grey if sigma_px < 0.3 else np.asarray(cv2.GaussianBlur(grey, (0, 0), sigma_px))


def _levels(light: Array) -> Array:
    return np.asarray(np.rint(np.clip(light, 0, 1) * _LEVELS)).astype(np.uint8)
