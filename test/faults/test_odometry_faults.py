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

"""Odometry that is missing, late, reset or invalid."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from drive import Drive, Moment, odometry_message
from fault_rows import FaultRow, count_statuses
from nodes_world import MAP_FROM_ODOM
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_LATE_S = 0.5


def _send_without_odometry(drive: Drive) -> Moment:
    moment = drive.next_moment()
    drive.send_info(moment)
    drive.send_image(drive.good_image(moment))
    return moment


def test_odometry_that_stops(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    for _ in range(5):
        _send_without_odometry(drive)
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.NO_ODOMETRY}
    row.record(
        "odometry stops for five images, then continues",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
@pytest.mark.parametrize(("timeout_s", "expected"), [(0.2, "NO_ODOMETRY"), (10.0, "OK")])
def test_late_odometry(drive_with: Callable[..., Drive], row: FaultRow, timeout_s: float, expected: str) -> None:
    drive = drive_with(transform_timeout_s=timeout_s)
    drive.warm_up()
    before = len(drive.sent)
    for _ in range(4):
        moment = _send_without_odometry(drive)
        late = threading.Timer(_LATE_S, drive.send_odometry, [moment])
        late.start()
        drive.wait_for_statuses()
        late.join()
    statuses = drive.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {getattr(LocalizationStatus, expected)}
    row.record(
        f"odometry arrives {_LATE_S:g} s after its image, with a transform_timeout_s of {timeout_s:g}",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_odometry_that_is_reset(drive: Drive, row: FaultRow) -> None:
    reset = Pose.from_rotation_vector([0.0, 0.0, 2.0], [40.0, -20.0, 0.0])
    transforms = drive.ros.collect(TFMessage, "/tf", 1000)
    before = len(drive.sent)
    for _ in range(5):
        moment = drive.next_moment()
        drive.send_odometry(moment, reset @ moment.odom_from_base)
        drive.send_info(moment)
        drive.send_image(drive.good_image(moment))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert statuses[-1].status == LocalizationStatus.OK
    expected = MAP_FROM_ODOM @ reset.inverse()

    def map_from_odom(messages: list[TFMessage]) -> list[Pose]:
        named = [t for m in messages for t in m.transforms if t.header.frame_id == "map" and stamp_ns_of(t)]
        return [pose_of(t.transform) for t in named]

    def is_updated(messages: list[TFMessage]) -> bool:
        return any(pose.distance_to(expected)[0] < 1.0 for pose in map_from_odom(messages)[-1:])

    transforms.wait(is_updated, "map -> odom after the reset of odometry")
    row.record(
        "odometry jumps by 45 m and 115 degrees, continues for five images, and jumps back",
        f"{count_statuses(statuses)}; map -> odom follows",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_odometry_that_is_not_finite(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    for number in (float("nan"), float("inf")):
        moment = drive.next_moment()
        bad = odometry_message(moment)
        bad.transforms[0].transform.translation.x = number
        drive.send_transforms(bad)
        drive.send_info(moment)
        drive.send_image(drive.good_image(moment))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.NO_ODOMETRY}
    row.record(
        "odometry with NaN and with infinity",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_a_camera_that_is_not_in_tf(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    for _ in range(3):
        moment = drive.next_moment()
        image = drive.good_image(moment)
        image.header.frame_id = "camera_of_another_robot"
        drive.send(moment, image)
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.NO_TRANSFORM}
    row.record(
        "the frame of the images is not in TF",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
