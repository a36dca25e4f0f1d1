"""A clock that jumps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from drive import Drive
from fault_rows import FaultRow, count_statuses
from rosgraph_msgs.msg import Clock

from vloc_ros.nodes.conversion import time_message

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_HOUR_NS = 3600 * 10**9


def test_the_clock_goes_an_hour_forward_and_back(drive_with: Callable[..., Drive], row: FaultRow) -> None:
    drive = drive_with(use_sim_time=True)
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
    statuses = drive.wait_for_statuses()[before:]
    row.record(
        "with use_sim_time, the clock, odometry and images jump an hour forward and then back",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
