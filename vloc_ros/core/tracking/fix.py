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

"""The robot's pose for one image, from the camera's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult

_OUT_OF_PLANE = [2, 3, 4]
# (1 mm)² and (1 mrad)²: small, but not zero, so that filters can invert the covariance
_OUT_OF_PLANE_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Fix:
    """The robot's pose when an image was taken.

    Attributes:
        map_from_base: pose of the robot's base in the map.
        covariance: (6, 6) of the pose, order x y z rx ry rz about the map's axes (metres², metres·radians, radians²).
        frame_id: frame of the scene that the robot is in; two scenes have no metric relation.
        confidence: probability that the pose is right.
        frame_covariance: (6, 6) the part of the covariance that poses nearby have in common.
    """

    map_from_base: Pose
    covariance: Array
    frame_id: str
    confidence: float
    frame_covariance: Array = field(default_factory=lambda: np.zeros((6, 6)))

    def within_map(self) -> Fix:
        """The fix with its covariance relative to the map, as fixes compare with each other."""
        return replace(self, covariance=self.covariance - self.frame_covariance, frame_covariance=np.zeros((6, 6)))


def fix_from_result(result: LocalizationResult, *, rig_from_base: Pose, two_d: bool) -> Fix:
    """Carry an accepted pose and its covariance to the base; with `two_d` onto the plane z = 0, upright."""
    assert result.map_from_rig is not None
    assert result.covariance is not None
    map_from_base = result.map_from_rig @ rig_from_base
    carried, of_frame = (
        carry_covariance(covariance, result.map_from_rig, rig_from_base)
        for covariance in (result.covariance, result.frame_covariance)
    )
    if not two_d:
        return Fix(map_from_base, carried, result.frame_id, result.confidence, of_frame)
    for covariance in (carried, of_frame):
        covariance[_OUT_OF_PLANE, :] = covariance[:, _OUT_OF_PLANE] = 0.0
    carried[_OUT_OF_PLANE, _OUT_OF_PLANE] = _OUT_OF_PLANE_VARIANCE
    return Fix(_project_to_plane(map_from_base), carried, result.frame_id, result.confidence, of_frame)


def _project_to_plane(pose: Pose) -> Pose:
    x, y, _ = pose.translation
    heading = np.arctan2(pose.rotation[1, 0], pose.rotation[0, 0])
    return Pose.from_rotation_vector([0.0, 0.0, heading], [x, y, 0.0])
