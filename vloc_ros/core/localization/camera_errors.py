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

"""How far off the odometry and the calibration of a moving camera may be, and what that does to its clouds.

The errors of the scale, the focal length, the principal point and the extrinsics are alike for all clouds of a drive:
they are unknowns that the clouds share, not noise of each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.geometry.pose import Array

# scale, focal length, principal point along two axes, extrinsics about three
COMMON = 7
_SCALE, _FOCAL, _CENTRE, _EXTRINSICS = 0, 1, [2, 3], [4, 5, 6]


@dataclass(frozen=True, slots=True)
class CameraErrors:
    """Standard deviations of the errors of a moving camera's odometry and calibration.

    Attributes:
        scale_std: of the relative error of odometry's distances.
        yaw_std_rad: of odometry's yaw after one metre; it grows with the square root of the distance.
        focal_std: of the relative error of the focal length.
        centre_std_rad: of the principal point along each axis, as an angle: pixels over the focal length.
        extrinsics_std_rad: of the rotation between the camera and what odometry moves, about each axis.
    """

    scale_std: float = 0.01
    yaw_std_rad: float = np.radians(0.1)
    focal_std: float = 0.003
    centre_std_rad: float = np.radians(0.15)
    extrinsics_std_rad: float = np.radians(0.2)

    def drift(self, shift: Array, *, travelled_m: float = 0.0) -> Array:
        """(6, 6) covariance of odometry's pose after a (3,) shift, metres, in the axes that the shift is in.

        Args:
            shift: from the first pose to the second.
            travelled_m: length of the path between them, where it is longer than the shift, as of a loop.
        """
        distance_m = max(float(np.linalg.norm(shift)), travelled_m)
        sideways = np.cross([0.0, 0.0, 1.0], shift)
        yaw_variance = self.yaw_std_rad**2 * distance_m
        of_position = self.scale_std**2 * np.outer(shift, shift) + yaw_variance / 3 * np.outer(sideways, sideways)
        of_position += self.extrinsics_std_rad**2 * (float(shift @ shift) * np.eye(3) - np.outer(shift, shift))
        # what a path goes there and back leaves no shift, but its errors stay, in any horizontal direction
        detour_m2 = distance_m**2 - float(shift @ shift)
        of_position += (self.scale_std**2 + yaw_variance / 3) / 4 * detour_m2 * np.diag([1.0, 1.0, 0.0])
        covariance = np.zeros((6, 6))
        covariance[:3, :3], covariance[5, 5] = of_position, yaw_variance
        return covariance

    def drift_by_yaw(self, shift: Array) -> Array:
        """(6, 6) the covariance of the drift without the common errors."""
        return replace(self, scale_std=0.0, extrinsics_std_rad=0.0).drift(shift)

    def deform(self, cloud: CameraCloud) -> Array:
        """(N, 3, 7) how far the points of a cloud are off by one standard deviation of each common error, metres.

        Wrong intrinsics map what a pair of images shows, its baseline included, to another scene that explains them as
        well, by an affine map: a focal length stretches it across the optical axis, a principal point shears it. Its
        length stays, as odometry has it. Extrinsics turn the way along which the pairs are put together.
        """
        seen, centres = cloud.points - cloud.centres, cloud.centres
        direction = centres.T @ centres / max(float(np.square(centres).sum()), 1e-12)
        moved = np.zeros((len(cloud), 3, COMMON))
        moved[:, :, _SCALE] = self.scale_std * cloud.points
        for column, change in self._changes_of_rays():
            moved[:, :, column] = seen @ change.T - np.trace(change @ direction) * seen
        for axis, column in zip(np.eye(3), _EXTRINSICS, strict=True):
            moved[:, :, column] = -self.extrinsics_std_rad * np.cross(axis, centres)
        return moved

    def _changes_of_rays(self) -> list[tuple[int, Array]]:
        """The number of each error of the intrinsics, and the (3, 3) linear map that its change of rays is."""
        x, y, z = np.eye(3)
        return [
            (_FOCAL, -self.focal_std * np.diag([1.0, 1.0, 0.0])),
            (_CENTRE[0], self.centre_std_rad * np.outer(x, z)),
            (_CENTRE[1], self.centre_std_rad * np.outer(y, z)),
        ]

    def displace(self, rotation: Array, camera_from_other: Array, shift: Array) -> Array:
        """(6, 7) error of the way from a camera to another one by each common error, in the axes of a map.

        Args:
            rotation: (3, 3) of the camera in the map.
            camera_from_other: (3, 3) rotation by odometry.
            shift: (3,) metres in the map.
        """
        moved = np.zeros((6, COMMON))
        moved[:3, _SCALE] = self.scale_std * shift
        axes = self.extrinsics_std_rad * rotation
        moved[:3, _EXTRINSICS] = -np.cross(axes.T, shift).T
        moved[3:, _EXTRINSICS] = axes @ camera_from_other - axes
        return moved
