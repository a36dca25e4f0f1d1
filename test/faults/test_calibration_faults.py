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

"""Calibrations of another camera, and invalid ones."""

from __future__ import annotations

import time
from typing import Any

import pytest
from drive import LATCHED, Drive, camera_info_message
from fault_rows import FaultRow, count_statuses
from nodes_world import Wall
from plane_scene import CAMERA
from ros_session import Ros
from sensor_msgs.msg import CameraInfo

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.rclpy_support.conversion import status_name

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_IMAGES = 5


def _send_until(drive: Drive, expected: int, changes: dict[str, Any]) -> LocalizationStatus:
    """Send images with a calibration until a status shows that it was received."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        moment = drive.next_moment()
        status = drive.status_of(drive.send(moment, info=camera_info_message(moment, CAMERA, **changes)).stamp_ns)
        if status.status == expected:
            return status
    raise AssertionError(f"no image after camera_info with {changes} had the status {expected}")


def test_a_calibration_of_another_image_size(drive: Drive, row: FaultRow) -> None:
    half = CAMERA.scaled(CAMERA.width // 2, CAMERA.height // 2)
    _, k, _ = half.to_ros()
    changes = {"width": half.width, "height": half.height, "k": k}
    reason = _send_until(drive, LocalizationStatus.BAD_IMAGE, changes).reason
    before = len(drive.sent)
    for _ in range(_IMAGES):
        _send_until(drive, LocalizationStatus.BAD_IMAGE, changes)
    statuses = drive.wait_for_statuses()[before:]
    assert f"{half.width}x{half.height}" in reason
    row.record(
        "camera_info with half the width and height at run time, then the right one again",
        f"{count_statuses(statuses)}: {reason}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_a_calibration_that_is_sent_once(ros: Ros, wall: Wall, row: FaultRow) -> None:
    drive = Drive(ros, wall)
    latched = ros.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    latched.publish(camera_info_message(drive.next_moment(), CAMERA))
    drive.start_localizer()
    for _ in range(_IMAGES):
        moment = drive.next_moment()
        drive.send_odometry(moment)
        drive.send_image(drive.good_image(moment))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()
    assert statuses[-1].status == LocalizationStatus.OK
    row.record(
        "camera_info is sent only once, latched, before the localizer is started",
        f"it is received: the last of {_IMAGES} images is {status_name(statuses[-1].status)}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_invalid_calibrations(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    reasons = []
    for changes in ({"k": [0.0] * 9}, {"d": [float("nan")] * 5}, {"distortion_model": "barrel", "d": [1.0]}):
        _send_until(drive, LocalizationStatus.NO_CALIBRATION, changes)
        reasons.append(_send_until(drive, LocalizationStatus.NO_CALIBRATION, changes).reason)
    assert len(set(reasons)) == len(reasons)
    refused = [s for s in drive.wait_for_statuses()[before:] if s.status != LocalizationStatus.OK]
    row.record(
        "camera_info with zeros, with NaN, and with an unknown distortion model, one after the other at run time",
        f"{count_statuses(refused)}: {'; '.join(reason.partition(': ')[2] for reason in reasons)}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_a_focal_length_that_is_wrong_for_two_images(drive: Drive, row: FaultRow) -> None:
    _, k, _ = CAMERA.to_ros()
    k[0], k[4] = 2 * k[0], 2 * k[4]
    held = [_send_until(drive, LocalizationStatus.HELD, {"k": k}) for _ in range(2)]
    row.record(
        "camera_info with twice the focal length for two images, then the right one again",
        f"{count_statuses(held)}: {held[-1].reason}",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
