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

"""Changes of parameters while the node runs: all of one request or none, from the next image on."""

from __future__ import annotations

import pytest
from nodes_world import Wall
from rclpy.parameter import Parameter
from robot import Robot
from ros_session import Ros

from vloc_msgs.msg import LocalizationStatus


@pytest.fixture
def robot(ros: Ros, wall: Wall) -> Robot:
    robot = Robot(ros, wall)
    robot.activate()
    return robot


def test_a_changed_limit_holds_for_the_next_image(robot: Robot) -> None:
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK
    assert robot.node.set_parameters([Parameter("verification.min_matches", value=5000)])[0].successful
    assert robot.status_of(robot.send(1)).status == LocalizationStatus.TOO_FEW_MATCHES
    assert robot.node.set_parameters([Parameter("verification.min_matches", value=12)])[0].successful
    assert robot.status_of(robot.send(2)).status == LocalizationStatus.OK


def test_the_filter_can_be_switched_on_while_it_runs(robot: Robot) -> None:
    robot.node.set_parameters([Parameter("fix_filter.enabled", value=True)])
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.HELD


def test_one_bad_value_keeps_a_whole_request_from_being_taken(robot: Robot) -> None:
    changes = [Parameter("verification.min_matches", value=5000), Parameter("matcher.ratio", value=3.0)]
    assert not robot.node.set_parameters_atomically(changes).successful
    assert robot.node.get_parameter("verification.min_matches").value == 12
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK


def test_a_rate_of_false_accepts_that_no_negatives_support_is_refused(robot: Robot) -> None:
    (response,) = robot.node.set_parameters([Parameter("verification.false_accept_rate", value=1e-9)])
    assert not response.successful
    assert "negatives of rootsift support" in response.reason
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK


def test_parameters_that_disable_every_candidate_are_refused(robot: Robot) -> None:
    nothing = [Parameter("candidates.whole_map_max_points", value=0), Parameter("candidates.retrieval", value="none")]
    response = robot.node.set_parameters_atomically(nothing)
    assert not response.successful
    assert "nothing would be searched" in response.reason
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK


@pytest.mark.parametrize("name", ["map", "map_cache"])
def test_where_files_are_read_and_written_is_fixed_from_the_start(ros: Ros, wall: Wall, name: str) -> None:
    robot = Robot(ros, wall)
    (response,) = robot.node.set_parameters([Parameter(name, value="/another/folder")])
    assert not response.successful
    assert response.reason.startswith(f"{name} is fixed when the node starts")


def test_what_is_read_when_the_node_is_configured_cannot_be_changed_later(robot: Robot) -> None:
    (response,) = robot.node.set_parameters([Parameter("base_frame", value="other")])
    assert not response.successful
    assert response.reason.startswith("base_frame is read when the node is configured")
    assert robot.node.set_parameters([Parameter("base_frame", value="base_link")])[0].successful
    assert robot.node.set_parameters([Parameter("two_d_mode", value=True)])[0].successful
    assert robot.status_of(robot.send(0)).pose.pose.position.z == 0.0
