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

from typing import Any

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from nodes_world import Wall
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from robot import Robot
from ros_session import Ros
from std_msgs.msg import Header

from vloc_msgs.msg import LocalizationStatus, MapInfo
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.inference.preprocessing import check_image
from vloc_ros.nodes.localizer import map_source
from vloc_ros.nodes.localizer.component_status import Level, NodeState
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.rclpy_support.managed import ManagedNode

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class FailingNode(ManagedNode):
    """Cannot be activated."""

    def __init__(self, **options: Any) -> None:
        super().__init__("failing", **options)

    def configure(self) -> None:
        self.publisher_of_all = self.create_lifecycle_publisher(Header, "~/header", 1)

    def activate(self) -> None:
        raise ConfigError("activation failed")


def test_a_failed_activation_leaves_no_publisher_activated(ros: Ros) -> None:
    node = ros.add(FailingNode)
    node.start_alone()
    assert node.state == "inactive"
    assert not node.publisher_of_all.is_activated


def test_parameters_override_the_quality_of_service_of_a_topic(ros: Ros) -> None:
    node = ros.add(FailingNode, **{"qos_overrides./failing/header.publisher.reliability": "best_effort"})
    node.start_alone()
    assert node.publisher_of_all.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    profile = QoSProfile(depth=7)
    again = node.create_publisher(Header, "~/header", profile)
    assert (again.qos_profile.reliability, again.qos_profile.depth) == (ReliabilityPolicy.BEST_EFFORT, 7)
    assert profile.reliability == ReliabilityPolicy.RELIABLE, "a profile may be shared"
    subscription = node.create_subscription(Header, "~/header", print, 1)
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_a_transition_that_the_state_does_not_have_is_refused(ros: Ros, wall: Wall) -> None:
    robot = Robot(ros, wall)
    for step in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_ACTIVE_SHUTDOWN, 200):
        assert not robot.change(step)
    robot.activate()
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.status_of(robot.send(0)).status == LocalizationStatus.OK


def test_a_fault_is_cleared_only_for_its_subject() -> None:
    monitor = DiagnosticMonitor()
    monitor.set_fault("map", "no map")
    monitor.set_fault("node", "no node")
    monitor.set_fault("node", "")
    components = {component.name: component for component in monitor.report(NodeState("active"), now_ns=0)}
    assert (components["map"].level, components["map"].text) == (Level.ERROR, "no map")
    assert components["localization"].level == Level.OK


def test_activation_keeps_the_fault_of_a_refused_map(ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_source, "_FIRST_PAUSE_S", 1e6)  # it is reported once
    announcing = ros.node.create_publisher(MapInfo, "server/map_info", LATCHED)
    announcing.publish(MapInfo(hash="no hash"))
    robot = Robot(ros, wall, map="", map_server="server")
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")

    def is_reported(state: str) -> bool:
        return any(
            status.level == DiagnosticStatus.ERROR and "no hash" in status.message and value.value == state
            for message in list(diagnostics.messages)
            for status in message.status
            for value in status.values
            if value.key == "state"
        )

    assert robot.change(Transition.TRANSITION_CONFIGURE)
    ros.until(lambda: is_reported("inactive"))
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    ros.until(lambda: is_reported("active"))


def test_an_image_that_meets_a_bug_has_a_status_and_the_next_one_is_localized(
    ros: Ros, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    robot = Robot(ros, wall)
    robot.activate()
    pipeline = robot.node._pipeline
    with monkeypatch.context() as broken:
        broken.setattr(pipeline, "localize_images", lambda *_, **__: np.zeros(3)[5])
        status = robot.status_of(robot.send(0))
    assert status.status == LocalizationStatus.INTERNAL_ERROR
    assert "IndexError" in status.reason
    with monkeypatch.context() as broken:  # as an engine that was built for other shapes refuses it
        broken.setattr(Localizer, "localize", lambda *_, **__: check_image(np.zeros(3)))
        status = robot.status_of(robot.send(1))
    assert status.status == LocalizationStatus.BAD_IMAGE
    assert robot.status_of(robot.send(2)).status == LocalizationStatus.OK
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    first_status = diagnostics.wait(lambda all_: len(all_) > 0, "diagnostics")[0].status[0]
    assert "localized" in first_status.message
