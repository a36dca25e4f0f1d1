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

"""Sequences of images: the first fix is held, a fix is the prior of the next image, and a jump is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from nodes_world import Wall
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import Relocalize
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, stamp_ns_of

# the views lie 60 cm and a fifth of a second apart
FAST = {"fix_filter.enabled": True, "fix_filter.max_speed_m_s": 4.0}


@pytest.fixture
def robot(ros: Ros, wall: Wall) -> Robot:
    robot = Robot(ros, wall, carry_last_fix=True, **{"fix_filter.enabled": True})
    robot.activate()
    return robot


def _image_message(robot: Robot, index: int, *, of: int) -> Any:
    pixels = np.repeat(robot.wall.scene.image(robot.wall.views[of])[:, :, None], 3, axis=2)
    return bgr_message(robot.stamp_ns(index), "camera", pixels)


def test_the_first_fix_is_held_until_the_second_confirms_it(robot: Robot) -> None:
    statuses = [robot.status_of(robot.send(index)) for index in range(4)]
    assert [status.status for status in statuses] == [LocalizationStatus.HELD] + [LocalizationStatus.OK] * 3
    assert "1 of 2 fixes" in statuses[0].reason
    assert not any(statuses[0].pose.covariance)
    assert [status.candidate for status in statuses] == ["whole_map", "whole_map", "prior", "prior"]
    assert [stamp_ns_of(pose) for pose in robot.poses.messages] == [robot.stamp_ns(index) for index in range(1, 4)]


def test_an_image_of_another_place_is_held(robot: Robot) -> None:
    for index in range(2):
        robot.status_of(robot.send(index))
    wrong = robot.status_of(robot.send(2, image=_image_message(robot, 2, of=5)))
    assert wrong.status == LocalizationStatus.HELD
    assert "from where the last fix is carried to" in wrong.reason
    assert robot.status_of(robot.send(3)).status == LocalizationStatus.OK
    assert robot.stamp_ns(2) not in [stamp_ns_of(pose) for pose in robot.poses.messages]


def test_without_odometry_the_last_fix_is_carried_by_time(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, carry_last_fix=True, publish_tf="map_base", **FAST)
    robot.activate()
    statuses = [robot.status_of(robot.send(index, odometry=False)) for index in range(4)]
    assert statuses[3].status == LocalizationStatus.OK
    assert statuses[3].candidate == "prior"


def test_relocalizing_resets_tracking_and_returns_a_confirmed_fix(robot: Robot) -> None:
    for index in range(3):
        robot.status_of(robot.send(index))
    next_ones = iter((3, 4, 5, 3, 4, 5))
    request = Relocalize.Request(timeout_s=20.0)
    response = robot.ros.call_while(
        Relocalize, "vloc_localizer/relocalize", request, lambda: robot.status_of(robot.send(next(next_ones)))
    ).result
    assert response.status == LocalizationStatus.OK
    last = robot.statuses.messages[3:]
    assert LocalizationStatus.HELD in [status.status for status in last]
    assert "whole_map" in [status.candidate for status in last]
