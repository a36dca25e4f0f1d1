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

"""The plan that the page draws: a map seen from above."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.view_from_above import NEARLY, ground_plane, name_axis
from vloc_ros.server.answers import Axis, PlaceShape

# the page begins with the places and the middle 98 % of the points: further ones would make all others small
_MIDDLE = (1.0, 99.0)


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Coordinates of the plan: positions in the map frame along two axes that are level.

    Attributes:
        axes: (2, 3) unit vectors in the map frame, to the right and upwards in the plan.
    """

    axes: Array

    @staticmethod
    def of_landmarks(landmark_map: LandmarkMap) -> Plan:
        """By the axes of the map where one of them points up, else as its cameras were held."""
        return Plan(ground_plane(landmark_map))

    @staticmethod
    def of_ground() -> Plan:
        """Of a map whose z axis points up."""
        return Plan(np.eye(2, 3))

    def describe_axes(self) -> tuple[Axis, Axis]:
        """The axes for the page."""
        right, upwards = (
            Axis(
                name=name_axis(axis, least_cosine=NEARLY),
                is_exact=bool(name_axis(axis)),
                direction=(float(axis[0]), float(axis[1]), float(axis[2])),
            )
            for axis in self.axes
        )
        return right, upwards

    def project(self, points: Array) -> Array:
        """(..., 2) coordinates in the plan of (..., 3) positions or directions in the map frame."""
        return np.asarray(points @ self.axes.T)

    def level_from_map(self) -> Array:
        """(3, 3) rotation into the frame of the plan, whose z axis points up."""
        return np.vstack([self.axes, np.cross(*self.axes)])


def find_extent(shapes: Sequence[PlaceShape], points: Array) -> tuple[tuple[float, float], tuple[float, float]]:
    """Lower and upper corner of what the page shows at first.

    Args:
        shapes: places of the map.
        points: (P, 2) in the plan.
    """
    middles = np.array([[shape.x, shape.y] for shape in shapes]).reshape(-1, 2)
    # half of the sides of the upright square around a turned one
    yaws, sides = np.radians([shape.yaw_deg for shape in shapes]), np.array([shape.side_m for shape in shapes])
    reach = (sides / 2 * (np.abs(np.cos(yaws)) + np.abs(np.sin(yaws))))[:, None]
    inner = np.percentile(points, _MIDDLE, axis=0) if len(points) else np.zeros((0, 2))
    corners = np.vstack([middles - reach, middles + reach, inner])
    (left, lower), (right, upper) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return (left, lower), (right, upper)
