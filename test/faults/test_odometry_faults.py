"""Odometry that does not come, comes late, or starts elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from drive import Drive, Moment, odometry
from fault_rows import FaultRow, counted
from nodes_world import MAP_FROM_ODOM
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.conversion import pose_of, stamp_ns_of

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_LATE_S = 0.5


def _send_without_odometry(drive: Drive) -> Moment:
    moment = drive.moment()
    drive.send_info(moment)
    drive.send_image(drive.good_image(moment))
    return moment


def test_odometry_that_stops(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    for _ in range(5):
        _send_without_odometry(drive)
        drive.all_answered()
    statuses = drive.all_answered()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.NO_ODOMETRY}
    row.record(
        "odometry stops for five images and goes on",
        counted(statuses),
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
@pytest.mark.parametrize(("timeout_s", "expected"), [(0.2, "NO_ODOMETRY"), (10.0, "OK")])
def test_odometry_that_comes_late(
    drive_with: Callable[..., Drive], row: FaultRow, timeout_s: float, expected: str
) -> None:
    drive = drive_with(transform_timeout_s=timeout_s)
    drive.warm_up()
    before = len(drive.sent)
    for _ in range(4):
        moment = _send_without_odometry(drive)
        late = threading.Timer(_LATE_S, drive.send_odometry, [moment])
        late.start()
        drive.all_answered()
        late.join()
    statuses = drive.all_answered()[before:]
    assert {s.status for s in statuses} == {getattr(LocalizationStatus, expected)}
    row.record(
        f"odometry comes {_LATE_S:g} s after its image, with a transform_timeout_s of {timeout_s:g}",
        counted(statuses),
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_odometry_that_is_set_anew(drive: Drive, row: FaultRow) -> None:
    elsewhere = Pose.from_rotation_vector([0.0, 0.0, 2.0], [40.0, -20.0, 0.0])
    transforms = drive.ros.collect(TFMessage, "/tf", 1000)
    before = len(drive.sent)
    for _ in range(5):
        moment = drive.moment()
        drive.send_odometry(moment, elsewhere @ moment.odom_from_base)
        drive.send_info(moment)
        drive.send_image(drive.good_image(moment))
        drive.all_answered()
    statuses = drive.all_answered()[before:]
    assert statuses[-1].status == LocalizationStatus.OK
    expected = MAP_FROM_ODOM @ elsewhere.inverse()

    def map_from_odom(messages: list[TFMessage]) -> list[Pose]:
        named = [t for m in messages for t in m.transforms if t.header.frame_id == "map" and stamp_ns_of(t)]
        return [pose_of(t.transform) for t in named]

    def placed_anew(messages: list[TFMessage]) -> bool:
        return any(pose.distance_to(expected)[0] < 1.0 for pose in map_from_odom(messages)[-1:])

    transforms.wait(placed_anew, "map -> odom of the odometry that was set anew")
    row.record(
        "odometry jumps by 45 m and 115 degrees, goes on from there for five images, and jumps back",
        f"{counted(statuses)}; map -> odom follows",
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_odometry_of_numbers_that_are_none(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    for number in (float("nan"), float("inf")):
        moment = drive.moment()
        bad = odometry(moment)
        bad.transforms[0].transform.translation.x = number
        drive.send_transforms(bad)
        drive.send_info(moment)
        drive.send_image(drive.good_image(moment))
        drive.all_answered()
    statuses = drive.all_answered()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.NO_ODOMETRY}
    row.record(
        "odometry of NaN and of infinity",
        counted(statuses),
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )
