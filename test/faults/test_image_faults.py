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

"""Invalid images: by the driver, the connection or the lens."""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from drive import Drive, Moment
from fault_rows import FaultRow, count_statuses
from nodes_world import STEP_NS
from plane_scene import CAMERA
from sensor_msgs.msg import CompressedImage, Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, stamp_ns_of

pytestmark = pytest.mark.fault
_BACK_S = 5.0


def _wrong_step(image: Image) -> None:
    image.step //= 2


def _long_step(image: Image) -> None:
    image.step *= 2


def _unknown_encoding(image: Image) -> None:
    image.encoding = "no_such_encoding"


def _other_encoding(image: Image) -> None:
    image.encoding = "32FC1"


def _no_size(image: Image) -> None:
    image.width = image.height = image.step = 0
    image.data = b""


def _no_data(image: Image) -> None:
    image.data = b""


def _half_the_data(image: Image) -> None:
    image.data = image.data[: len(image.data) // 2]


def _impossible_size(image: Image) -> None:
    image.width = image.height = image.step = 2**32 - 1


_DAMAGES = [
    _wrong_step,
    _long_step,
    _unknown_encoding,
    _other_encoding,
    _no_size,
    _no_data,
    _half_the_data,
    _impossible_size,
]


def test_unreadable_raw_images(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    for damage in _DAMAGES:
        moment = drive.next_moment()
        image = drive.good_image(moment)
        damage(image)
        status = drive.status_of(drive.send(moment, image).stamp_ns)
        assert status.status == LocalizationStatus.BAD_IMAGE, damage.__name__
        assert not any(status.pose.covariance)
    statuses = drive.wait_for_statuses()[before:]
    row.record(
        "raw images with a step too short and too long, an unknown encoding, an encoding that is not an image, no "
        "size, no data, half the data, a size of 4294967295",
        f"{count_statuses(statuses)}, each with the found and the expected value in its reason",
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _jpeg(drive: Drive, moment: Moment) -> bytes:
    return bytes(cv2.imencode(".jpg", drive.render(moment), [cv2.IMWRITE_JPEG_QUALITY, 95])[1])


def test_truncated_jpeg_images(drive_with: Callable[..., Drive], row: FaultRow) -> None:
    drive = drive_with(raw=False, image_transport="compressed")
    drive.good_image = lambda moment: _compressed(moment, _jpeg(drive, moment))  # type: ignore[method-assign]
    drive.warm_up()
    before = len(drive.sent)
    for share in (0.0, 0.001, 0.1, 0.5, 0.9, 0.999):
        moment = drive.next_moment()
        data = _jpeg(drive, moment)
        drive.send(moment, _compressed(moment, data[: int(share * len(data))]))
        assert drive.status_of(moment.stamp_ns).status == LocalizationStatus.BAD_IMAGE, share
    moment = drive.next_moment()
    noise = np.random.default_rng(0).integers(0, 256, 20_000, dtype=np.uint8).tobytes()
    drive.send(moment, _compressed(moment, noise))
    assert drive.status_of(moment.stamp_ns).status == LocalizationStatus.BAD_IMAGE
    statuses = drive.wait_for_statuses()[before:]
    row.record(
        "JPEG images truncated to 0, 0.1, 10, 50, 90 and 99.9 % of their bytes, and random bytes",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def _compressed(moment: Moment, data: bytes) -> CompressedImage:
    return CompressedImage(header=header(moment.stamp_ns, "camera"), format="jpeg", data=data)


@pytest.mark.slow_fault
def test_images_doubled_and_out_of_order(drive: Drive, row: FaultRow) -> None:
    moments = [drive.next_moment() for _ in range(6)]
    for moment in moments:
        drive.send_odometry(moment)
    before = len(drive.sent)
    for index in (1, 0, 0, 3, 2, 2, 1, 5, 4, 4):
        drive.send_image(drive.good_image(moments[index]))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert {s.status for s in statuses} <= {LocalizationStatus.OK, LocalizationStatus.HELD}
    row.record(
        "ten images, some duplicated, some out of order",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_images_of_the_future_and_without_time(drive: Drive, row: FaultRow) -> None:
    now = drive.send()
    drive.wait_for_statuses()
    before = len(drive.sent)
    for stamp_ns in (now.stamp_ns + 3600 * 10**9, now.stamp_ns + 60 * 10**9, (2**31 - 1) * 10**9, 0, -5 * 10**9):
        drive.send_image(bgr_message(stamp_ns, "camera", drive.render(now)))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    early, untimed = statuses[:3], statuses[3:]
    # the last of them is ahead of the clock, too
    assert [s.status for s in early] == [*[LocalizationStatus.NO_ODOMETRY] * 2, LocalizationStatus.STALE]
    assert {s.status for s in untimed} == {LocalizationStatus.STALE}
    row.record(
        "images with stamps a minute and an hour ahead of odometry, the maximum stamp, zero and a negative one",
        count_statuses(statuses),
        back_s=drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_a_covered_lens(drive: Drive, row: FaultRow) -> None:
    before = len(drive.sent)
    images = int(60e9 / STEP_NS) // 3
    black = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    for _ in range(images):
        moment = [drive.next_moment() for _ in range(3)][-1]
        drive.send(moment, bgr_message(moment.stamp_ns, "camera", black))
        drive.wait_for_statuses()
    statuses = drive.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.NO_FEATURES}
    assert stamp_ns_of(statuses[-1]) == drive.sent[-1]
    start = time.monotonic()
    back_s = drive.recover(within_s=_BACK_S)
    assert back_s <= time.monotonic() - start
    row.record(
        f"the lens is covered for a minute of stamps, {images} black images, while the robot drives on",
        count_statuses(statuses),
        back_s=back_s,
        within_s=_BACK_S,
    )
