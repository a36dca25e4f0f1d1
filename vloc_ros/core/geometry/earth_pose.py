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

"""A pose in a georeferenced map as a position on Earth: what a NavSatFix and a compass would say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class EarthPose:
    """Where a body is on Earth.

    Attributes:
        latitude: WGS 84 degrees.
        longitude: WGS 84 degrees.
        altitude_m: above the ellipsoid; NaN where the map's datum has no height.
        heading_rad: bearing of a robot's x axis, of the upper edge of the image of a camera that looks down, or of the
            optical axis of one that looks ahead; clockwise from true north, 0 to 2 pi.
        enu_from_body: (3, 3) rotation of the body against east, north and up where it is.
        covariance: (3, 3) of the position, along east, north and up, metres squared; the datum's is added.
        heading_std_rad: standard deviation of the heading.
    """

    latitude: float
    longitude: float
    altitude_m: float
    heading_rad: float
    enu_from_body: Array
    covariance: Array
    heading_std_rad: float

    @staticmethod
    def of_camera(datum: Datum, map_from_camera: Pose, covariance: Array) -> EarthPose:
        """That of a camera that looks down.

        Args:
            datum: of the map.
            map_from_camera: pose of the optical frame.
            covariance: (6, 6) of the pose, see `Pose.error_to`.
        """
        return _place(datum, map_from_camera, covariance, ahead=-map_from_camera.rotation[:, 1])

    @staticmethod
    def of_view(datum: Datum, map_from_camera: Pose, covariance: Array) -> EarthPose:
        """That of a camera that looks ahead; see `of_camera`."""
        return _place(datum, map_from_camera, covariance, ahead=map_from_camera.rotation[:, 2])

    @staticmethod
    def of_base(datum: Datum, map_from_base: Pose, covariance: Array) -> EarthPose:
        """That of a robot, whose x axis points ahead (REP 103); see `of_camera`."""
        return _place(datum, map_from_base, covariance, ahead=map_from_base.rotation[:, 0])


def _place(datum: Datum, map_from_body: Pose, covariance: Array, *, ahead: Array) -> EarthPose:
    """A body on Earth, with the bearing of a (3,) direction in the map."""
    latitude, longitude, altitude_m = datum.geodetic(map_from_body.translation)
    cosine, sine = np.cos(datum.yaw_rad), np.sin(datum.yaw_rad)
    enu_from_map = np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])
    variance, turned = datum.yaw_std_rad**2, np.cross([0.0, 0.0, 1.0], map_from_body.translation)
    of_datum = np.diag([datum.position_std_m**2, datum.position_std_m**2, datum.altitude_std_m**2])
    position = enu_from_map @ (covariance[:3, :3] + variance * np.outer(turned, turned)) @ enu_from_map.T
    return EarthPose(
        latitude,
        longitude,
        altitude_m,
        datum.heading_of(float(np.arctan2(ahead[1], ahead[0]))),
        datum.enu_from_map(latitude, longitude) @ map_from_body.rotation,
        position + of_datum,
        float(np.sqrt(bearing_variance(ahead, covariance[3:, 3:]) + variance)),
    )


def bearing_variance(ahead: Array, covariance: Array) -> float:
    """Variance of the bearing of a (3,) direction about z, of a left rotation of (3, 3) covariance; large if steep."""
    level = max(float(ahead[0] ** 2 + ahead[1] ** 2), 1e-12)
    turns = np.array([-ahead[0] * ahead[2] / level, -ahead[1] * ahead[2] / level, 1.0])
    return float(turns @ covariance @ turns)
