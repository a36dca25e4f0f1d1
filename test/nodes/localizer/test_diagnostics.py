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

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from plane_scene import CAMERA
from rclpy.logging import get_logger
from rclpy.parameter import Parameter
from robot import Robot
from ros_session import Inbox, Ros

from vloc_ros.nodes.localizer.component_status import ComponentStatus, Level
from vloc_ros.nodes.localizer.diagnostics import ChangeLog, diagnostic_array, values_of
from vloc_ros.nodes.rclpy_support.conversion import bgr_message
from vloc_ros.storage.maps import map_hash

KINDS = ("info", "warning", "error")
OFTEN = {"diagnostics.period_s": 0.05}


def wait_for_status(inbox: Inbox, name: str, satisfied: Callable[[DiagnosticStatus], bool]) -> DiagnosticStatus:
    """Wait for the first status of that name that satisfies a condition, and return it."""

    def found(messages: list[DiagnosticArray]) -> list[DiagnosticStatus]:
        return [s for message in messages for s in message.status if s.name == name and satisfied(s)]

    return found(inbox.wait(lambda messages: bool(found(messages)), f"status of {name}"))[0]


def values(status: DiagnosticStatus) -> dict[str, str]:
    return {value.key: value.value for value in status.values}


def test_a_driving_robot_is_described_by_three_statuses_of_one_node(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, **OFTEN, **{"diagnostics.window_s": 600.0})
    inbox = ros.collect(DiagnosticArray, "/diagnostics")
    robot.activate()
    statuses = [robot.status_of(robot.send(index)) for index in range(4)]
    input_status = wait_for_status(inbox, "vloc_localizer: input", lambda s: values(s).get("images_received") == "4")
    assert values(input_status).keys() >= {"rate_hz", "age_s", "since_image_s", "images_dropped", "topic"}
    assert values(input_status)["publishers"] == "1"
    assert float(values(input_status)["age_s"]) > 1e6  # the stamps of the robot are years old
    assert "clocks" in input_status.message
    localization_status = wait_for_status(inbox, "vloc_localizer: localization", lambda s: values(s).get("OK") == "4")
    assert values(localization_status)["acceptance"] == "1.00"
    assert float(values(localization_status)["inliers"]) == np.median([status.inliers for status in statuses])
    for position, stage in enumerate(statuses[0].stages):
        median_s = np.median([status.stage_times_s[position] for status in statuses])
        assert abs(float(values(localization_status)[f"{stage}_s"]) - median_s) <= 0.0000501
    map_status = wait_for_status(inbox, "vloc_localizer: map", lambda s: values(s)["state"] == "active")
    assert (map_status.level, values(map_status)["map"]) == (DiagnosticStatus.OK, map_hash(wall.map))
    assert {status.hardware_id for message in inbox.messages for status in message.status} == {"/vloc_localizer"}
    assert values_of(inbox.messages[-1], "vloc_localizer")["listeners"] == "1"


def test_the_thresholds_are_parameters_and_an_inactive_node_does_not_warn(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, **OFTEN, **{"diagnostics.image_timeout_s": 0.1, "diagnostics.fix_error_s": 0.1})
    inbox = ros.collect(DiagnosticArray, "/diagnostics")
    wait_for_status(inbox, "vloc_localizer: input", lambda s: "unconfigured" in s.message)
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    wait_for_status(inbox, "vloc_localizer: input", lambda s: "inactive" in s.message)
    assert {s.level for message in list(inbox.messages) for s in message.status} == {DiagnosticStatus.OK}
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    silent = wait_for_status(inbox, "vloc_localizer: input", lambda s: s.level == DiagnosticStatus.ERROR)
    assert "no image on /image for" in silent.message
    black = bgr_message(robot.stamp_ns(0), "camera", np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8))
    ros.until(lambda: robot.node.count_subscribers("image") > 0)
    robot.status_of(robot.send(0, image=black))
    lost = wait_for_status(
        inbox,
        "vloc_localizer: localization",
        lambda s: s.level == DiagnosticStatus.ERROR and "NO_FEATURES" in s.message,
    )
    assert "no fix for" in lost.message
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    inbox.messages.clear()
    inactive = wait_for_status(inbox, "vloc_localizer: localization", lambda s: "inactive" in s.message)
    assert inactive.level == DiagnosticStatus.OK


def test_a_period_is_taken_when_the_node_is_configured(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall, **{"diagnostics.period_s": 60.0})
    inbox = ros.collect(DiagnosticArray, "/diagnostics")
    robot.node.set_parameters([Parameter("diagnostics.period_s", value=0.05)])
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    wait_for_status(inbox, "vloc_localizer: map", lambda s: "inactive" in s.message)


def test_robots_in_namespaces_have_statuses_of_their_own() -> None:
    component = ComponentStatus("map", Level.WARN, "no map", {"map": "none"})
    array = diagnostic_array([component], node="/robot1/vloc_localizer", stamp_ns=1_500_000_000)
    status = array.status[0]
    assert (status.name, status.hardware_id) == ("robot1/vloc_localizer: map", "/robot1/vloc_localizer")
    assert (status.level, status.message) == (DiagnosticStatus.WARN, "no map")
    assert (array.header.stamp.sec, array.header.stamp.nanosec) == (1, 500_000_000)
    assert values_of(array, "robot1/vloc_localizer") == {"map": "none"}
    assert values_of(array, "/robot2/vloc_localizer") == {}


def test_a_changed_level_is_in_the_log_once_and_not_again_at_once() -> None:
    lines: list[str] = []
    logger = SimpleNamespace(**{kind: partial(lambda k, text: lines.append(f"{k} {text}"), kind) for kind in KINDS})
    changes = [ChangeLog(logger), ChangeLog(get_logger("changes"))]  # a logger of rclpy has rules of its own

    def record(second: int, level: Level, text: str) -> None:
        component = ComponentStatus("input", level, text, {})
        for one in changes:
            one.record([component], logged=["another node"], now_ns=second * 10**9)

    record(0, Level.OK, "no image received yet on image")
    record(1, Level.ERROR, "no image on image for 5.0 s")
    record(2, Level.ERROR, "no image on image for 6.0 s")
    record(3, Level.OK, "10 Hz")  # too soon
    record(12, Level.OK, "10 Hz")
    record(30, Level.WARN, "another node is named so")
    assert lines == ["error input: no image on image for 5.0 s", "info input: 10 Hz"]
