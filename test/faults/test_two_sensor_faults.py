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

"""A robot with a camera and a LiDAR: one of them is lost, or says something else than the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from fault_rows import FaultRow, count_statuses, seconds_since
from nodes_world import Wall
from plane_scene import CAMERA
from ros_session import Ros
from scan_robot import drive_through_apartment
from two_sensor_robot import ELSEWHERE, TwoSensorRobot, drive_along_wall, write_map_of_both

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.simulation.lidar_drives import LidarDrive

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

pytestmark = pytest.mark.fault
_BACK_S, _IMAGE_M, _SCAN_M = 5.0, 0.05, 0.1


@pytest.fixture(scope="module")
def way() -> LidarDrive:
    """Scans of the robot."""
    return drive_along_wall()


@pytest.fixture(scope="module")
def map_of_both(wall: Wall, way: LidarDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map on disk."""
    return write_map_of_both(wall, way, tmp_path_factory.mktemp("maps") / "both")


@pytest.fixture
def robot(ros: Ros, wall: Wall, way: LidarDrive, map_of_both: Path) -> TwoSensorRobot:
    """A robot that both sensors have localized."""
    robot = TwoSensorRobot(ros, wall, way, map=str(map_of_both), max_image_age_s=0.0)
    robot.status_of(robot.send_scan(0))
    _recover(robot, 1)
    return robot


def _recover(robot: TwoSensorRobot, step: int) -> float:
    """Send an image and a scan, and return the seconds until both were localized."""
    start = time.monotonic()
    _check([robot.status_of(robot.send_image(step))], robot, step)
    _check([robot.status_of(robot.send_scan(step))], robot, step)
    return seconds_since(start)


def _check(statuses: Sequence[LocalizationStatus], robot: TwoSensorRobot, first_step: int) -> None:
    """All are localized, one a step."""
    for step, status in enumerate(statuses, first_step):
        assert robot.error_m(status, step) < (_IMAGE_M if status.sensor == "camera" else _SCAN_M)


def test_lost_images_of_a_robot_with_a_lidar(robot: TwoSensorRobot, row: FaultRow) -> None:
    dark = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    images, scans = [], []
    for step in (2, 3, 4, 5):
        if step > 3:
            images.append(robot.status_of(robot.send_image(step, image=dark)))
        scans.append(robot.status_of(robot.send_scan(step)))
    _check(scans, robot, 2)
    assert all(one.status == LocalizationStatus.NO_FEATURES and not any(one.pose.covariance) for one in images)
    row.record(
        "`sensor: both`: the camera is silent for two scans, and covered for two more",
        f"{count_statuses(scans)} by scans, {count_statuses(images)} of the images",
        back_s=_recover(robot, 6),
        within_s=_BACK_S,
    )


def test_lost_scans_of_a_robot_with_a_camera(robot: TwoSensorRobot, row: FaultRow) -> None:
    nothing, scan = np.zeros((200, 3), np.float32), robot.drive.scan(4)
    images, scans = [robot.status_of(robot.send_image(2))], []
    for step, values in ((3, {"points": nothing}), (4, {"points": scan, "frame_id": "nowhere"})):
        scans.append(robot.status_of(robot.send_scan(step, **values)))
        images.append(robot.status_of(robot.send_image(step)))
    _check(images, robot, 2)
    expected = [LocalizationStatus.BAD_IMAGE, LocalizationStatus.NO_TRANSFORM]
    assert [one.status for one in scans] == expected
    row.record(
        "`sensor: both`: the LiDAR is silent, has no echo, and then a frame that TF lacks",
        f"{count_statuses(images)} by images, {count_statuses(scans)} of the scans",
        back_s=_recover(robot, 5),
        within_s=_BACK_S,
    )


def test_sensors_that_contradict_each_other(robot: TwoSensorRobot, row: FaultRow) -> None:
    elsewhere = drive_through_apartment().scan(ELSEWHERE)
    images, scans = [], []
    for step in (2, 3, 4):
        scans.append(robot.status_of(robot.send_scan(step, points=elsewhere)))
        images.append(robot.status_of(robot.send_image(step)))
    _check(images, robot, 2)
    assert all(one.status == LocalizationStatus.HELD and not any(one.pose.covariance) for one in scans)
    row.record(
        "`sensor: both`: three scans are of another place of the map, in turns with right images",
        f"{count_statuses(images)} by images, {count_statuses(scans)} of the scans: {scans[-1].reason}",
        back_s=_recover(robot, 5),
        within_s=_BACK_S,
    )
