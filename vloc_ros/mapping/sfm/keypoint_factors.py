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

"""Keypoints of points as factors of GTSAM: of calibrations that are right, or that are variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import gtsam
import numpy as np
from gtsam.symbol_shorthand import L, X

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.mapping.sfm.factors import robust_noise
from vloc_ros.mapping.sfm.structure import Structure

_KEYPOINT_STD_PX = 0.5
# of the loss, in standard deviations
_KEYPOINT_WIDTH = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class KeypointObservation:
    """A keypoint of a point, as a pixel of an ideal camera of the same focal length.

    Attributes:
        pixel: (2,), from the principal point.
        std_px: of it.
        image, point: numbers.
        camera: the real one.
    """

    pixel: Array
    std_px: float
    image: int
    point: int
    camera: Camera

    def of_calibrated(self) -> gtsam.NoiseModelFactor:
        """Its factor where calibrations are right."""
        ideal = _ideal(float(self.camera.intrinsics[0]))
        noise = keypoint_noise(self.std_px)
        return gtsam.GenericProjectionFactorCal3_S2(
            self.pixel, noise, X(self.image), L(self.point), ideal, False, False
        )

    def residual(self, found: gtsam.Values) -> Array:
        """(2,) standard deviations by which it is off."""
        return np.asarray(self.of_calibrated().unwhitenedError(found)) / self.std_px

    def of_uncertain(self, calibration: int, *, spread: float) -> gtsam.NonlinearFactor:
        """Its factor where the calibration is a variable, with that many times its standard deviation."""
        noise = keypoint_noise(spread * self.std_px)
        return gtsam.GeneralSFMFactor2Cal3DS2(self.pixel, noise, X(self.image), L(self.point), calibration)


@lru_cache(maxsize=64)
def _ideal(focal_px: float) -> gtsam.Cal3_S2:
    return gtsam.Cal3_S2(focal_px, focal_px, 0.0, 0.0, 0.0)


def observations(
    structure: Structure, rays: Sequence[Array], cameras: Sequence[Camera]
) -> Iterator[KeypointObservation]:
    """The observations of a structure, by (K, 3) rays with z = 1 of the keypoints, and the camera, of each image."""
    focal_px, is_fisheye = np.array([one.intrinsics[0] for one in cameras]), [one.is_fisheye for one in cameras]
    tracks = np.column_stack([structure.track_points, structure.track_images, structure.track_keypoints])
    for point, image, keypoint in tracks.tolist():
        ray = rays[image][keypoint, :2]
        # towards its rim a fisheye lens shows an angle by fewer pixels than the ideal camera
        factor = 1.0 + float(ray @ ray) if is_fisheye[image] else 1.0
        yield KeypointObservation(focal_px[image] * ray, factor * _KEYPOINT_STD_PX, image, point, cameras[image])


@lru_cache(maxsize=1024)
def keypoint_noise(std_px: float = _KEYPOINT_STD_PX) -> gtsam.noiseModel.Robust:
    """Of a keypoint with a standard deviation, under a loss that mismatches hardly move."""
    return robust_noise(np.full(2, std_px), _KEYPOINT_WIDTH)
