"""Calibrations of another camera, and of none."""

from __future__ import annotations

import time
from typing import Any

import pytest
from drive import Drive, camera_info
from fault_rows import FaultRow, counted
from plane_scene import CAMERA

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.conversion import pose_of

pytestmark = pytest.mark.fault
_BACK_S = 2.0
_IMAGES = 5


def _until_heard(drive: Drive, expected: int, changes: dict[str, Any]) -> LocalizationStatus:
    """Send images with that calibration until a status shows that it came: its topic is not the image's."""
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        moment = drive.moment()
        status = drive.status_of(drive.send(moment, info=camera_info(moment, CAMERA, **changes)).stamp_ns)
        if status.status == expected:
            return status
    raise AssertionError(f"no image after camera_info with {changes} had the status {expected}")


def test_a_calibration_of_another_image_size(drive: Drive, row: FaultRow) -> None:
    half = CAMERA.scaled(CAMERA.width // 2, CAMERA.height // 2)
    _, k, _ = half.to_ros()
    changes = {"width": half.width, "height": half.height, "k": k}
    reason = _until_heard(drive, LocalizationStatus.BAD_IMAGE, changes).reason
    before = len(drive.sent)
    for _ in range(_IMAGES):
        _until_heard(drive, LocalizationStatus.BAD_IMAGE, changes)
    statuses = drive.all_answered()[before:]
    assert f"{half.width}x{half.height}" in reason
    row.record(
        "camera_info of half the width and height, sent at run time, and the right one again",
        f"{counted(statuses)}: {reason}",
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.parametrize("changes", [{"k": [0.0] * 9}, {"d": [float("nan")] * 5}, {"distortion_model": "barrel"}], ids=str)
def test_no_calibration(drive: Drive, changes: dict[str, Any]) -> None:
    pass
