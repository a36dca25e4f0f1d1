"""Calibrations of another camera, and of none."""

from __future__ import annotations

import time
from typing import Any

import pytest
from drive import Drive, camera_info
from fault_rows import FaultRow, counted
from plane_scene import CAMERA

from vloc_msgs.msg import LocalizationStatus

pytestmark = pytest.mark.fault
_BACK_S = 5.0
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


def test_calibrations_that_are_none(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    seen = []
    for changes in ({"k": [0.0] * 9}, {"d": [float("nan")] * 5}, {"distortion_model": "barrel", "d": [1.0]}):
        _until_heard(drive, LocalizationStatus.NO_CALIBRATION, changes)
        seen.append(_until_heard(drive, LocalizationStatus.NO_CALIBRATION, changes).reason)
    assert len(set(seen)) == len(seen)
    refused = [s for s in drive.all_answered()[before:] if s.status != LocalizationStatus.OK]
    row.record(
        "camera_info of zeros, with NaN, of an unknown distortion model, one after the other at run time",
        f"{counted(refused)}: {'; '.join(reason.partition(': ')[2] for reason in seen)}",
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_a_focal_length_that_is_wrong_for_two_images(drive: Drive, row: FaultRow) -> None:
    _, k, _ = CAMERA.to_ros()
    k[0], k[4] = 2 * k[0], 2 * k[4]
    held = [_until_heard(drive, LocalizationStatus.HELD, {"k": k}) for _ in range(2)]
    row.record(
        "camera_info with twice the focal length for two images, and the right one again",
        f"{counted(held)}: {held[-1].reason}",
        back_s=drive.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )
