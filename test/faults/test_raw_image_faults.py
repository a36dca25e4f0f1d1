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

"""Raw images that are larger than the shared memory of Fast DDS; the localizer is a process, with defaults."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import pytest
from drive import Drive, camera_info_message
from fault_rows import FaultRow, count_statuses
from nodes_world import Wall
from plane_scene import CAMERA
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_session import Ros
from sensor_msgs.msg import Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.evaluation.live_processes import Children
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, stamp_ns_of

pytestmark = [pytest.mark.fault, pytest.mark.slow_fault]
_BACK_S = 30.0
_RATE_HZ, _IMAGES = 30.0, 300
# sent before one of them has a status: as many fit into the buffer of the receiver, whatever else the machine does
_UNDER_WAY = 3


@pytest.mark.parametrize("reliability", ["best_effort", "reliable"])
def test_raw_images_at_thirty_hertz(ros: Ros, wall: Wall, tmp_path: Path, row: FaultRow, reliability: str) -> None:
    """Through shared memory best-effort images are lost. How many wait for odometry depends on the machine's load."""
    drive = Drive(ros, wall)
    ros.node.destroy_publisher(drive._images)
    qos = QoSProfile(depth=10, reliability=ReliabilityPolicy[reliability.upper()])
    drive._images = ros.node.create_publisher(Image, "image", qos)
    with Children(os.environ, tmp_path) as children:
        children.start("localizer", map=str(wall.map))
        drive.localize_next(retry_s=1.0, within_s=_BACK_S)
        sent = _drive_at_rate(drive)
        drive.statuses.wait(lambda all_: len(_statuses_of(all_, sent)) >= 0.95 * len(sent), "statuses of 95 %")
        back_s = drive.localize_next(retry_s=1.0, within_s=_BACK_S)
        statuses = _statuses_of(drive.statuses.messages, sent)
    names = Counter(status.status for status in statuses)
    assert names[LocalizationStatus.OK] > 0
    assert max(Counter(map(stamp_ns_of, statuses)).values()) == 1
    row.record(
        f"{_IMAGES} raw colour images of 640x480 at 30 Hz by a {reliability.replace('_', ' ')} publisher, with "
        "odometry of the same process, the defaults of Fast DDS and of the localizer",
        f"{100 * len(statuses) / len(sent):.0f} % of the images have a status: {count_statuses(statuses)}",
        back_s=back_s,
        within_s=_BACK_S,
    )


def _drive_at_rate(drive: Drive) -> set[int]:
    """Publish the images at their rate, slower only where the localizer gets no time; return their stamps."""
    large = CAMERA.scaled(640, 480)
    sent: list[int] = []
    start, beat = time.monotonic(), threading.Event()
    for number in range(_IMAGES):
        moment = drive.next_moment()
        pixels = cv2.resize(drive.render(moment), (large.width, large.height), interpolation=cv2.INTER_CUBIC)
        if len(sent) >= _UNDER_WAY:
            _await_status_since(drive, sent[-_UNDER_WAY])
        beat.wait(max(0.0, start + number / _RATE_HZ - time.monotonic()))
        drive.send_odometry(moment)
        drive.send_info(moment, camera_info_message(moment, large))
        drive.send_image(bgr_message(moment.stamp_ns, "camera", pixels))
        sent.append(moment.stamp_ns)
    return set(sent)


def _await_status_since(drive: Drive, stamp_ns: int) -> None:
    """Wait for the status of an image or of a later one; those of dropped images come before that of an older one."""
    drive.statuses.wait(
        lambda all_: max(map(stamp_ns_of, all_[-_UNDER_WAY:])) >= stamp_ns, f"a status of {stamp_ns} or later"
    )


def _statuses_of(statuses: list[LocalizationStatus], sent: set[int]) -> list[LocalizationStatus]:
    return [status for status in statuses if stamp_ns_of(status) in sent]
