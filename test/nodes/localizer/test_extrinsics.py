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

"""Extrinsics of the camera from a parameter instead of TF."""

from __future__ import annotations

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from nodes_world import BASE_FROM_CAMERA, Wall
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import VlocError
from vloc_ros.nodes.localizer.cameras import parse_extrinsics
from vloc_ros.nodes.rclpy_support.conversion import pose_of

EXTRINSICS = " ".join(str(value) for value in (*BASE_FROM_CAMERA.translation, *BASE_FROM_CAMERA.quaternion))


def test_seven_numbers_are_extrinsics_and_none_leave_them_to_tf() -> None:
    (extrinsics,) = parse_extrinsics(EXTRINSICS)
    np.testing.assert_allclose(extrinsics.matrix, BASE_FROM_CAMERA.matrix, atol=1e-12)
    assert parse_extrinsics(" ") == ()


@pytest.mark.parametrize(
    "text", ["0 0 0", "a b c d e f g", "0 0 1_0 0 0 0 1", "0 0 nan 0 0 0 1", "0 0 0 0 0 0 0", "0 0 0 0 0 0 1 0"]
)
def test_invalid_extrinsics_are_refused(text: str) -> None:
    with pytest.raises(VlocError):
        parse_extrinsics(text)


def test_the_base_is_published_without_its_camera_in_tf(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, base_from_camera=EXTRINSICS, publish_tf="none")
    robot.activate()
    status = robot.status_of(robot.send(0, static=False, odometry=False))
    assert status.status == LocalizationStatus.OK, status.reason
    map_from_base = wall.views[0] @ BASE_FROM_CAMERA.inverse()
    assert pose_of(status.pose.pose).distance_to(map_from_base)[0] < 0.02


@pytest.mark.parametrize(
    "parameters", [{"base_from_camera": "0 0 0"}, {"base_from_camera": EXTRINSICS, "base_frame": ""}]
)
def test_a_node_with_wrong_extrinsics_is_not_configured(ros: Ros, wall: Wall, parameters: dict[str, str]) -> None:
    robot = Robot(ros, wall, **parameters)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
