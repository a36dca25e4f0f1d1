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

"""A clock that jumps."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from drive import Drive
from fault_rows import FaultRow, count_statuses
from nodes_world import STEP_NS
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of, time_message

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_HOUR_NS = 3600 * 10**9
_TOLERANCE_NS, _MS = 10**8, 10**6


def _stamps_of_odom(transforms: list[TFMessage]) -> list[int]:
    return [stamp_ns_of(t) for message in transforms for t in message.transforms if t.header.frame_id == "map"]


def test_the_clock_goes_an_hour_forward_and_back(drive_with: Callable[..., Drive], row: FaultRow) -> None:
    drive = drive_with(use_sim_time=True)
    transforms = drive.ros.collect(TFMessage, "/tf", 1000)
    clock = drive.ros.node.create_publisher(Clock, "/clock", 10)
    drive.ros.until(lambda: clock.get_subscription_count() > 0)

    def send_in_time(jump_ns: int = 0) -> None:
        moment = drive.next_moment(later_ns=jump_ns)
        clock.publish(Clock(clock=time_message(moment.stamp_ns)))
        assert drive.node is not None
        drive.ros.until(lambda: drive.node.get_clock().now().nanoseconds == moment.stamp_ns)
        drive.send(moment)
        drive.wait_for_statuses()

    for _ in range(4):
        send_in_time()
    before = len(drive.sent)
    for jump_ns in (_HOUR_NS, -_HOUR_NS):
        send_in_time(jump_ns)
        for _ in range(4):
            send_in_time()
        assert drive.wait_for_statuses()[-1].status == 0
    expected_ns = drive.latest.stamp_ns + _TOLERANCE_NS
    transforms.wait(lambda all_: 0 <= _stamps_of_odom(all_)[-1] - expected_ns < _MS, "map -> odom after the jump back")
    statuses = drive.wait_for_statuses()[before:]
    row.record(
        "with use_sim_time, the clock, odometry and images jump an hour forward and then back",
        f"{count_statuses(statuses)}; the stamps of map -> odom jump with the clock",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_images_that_are_late(drive: Drive, row: FaultRow) -> None:
    """What is repeated between the images is then ahead of the transform of the late one."""
    transforms = drive.ros.collect(TFMessage, "/tf", 1000)
    before = len(drive.sent)
    for _ in range(4):
        late_ns = drive.send().stamp_ns + 2 * STEP_NS + _TOLERANCE_NS
        drive.wait_for_statuses()
        transforms.wait(lambda all_, late_ns=late_ns: max(_stamps_of_odom(all_), default=0) > late_ns, "a repetition")
    stamps = _stamps_of_odom(transforms.messages)
    assert all(later > earlier for earlier, later in itertools.pairwise(stamps))
    statuses = drive.wait_for_statuses()[before:]
    assert {status.status for status in statuses} == {LocalizationStatus.OK}
    row.record(
        "images that are 0.2 s late in turn, while map -> odom is repeated",
        f"{count_statuses(statuses)}; every map -> odom is stamped after the one before",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
