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

"""Frames whose z axis does not point up are refused; robots that do not drive on floors are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.up_axis import check_up_axis

# the optical axis ahead along x, the camera upright
_AHEAD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
_STEPS = np.linspace(0.0, 1.0, 60)
_Y_UP = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


def _turn(yaw: float = 0.0, pitch: float = 0.0) -> Array:
    """Of a body with x ahead and z up; a positive pitch looks down."""
    about_z, about_y = (
        Pose.from_rotation_vector(v, np.zeros(3)).rotation for v in ([0.0, 0.0, yaw], [0.0, pitch, 0.0])
    )
    return np.asarray(about_z @ about_y)


def _drive(x: Array, y: Array, z: Array, *, yaw: Array | float = 0.0, pitch: Array | float = 0.0) -> list[Pose]:
    yaws, pitches = np.broadcast_to(yaw, len(x)), np.broadcast_to(pitch, len(x))
    return [
        Pose(_turn(a, b) @ _AHEAD, np.array(position)) for *position, a, b in zip(x, y, z, yaws, pitches, strict=True)
    ]


def _in_first(poses: Sequence[Pose]) -> list[Pose]:
    """In the optical frame of the first, as visual odometry has them."""
    return [poses[0].inverse() @ pose for pose in poses]


def _with_y_up(poses: Sequence[Pose]) -> list[Pose]:
    return [Pose(_Y_UP @ pose.rotation, _Y_UP @ pose.translation) for pose in poses]


_NOTHING, _FULL = 0 * _STEPS, 2 * np.pi * _STEPS
STRAIGHT = _drive(20 * _STEPS, _NOTHING, _NOTHING)
LOOP = _drive(5 * np.sin(_FULL), 5 - 5 * np.cos(_FULL), _NOTHING, yaw=_FULL)
LOOKING_AROUND = _drive(_NOTHING, 0.5 * _STEPS, 0.1 * _STEPS, yaw=0.5 * np.sin(_FULL), pitch=0.1 * np.cos(_FULL))
RIGHT = {
    "straight": STRAIGHT,
    "in reverse": STRAIGHT[::-1],
    "loop": LOOP,
    "looking around": LOOKING_AROUND,
    "standing": _drive(_NOTHING, _NOTHING, _NOTHING),
    "one image": STRAIGHT[:1],
    "stairs": _drive(2 * np.sin(2 * _FULL), 2 * np.cos(2 * _FULL), 9 * _STEPS, yaw=2 * _FULL, pitch=-0.5),
    "lift": _drive(_NOTHING, _NOTHING, 30 * _STEPS),
    "climbing drone": _drive(2 * _STEPS, _NOTHING, 30 * _STEPS, pitch=0.4 * np.sin(_FULL)),
    "landing drone that looks down": _drive(_NOTHING, 0.1 * _STEPS, -30 * _STEPS, pitch=np.pi / 2),
    "surveying drone that looks down": _drive(30 * _STEPS, np.sin(_FULL), _NOTHING, yaw=_FULL, pitch=np.pi / 2),
    "gimbal that pitches down": _drive(9 * _STEPS, _NOTHING, _NOTHING, pitch=np.pi / 2 * (_STEPS > 0.5)),
}
ODD = {
    "at the ceiling": _drive(9 * _STEPS, _NOTHING, _NOTHING, yaw=_FULL, pitch=-np.pi / 2),
    "at the ceiling, straight": _drive(9 * _STEPS, _NOTHING, _NOTHING, pitch=-np.pi / 2),
    "upside down": [Pose(pose.rotation @ np.diag([-1.0, -1.0, 1.0]), pose.translation) for pose in LOOP],
    "of the base": [Pose(_turn(yaw), np.zeros(3)) for yaw in _FULL],
}
WRONG = {
    "straight": _in_first(STRAIGHT),
    "in reverse": _in_first(STRAIGHT[::-1]),
    "loop": _in_first(LOOP),
    "looking around": _in_first(LOOKING_AROUND),
    "stairs": _in_first(RIGHT["stairs"]),
    "loop, y up": _with_y_up(LOOP),
    "stairs, y up": _with_y_up(RIGHT["stairs"]),
}


@pytest.mark.parametrize("name", RIGHT)
def test_robots_that_move_as_they_do(name: str) -> None:
    assert check_up_axis(RIGHT[name]) == ""


@pytest.mark.parametrize("name", ODD)
def test_a_camera_that_is_not_upright_is_doubted(name: str) -> None:
    assert "not upright" in check_up_axis(ODD[name])


@pytest.mark.parametrize("name", WRONG)
def test_frames_whose_z_axis_does_not_point_up(name: str) -> None:
    with pytest.raises(InputError, match="expected poses of the optical frame in a frame whose z axis points up"):
        check_up_axis(WRONG[name])


def test_no_pose() -> None:
    with pytest.raises(InputError, match="no pose"):
        check_up_axis([])
