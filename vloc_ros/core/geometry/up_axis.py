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

"""Whether the z axis of odometry points up, as far as the poses of a camera show it.

Many frames have no such axis: the optical frame of a first image, as visual odometry has it, or one whose y axis points
up. Cameras look down from drones, up at ceilings, pitch on gimbals, and climb stairs; none of it is refused. What is,
few do: to look up and move along the view, or turn about a level axis meanwhile, or to turn over backwards, as a camera
in a lift's roof and one on a gimbal that swings from the ground to the sky. Those who have such a camera leave this
check out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose

# a view is up, and a motion is along z, within 45 degrees
_WITHIN = np.sqrt(0.5)
# the image's down axis is further from down: the camera lies on its side, on its back or upside down
_UPRIGHT = 0.5
# a turning axis is level within 37 degrees
_LEVEL = 0.6
# lengths of the mean of a direction that turns: of one that spreads evenly over 40 degrees, and over 190
_TURNED, _TURNED_OVER = 0.98, 0.6
_LEAST_MOTION_M = 0.5  # odometry of a camera that stands still drifts less
_REMEDY = (
    "expected poses of the optical frame in a frame whose z axis points up; is that frame the optical one of the first "
    "image, or does its y axis point up? Turn the poses, or write them by `vloc bag images`"
)


def check_up_axis(odom_from_camera: Sequence[Pose]) -> str:
    """Refuse poses in a frame whose z axis does not point up.

    Args:
        odom_from_camera: poses of the optical frame (x right, y down, z forward).

    Returns:
        What is odd but may be so, of a camera that is not mounted upright; empty if nothing is.

    Raises:
        InputError: there is none, or no robot moves so.
    """
    if not odom_from_camera:
        raise InputError("there is no pose, expected those of a moving camera")
    rotations = np.array([pose.rotation for pose in odom_from_camera])
    _, down, forward = rotations.mean(axis=0).T
    axis, spread = _find_turning_axis(rotations)
    is_level = abs(axis[2]) < _LEVEL
    if is_level and spread < _TURNED_OVER:
        raise InputError(f"the camera turns over about a level axis, {_describe(axis)}; {_REMEDY}")
    if forward[2] > _WITHIN:
        share = _vertical_share(np.array([pose.translation for pose in odom_from_camera]))
        if share > _WITHIN**2:
            raise InputError(f"the camera looks up and moves along its view, {share:.0%} of it along z; {_REMEDY}")
        if is_level and spread < _TURNED:
            raise InputError(f"the camera looks up and turns about a level axis, {_describe(axis)}; {_REMEDY}")
    if down[2] > -_UPRIGHT and forward[2] > -_WITHIN:
        return (
            f"the camera is not upright: on average the down axis of its images is {_describe(down)}, the view "
            f"{_describe(forward)}; unless it is mounted so, the z axis does not point up"
        )
    return ""


def _find_turning_axis(rotations: Array) -> tuple[Array, float]:
    """The direction that changes least seen from the camera, (3,), and the mean length of one that turns about it.

    The mean of the inverse rotations shortens each direction by as much as it spreads: none along the axis.
    """
    _, lengths, axes = np.linalg.svd(rotations.mean(axis=0).T)
    return axes[0], float(lengths[1])


def _vertical_share(positions: Array) -> float:
    """The share of the variance of (N, 3) positions that is along z; 0 where the camera hardly moves."""
    variances = positions.var(axis=0)
    total = float(variances.sum())
    return float(variances[2]) / total if total > _LEAST_MOTION_M**2 else 0.0


def _describe(direction: Array) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in direction) + ")"
