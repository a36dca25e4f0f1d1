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

"""Mistakes in the ROS graph around the localizer."""

from __future__ import annotations

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from drive import Drive
from fault_rows import FaultRow, count_statuses
from nodes_world import Wall
from ros_session import Inbox, Ros
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.rclpy_support.conversion import time_message

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_IMAGES = 3


def await_finding(diagnostics: Inbox, part: str) -> DiagnosticStatus:
    """Wait for a status on /diagnostics that says something, and return it."""

    def found(arrays: list[DiagnosticArray]) -> list[DiagnosticStatus]:
        return [status for array in arrays for status in array.status if part in status.message]

    return found(diagnostics.wait(lambda arrays: bool(found(arrays)), part))[0]


def test_another_node_with_the_name_of_the_localizer(ros: Ros, drive: Drive, row: FaultRow) -> None:
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    before = len(drive.sent)
    stranger = rclpy.create_node("vloc_localizer")
    finding = await_finding(diagnostics, "another node is named /vloc_localizer")
    assert (finding.name, finding.level) == ("vloc_localizer: localization", DiagnosticStatus.WARN)
    drive.send()
    statuses = drive.wait_for_statuses()[before:]
    stranger.destroy_node()
    row.record(
        "another node with the name of the localizer is started, an image is sent, and the node is stopped",
        f"{count_statuses(statuses)}; a warning on /diagnostics: another node is named /vloc_localizer",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_odometry_in_a_namespace(ros: Ros, wall: Wall, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    own, elsewhere = drive._tf, ros.node.create_publisher(TFMessage, "/robot1/tf", 100)
    ros.node.destroy_publisher(own)
    drive._tf = elsewhere
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    node = drive.start_localizer()
    for _ in range(_IMAGES):
        drive.send()
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()
    assert {status.status for status in statuses} == {LocalizationStatus.NO_ODOMETRY}
    await_finding(diagnostics, "nobody else publishes on /tf")
    (finding,) = node.graph_watch.findings
    drive._tf = ros.node.create_publisher(TFMessage, "/tf", 100)
    ros.until(lambda: drive._tf.get_subscription_count() > 0)
    row.record(
        "odometry is on /robot1/tf in place of /tf",
        f"{count_statuses(statuses)}; on /diagnostics: {finding}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_simulated_time_without_a_clock(ros: Ros, wall: Wall, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    node = drive.start_localizer(use_sim_time=True)
    await_finding(diagnostics, "nobody publishes /clock")
    (finding,) = node.graph_watch.findings
    clock = ros.node.create_publisher(Clock, "/clock", 1)
    ros.until(lambda: clock.get_subscription_count() > 0)
    clock.publish(Clock(clock=time_message(drive.next_moment().stamp_ns)))
    diagnostics.messages.clear()
    diagnostics.wait(
        lambda arrays: any("nobody publishes" not in status.message for a in arrays for status in a.status[:1]),
        "a clock",
    )
    row.record(
        "use_sim_time is set and nobody publishes /clock, then somebody does",
        f"on /diagnostics: {finding}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
