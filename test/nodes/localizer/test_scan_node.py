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

"""A robot without a camera: the localizer takes scans, in a map of LiDAR places that the map server sends in parts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ros_session import Ros
from scan_robot import ScanRobot, drive_through_apartment, write_lidar_map

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.map_server.node import MapServerNode
from vloc_ros.nodes.rclpy_support.conversion import pose_of
from vloc_ros.simulation.lidar_drives import LidarDrive
from vloc_ros.storage.maps import map_hash

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")


@pytest.fixture(scope="module")
def drive() -> LidarDrive:
    """Scans in an apartment; every other one is of the map."""
    return drive_through_apartment()


@pytest.fixture(scope="module")
def lidar_map(drive: LidarDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map on disk."""
    return write_lidar_map(drive, tmp_path_factory.mktemp("maps") / "apartment")


def test_a_robot_without_a_camera_is_localized_in_a_map_from_the_server(
    ros: Ros, drive: LidarDrive, lidar_map: Path, tmp_path: Path
) -> None:
    ros.add(MapServerNode, autostart=True, map=str(lidar_map))
    robot = ScanRobot(ros, drive, map="", map_cache=str(tmp_path / "cache"))
    ros.until(lambda: robot.node.map_hash == map_hash(lidar_map))
    for index in (9, 19):
        status = robot.status_of(robot.send(index))
        assert status.status == LocalizationStatus.OK, status.reason
        assert (status.map_frame, status.body_frame, status.candidate) == ("map", "base_link", "retrieval/lidar")
        metres, radians = pose_of(status.pose.pose).distance_to(robot.map_from_base(index))
        assert metres < 0.1
        assert radians < np.radians(1.0)
        assert 0 < status.pose.covariance[0] < 0.04
    robot.poses.wait(lambda all_: len(all_) == 2, "poses")


def test_scans_that_cannot_be_used_have_a_status(ros: Ros, drive: LidarDrive, lidar_map: Path) -> None:
    robot = ScanRobot(ros, drive, map=str(lidar_map), transform_timeout_s=0.05)
    nowhere = robot.status_of(robot.send(1, frame_id="nowhere"))
    assert (nowhere.status, any(nowhere.pose.covariance)) == (LocalizationStatus.NO_TRANSFORM, False)
    lost = robot.status_of(robot.send(2, points=np.zeros((50, 3), np.float32)))
    assert (lost.status, "none that is finite" in lost.reason) == (LocalizationStatus.BAD_IMAGE, True)
    few = robot.status_of(robot.send(3, points=np.ones((50, 3), np.float32)))
    assert (few.status, "voxels with points" in few.reason) == (LocalizationStatus.NO_FEATURES, True)
    optical = drive.scan(4)[:, [1, 2, 0]] * np.float32([-1, -1, 1])
    wrong = robot.status_of(robot.send(4, points=optical))
    assert wrong.status in (LocalizationStatus.POSE_REJECTED, LocalizationStatus.AMBIGUOUS)
    assert robot.status_of(robot.send(7)).status == LocalizationStatus.OK


def test_a_scan_that_is_late_is_refused(ros: Ros, drive: LidarDrive, lidar_map: Path) -> None:
    robot = ScanRobot(ros, drive, map=str(lidar_map), max_image_age_s=1.0)
    late = robot.status_of(robot.send(5))
    assert late.status == LocalizationStatus.STALE
    assert "the scan is" in late.reason
