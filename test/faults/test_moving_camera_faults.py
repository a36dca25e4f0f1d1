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

"""A robot with a camera in a map of LiDAR places: faults while its images are gathered for a cloud."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from fault_rows import FaultRow, count_statuses, seconds_since
from ros_session import Ros
from street_robot import CAMERA, FIRST_CLOUD, SECOND_CLOUD, SECOND_NS, Street, StreetRobot, make_street

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.rclpy_support.conversion import pose_of

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

pytestmark = [pytest.mark.fault, pytest.mark.slow_fault]
_BACK_S, _NEAR_M = 15.0, 0.5
# of the drive, images after the first cloud and before the second
_FAULT, _LAST = (6, 7), 13
_WHO = "a camera in a map of LiDAR places"


@pytest.fixture(scope="module")
def street(tmp_path_factory: pytest.TempPathFactory) -> Street:
    """A drive along a street."""
    return make_street(tmp_path_factory.mktemp("maps") / "street")


@pytest.fixture
def robot(ros: Ros, street: Street) -> StreetRobot:
    """A robot that has one cloud, and gathers images for the second."""
    robot = StreetRobot(ros, street, transform_timeout_s=0.2)
    statuses = robot.drive(0, _FAULT[0] - 1)
    assert "by 1 of at least 2 clouds" in statuses[FIRST_CLOUD].reason
    return robot


def _drive_again(robot: StreetRobot, **how: Any) -> tuple[float, list[LocalizationStatus]]:
    """Drive the way again, later; the seconds until an image is localized, by its second cloud, and the statuses."""
    start = time.monotonic()
    statuses = robot.drive(0, SECOND_CLOUD, **({"later_ns": 20 * SECOND_NS} | how))
    found = statuses[SECOND_CLOUD]
    assert found.status == LocalizationStatus.OK, found.reason
    assert pose_of(found.pose.pose).distance_to(robot.map_from_base(SECOND_CLOUD))[0] < _NEAR_M
    assert all(one.status != LocalizationStatus.OK for one in statuses[:SECOND_CLOUD])
    return seconds_since(start), statuses


def test_odometry_is_lost(robot: StreetRobot, row: FaultRow) -> None:
    lost = [robot.status_of(robot.send(number, with_odometry=False)) for number in _FAULT]
    assert {one.status for one in lost} == {LocalizationStatus.NO_ODOMETRY}
    back = robot.status_of(robot.send(_FAULT[-1] + 1))
    assert "no image with odometry came for 3.0 s, so that the images before were dropped" in back.reason
    back_s, _ = _drive_again(robot)
    row.record(
        f"{_WHO}: odometry is lost for two images while a cloud is gathered",
        f"{count_statuses(lost)}; images and clouds from before are dropped, and two new clouds give a pose",
        back_s=back_s,
        within_s=_BACK_S,
    )


def test_odometry_is_restarted(robot: StreetRobot, row: FaultRow) -> None:
    robot.status_of(robot.send(_FAULT[0]))
    elsewhere = Pose.from_rotation_vector([0.0, 0.0, np.radians(120.0)], [80.0, 30.0, 0.0])
    back_s, again = _drive_again(robot, later_ns=8 * SECOND_NS, odom_from_odom=elsewhere)
    assert "odometry was restarted: it moved by" in again[0].reason
    row.record(
        f"{_WHO}: odometry is restarted while a cloud is gathered",
        "images and clouds from before are dropped, with that reason, and two new clouds give a pose",
        back_s=back_s,
        within_s=_BACK_S,
    )


def test_images_of_another_size(robot: StreetRobot, street: Street, row: FaultRow) -> None:
    half = [street.images[number][::2, ::2] for number in _FAULT]
    wrong = [robot.status_of(robot.send(n, image=image)) for n, image in zip(_FAULT, half, strict=True)]
    assert {one.status for one in wrong} == {LocalizationStatus.BAD_IMAGE}
    back_s, _ = _drive_again(robot)
    row.record(
        f"{_WHO}: two images of half the size while a cloud is gathered",
        f"{count_statuses(wrong)}: {wrong[0].reason}",
        back_s=back_s,
        within_s=_BACK_S,
    )


def test_another_camera(robot: StreetRobot, street: Street, row: FaultRow) -> None:
    small = CAMERA.scaled(CAMERA.width // 2, CAMERA.height // 2)
    other = [robot.status_of(robot.send(n, image=street.images[n][::2, ::2], camera=small)) for n in _FAULT]
    assert all("the calibration of the camera changed, so that the images before" in one.reason for one in other)
    back_s, _ = _drive_again(robot)
    row.record(
        f"{_WHO}: two images of another camera, with its calibration, while a cloud is gathered",
        f"{count_statuses(other)}: {other[0].reason}",
        back_s=back_s,
        within_s=_BACK_S,
    )


def test_a_covered_lens(robot: StreetRobot, street: Street, row: FaultRow) -> None:
    covered = robot.drive(_FAULT[0], _LAST, image=np.zeros_like(street.images[0]))
    assert all(one.status != LocalizationStatus.OK for one in covered)
    back_s, _ = _drive_again(robot)
    row.record(
        f"{_WHO}: the lens is covered while a cloud is gathered",
        f"{count_statuses(covered)}, none of them localized",
        back_s=back_s,
        within_s=_BACK_S,
    )
