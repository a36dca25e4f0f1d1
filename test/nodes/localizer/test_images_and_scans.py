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

"""One localizer for a camera and a LiDAR: each is localized, and the robot goes on where one of them has no answer."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from nodes_world import Wall
from plane_scene import CAMERA
from ros_session import Ros
from scan_robot import MAP_FROM_ODOM
from two_sensor_robot import TwoSensorRobot, drive_along_wall, write_map_of_both, write_map_of_places

from vloc_msgs.msg import LocalizationStatus as Status
from vloc_msgs.srv import Relocalize
from vloc_ros.core.geometry.pose import Array
from vloc_ros.nodes.localizer.inputs import ScanSchedule
from vloc_ros.nodes.localizer.last_results import LastResults
from vloc_ros.nodes.rclpy_support.conversion import pose_of, status_without_pose
from vloc_ros.simulation.lidar_drives import LidarDrive

NEAR_M = 0.1
S = 10**9


@pytest.fixture(scope="module")
def drive() -> LidarDrive:
    """Scans of the robot."""
    return drive_along_wall()


@pytest.fixture(scope="module")
def map_of_both(wall: Wall, drive: LidarDrive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Landmarks and LiDAR places."""
    pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
    pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")
    return write_map_of_both(wall, drive, tmp_path_factory.mktemp("maps") / "both")


@pytest.fixture(scope="module")
def lidar_map(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LiDAR places alone."""
    pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
    pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")
    return write_map_of_places(tmp_path_factory.mktemp("maps") / "lidar")


def test_a_robot_goes_on_by_the_sensor_that_is_left(ros: Ros, wall: Wall, drive: LidarDrive, map_of_both: Path) -> None:
    robot = TwoSensorRobot(ros, wall, drive, map=str(map_of_both))
    # the first fix is confirmed by the other sensor
    held = robot.status_of(robot.send_image(0))
    assert (held.status, held.sensor) == (Status.HELD, "camera"), held.reason
    first = robot.status_of(robot.send_scan(0))
    assert (robot.error_m(first, 0) < NEAR_M, first.sensor, first.candidate.endswith("lidar")) == (True, "lidar", True)
    # both
    image, scan = robot.status_of(robot.send_image(1)), robot.status_of(robot.send_scan(1))
    assert max(robot.error_m(image, 1), robot.error_m(scan, 1)) < NEAR_M
    assert (image.sensor, scan.sensor) == ("camera", "lidar")
    # the camera is silent, and then dark
    for step in (2, 3):
        assert robot.error_m(robot.status_of(robot.send_scan(step)), step) < NEAR_M
    dark = robot.status_of(robot.send_image(4, image=np.zeros((CAMERA.height, CAMERA.width), np.uint8)))
    assert (dark.status, dark.sensor, any(dark.pose.covariance)) == (Status.NO_FEATURES, "camera", False)
    assert robot.error_m(robot.status_of(robot.send_scan(4)), 4) < NEAR_M
    # the LiDAR is silent, and then without an echo
    for step in (5, 6):
        assert robot.error_m(robot.status_of(robot.send_image(step)), step) < NEAR_M
    blind: Array = np.zeros((200, 3), np.float32)
    assert robot.status_of(robot.send_scan(7, points=blind)).status == Status.BAD_IMAGE
    assert robot.error_m(robot.status_of(robot.send_image(8)), 8) < NEAR_M
    # odometry carries the image's fix on, which is the more certain one: TF stays with it
    assert robot.error_m(robot.status_of(robot.send_scan(8)), 8) > 0.01
    localized = [one for one in robot.statuses.messages if one.status == Status.OK]
    robot.poses.wait(lambda all_: len(all_) == len(localized), "one stream of poses")
    sent = [one for message in robot.transforms.messages for one in message.transforms if one.header.frame_id == "map"]
    assert {one.child_frame_id for one in sent} == {"odom"}
    errors_m = [pose_of(one.transform).distance_to(MAP_FROM_ODOM)[0] for one in sent]
    assert max(errors_m) < NEAR_M
    assert errors_m[-1] < 0.005


def test_scans_rest_while_images_are_localized(ros: Ros, wall: Wall, drive: LidarDrive, map_of_both: Path) -> None:
    unfiltered = {"fix_filter.enabled": False}
    robot = TwoSensorRobot(ros, wall, drive, map=str(map_of_both), scan_period_s=3600.0, **unfiltered)
    assert robot.error_m(robot.status_of(robot.send_scan(0)), 0) < NEAR_M
    assert robot.error_m(robot.status_of(robot.send_image(1)), 1) < NEAR_M
    replaced, waiting = robot.send_scan(2), robot.send_scan(3)
    dropped = robot.status_of(replaced)
    assert (dropped.status, dropped.sensor, dropped.images_received) == (Status.DROPPED, "lidar", 4)
    assert robot.error_m(robot.status_of(robot.send_image(4)), 4) < NEAR_M
    robot.send_image(5, image=np.zeros((CAMERA.height, CAMERA.width), np.uint8))
    assert robot.error_m(robot.status_of(waiting), 3) < NEAR_M


def test_a_map_of_lidar_places_alone(ros: Ros, wall: Wall, drive: LidarDrive, lidar_map: Path) -> None:
    robot = TwoSensorRobot(ros, wall, drive, map=str(lidar_map), **{"fix_filter.enabled": False})
    image = robot.status_of(robot.send_image(0))
    assert (image.status, "the camera has moved" in image.reason) == (Status.NO_FEATURES, True)

    def send_both() -> None:
        robot.send_image(1)
        robot.send_scan(1)

    request = Relocalize.Request(timeout_s=20.0)
    found = ros.call_while(Relocalize, "vloc_localizer/relocalize", request, send_both).result
    assert (robot.error_m(found, 1) < NEAR_M, found.sensor) == (True, "lidar")


def test_images_wait_once_for_a_frame_of_the_scans_that_tf_lacks(
    ros: Ros, wall: Wall, drive: LidarDrive, map_of_both: Path
) -> None:
    timeout_s = 1.0
    robot = TwoSensorRobot(ros, wall, drive, map=str(map_of_both), transform_timeout_s=timeout_s)
    robot.status_of(robot.send_image(0))
    first, second = (robot.status_of(robot.send_scan(step, frame_id="nowhere")) for step in (1, 2))
    assert first.status == second.status == Status.NO_TRANSFORM
    assert first.total_time_s > timeout_s > second.total_time_s
    assert robot.error_m(robot.status_of(robot.send_scan(3)), 3) < NEAR_M


def test_the_schedule_of_scans() -> None:
    schedule = ScanSchedule(2 * S)
    assert schedule.due_ns <= 0  # nothing was localized yet
    schedule.record_image(localized=True, at_ns=10 * S)
    schedule.take_scan(at_ns=10 * S)
    assert schedule.due_ns == 12 * S
    schedule.record_image(localized=True, at_ns=11 * S)
    assert schedule.due_ns == 12 * S
    schedule.take_scan(at_ns=12 * S)
    assert schedule.due_ns == 13 * S  # the images are silent since 11 s
    schedule.record_image(localized=False, at_ns=12 * S)
    assert schedule.due_ns <= 0
    schedule.take_images()
    assert schedule.is_turn_of_scans
    schedule.take_scan(at_ns=13 * S)
    assert not schedule.is_turn_of_scans


def test_scans_that_take_longer_than_their_period_leave_it_to_images() -> None:
    schedule = ScanSchedule(S)
    schedule.record_image(localized=True, at_ns=10 * S)
    schedule.take_scan(at_ns=11 * S)
    schedule.record_scan(at_ns=14 * S)
    assert schedule.due_ns == 14 * S  # no image was localized from 10 s to 11 s
    schedule.record_image(localized=True, at_ns=int(14.1 * S))
    assert schedule.due_ns == 15 * S
    schedule.record_image(localized=True, at_ns=int(14.9 * S))
    schedule.take_scan(at_ns=15 * S)
    schedule.record_scan(at_ns=18 * S)
    assert schedule.due_ns == int(18.9 * S)


def test_a_fix_is_waited_for_and_a_refusal_is_the_result_at_the_timeout() -> None:
    results = LastResults()
    results.begin(("camera", "lidar"))
    dark = status_without_pose(sensor="camera", status=Status.NO_FEATURES)
    results.put(3, dark)
    assert results.wait_after(3, 0.0) is None
    assert results.wait_after(2, 0.0) is dark  # at the timeout
    held = status_without_pose(sensor="lidar", status=Status.HELD)
    results.put(4, held)
    assert results.wait_after(2, 0.0) is held
    fix = status_without_pose(sensor="lidar", status=Status.OK)
    results.put(5, fix)
    results.put(6, dark)
    assert results.wait_after(2, 10.0) is fix
    results.put(7, status_without_pose(sensor="lidar", status=Status.AMBIGUOUS))
    later = threading.Timer(0.05, results.put, (8, fix))
    later.start()
    assert results.wait_after(5, 10.0) is fix
    later.join()
    results.close()
    assert results.wait_after(9, 10.0) is None
