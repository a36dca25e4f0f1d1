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

"""A robot with a LiDAR alone: scans that are lost, late, of another frame, or have half of their rings."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from fault_rows import FaultRow, count_statuses, seconds_since
from nodes_world import START_NS
from ros_session import Ros
from scan_robot import ScanRobot, drive_through_apartment, write_lidar_map

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Array
from vloc_ros.nodes.rclpy_support.conversion import pose_of
from vloc_ros.simulation.lidar_drives import LidarDrive

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

pytestmark = pytest.mark.fault
_BACK_S, _NEAR_M = 5.0, 0.1


@pytest.fixture(scope="module")
def scans() -> LidarDrive:
    """Scans in an apartment; every other one is of the map."""
    return drive_through_apartment()


@pytest.fixture(scope="module")
def lidar_map(scans: LidarDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map on disk."""
    return write_lidar_map(scans, tmp_path_factory.mktemp("maps") / "apartment")


@pytest.fixture
def robot(ros: Ros, scans: LidarDrive, lidar_map: Path) -> ScanRobot:
    """A robot that its localizer has localized."""
    robot = ScanRobot(ros, scans, map=str(lidar_map), transform_timeout_s=0.1, max_image_age_s=0.0)
    _recover(robot, 1)
    return robot


def _recover(robot: ScanRobot, index: int) -> float:
    """Send a good scan, and return the seconds until it was localized."""
    start = time.monotonic()
    status = robot.status_of(robot.send(index))
    assert status.status == LocalizationStatus.OK, status.reason
    assert pose_of(status.pose.pose).distance_to(robot.map_from_base(index))[0] < _NEAR_M
    return seconds_since(start)


def test_lost_scans(robot: ScanRobot, row: FaultRow) -> None:
    nothing, far = np.zeros((200, 3), np.float32), np.full((200, 3), 3e4, np.float32)
    noise = np.random.default_rng(0).normal(0.0, 3.0, (5000, 3)).astype(np.float32)
    lost = [robot.status_of(robot.send(2 + k, points=points)) for k, points in enumerate((nothing, far, noise))]
    assert [one.status for one in lost[:2]] == [LocalizationStatus.BAD_IMAGE, LocalizationStatus.NO_FEATURES]
    assert all(one.status != LocalizationStatus.OK and not any(one.pose.covariance) for one in lost)
    row.record(
        "a scan without an echo, one of a single far point, one of noise",
        count_statuses(lost),
        back_s=_recover(robot, 6),
        within_s=_BACK_S,
    )


def test_a_scan_of_the_floor_alone(robot: ScanRobot, row: FaultRow) -> None:
    x = np.arange(-6.0, 6.0, 0.04, dtype=np.float32)
    floor = np.stack(np.broadcast_arrays(x[:, None], x, np.float32(-0.6)), axis=-1).reshape(-1, 3)
    status = robot.status_of(robot.send(2, points=floor))
    assert status.status == LocalizationStatus.POSE_REJECTED, status.reason
    row.record("a scan of the floor alone", count_statuses([status]), back_s=_recover(robot, 6), within_s=_BACK_S)


def test_late_scans(robot: ScanRobot, row: FaultRow) -> None:
    late = [robot.status_of(robot.send(2, stamp_ns=stamp_ns)) for stamp_ns in (0, START_NS - 3600 * 10**9)]
    # TF keeps no odometry for an hour, and so does not take any that is this old
    assert [one.status for one in late] == [LocalizationStatus.STALE, LocalizationStatus.NO_ODOMETRY]
    row.record(
        "a scan without a stamp, and one that is an hour old while `max_image_age_s` is 0",
        count_statuses(late),
        back_s=_recover(robot, 6),
        within_s=_BACK_S,
    )


def test_scans_of_another_frame(robot: ScanRobot, scans: LidarDrive, row: FaultRow) -> None:
    unknown = robot.status_of(robot.send(2, frame_id="nowhere"))
    assert unknown.status == LocalizationStatus.NO_TRANSFORM
    turned: list[Array] = [scans.scan(3)[:, axes] * np.float32(signs) for axes, signs in _OTHER_AXES]
    wrong = [robot.status_of(robot.send(3 + k, points=points)) for k, points in enumerate(turned)]
    assert all(one.status != LocalizationStatus.OK and not any(one.pose.covariance) for one in wrong)
    row.record(
        "a scan of a frame that TF lacks, and scans whose points are along a camera's axes, or upside down",
        count_statuses([unknown, *wrong]),
        back_s=_recover(robot, 7),
        within_s=_BACK_S,
    )


# of a camera: x right, y down, z forward; of a LiDAR that hangs from its mast
_OTHER_AXES = (([1, 2, 0], [-1, -1, 1]), ([0, 1, 2], [1, -1, -1]))


def test_scans_with_half_the_rings(robot: ScanRobot, scans: LidarDrive, row: FaultRow) -> None:
    found = []
    for index in (3, 7, 11, 15):
        status = robot.status_of(robot.send(index, points=scans.scan(index, every_ring=2)))
        found.append(status)
        if status.status == LocalizationStatus.OK:
            assert pose_of(status.pose.pose).distance_to(robot.map_from_base(index))[0] < _NEAR_M
    assert sum(one.status == LocalizationStatus.OK for one in found) >= 2
    row.record(
        "scans with half of their rings",
        f"{count_statuses(found)}; the accepted ones are within {_NEAR_M:g} m",
        back_s=_recover(robot, 17),
        within_s=_BACK_S,
    )


def test_scans_faster_than_they_are_processed(robot: ScanRobot, row: FaultRow) -> None:
    sent = [robot.send(index) for index in range(6, 18)]
    statuses = [robot.status_of(stamp_ns) for stamp_ns in sent]
    dropped = [one for one in statuses if one.status == LocalizationStatus.DROPPED]
    assert dropped
    assert all("newer scan" in one.reason for one in dropped)
    assert statuses[-1].status == LocalizationStatus.OK, statuses[-1].reason
    row.record(
        "twelve scans at once",
        f"{count_statuses(statuses)}: the newest is localized, those that it replaced are DROPPED",
        back_s=_recover(robot, 19),
        within_s=_BACK_S,
    )
