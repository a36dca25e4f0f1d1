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

"""Cameras of a rig that are silent or covered."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from drive import Drive, Moment, camera_info_message
from fault_rows import FaultRow, count_statuses
from nodes_world import BASE_FROM_CAMERA, Wall
from plane_scene import CAMERA
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, transform_message

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_IMAGE_SETS = 8
FRONT_FROM_REAR = Pose.from_rotation_vector([0.0, -0.25, 0.0], [0.45, 0.0, 0.0])
EXTRINSICS = {"front": BASE_FROM_CAMERA, "rear": BASE_FROM_CAMERA @ FRONT_FROM_REAR}


class RigDrive(Drive):
    """A robot with two cameras, of which some are silent and some covered."""

    def __init__(self, ros: Ros, wall: Wall) -> None:
        super().__init__(ros, wall)
        self.silent: set[str] = set()
        self.covered: set[str] = set()
        self._of_rig = {name: ros.node.create_publisher(Image, f"{name}/image", 100) for name in EXTRINSICS}
        self._infos_of_rig = {
            name: ros.node.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in EXTRINSICS
        }
        transforms = [transform_message(0, "base_link", name, extrinsics) for name, extrinsics in EXTRINSICS.items()]
        self._static.publish(TFMessage(transforms=transforms))

    def await_listener(self) -> None:
        for publisher in (*self._of_rig.values(), *self._infos_of_rig.values()):
            self.ros.until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        self.ros.until(lambda: self.ros.node.count_publishers("vloc_localizer/status") > 0)

    def send_info(self, moment: Moment, info: CameraInfo | None = None) -> None:
        for publisher in self._infos_of_rig.values():
            publisher.publish(info or camera_info_message(moment, CAMERA))

    def send_image(self, message: Image) -> None:
        """Publish the given image of the front camera, and that of the rear camera at the same time."""
        moment = self.latest
        there = Moment(moment.stamp_ns, moment.map_from_camera @ FRONT_FROM_REAR)
        images = {"front": message, "rear": bgr_message(moment.stamp_ns, "rear", self.render(there))}
        images["front"].header.frame_id = "front"
        self.sent.append(moment.stamp_ns)
        for name in EXTRINSICS.keys() - self.silent:
            if name in self.covered:
                images[name] = bgr_message(moment.stamp_ns, name, np.zeros_like(self.render(moment)))
            self.images_sent += 1
            self._of_rig[name].publish(images[name])


@pytest.fixture
def rig(ros: Ros, wall: Wall) -> RigDrive:
    drive = RigDrive(ros, wall)
    drive.start_localizer(cameras=", ".join(EXTRINSICS), rig_wait_s=0.2, **{"diagnostics.image_timeout_s": 0.5})
    drive.warm_up()
    return drive


def _cameras(statuses: list[LocalizationStatus]) -> Counter[str]:
    return Counter(name for status in statuses for name in status.cameras)


@pytest.mark.parametrize("lost", ["front", "rear"])
def test_a_silent_camera_of_a_rig(ros: Ros, rig: RigDrive, row: FaultRow, lost: str) -> None:
    (other,) = EXTRINSICS.keys() - {lost}
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    before = len(rig.sent)
    rig.silent = {lost}
    for _ in range(_IMAGE_SETS):
        rig.send()
        rig.wait_for_statuses()
    statuses = rig.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.OK}
    assert _cameras(statuses) == {other: _IMAGE_SETS}
    warning = f"no image of camera {lost} for"
    arrays = diagnostics.wait(lambda all_: any(warning in s.message for a in all_ for s in a.status), warning)
    levels = {s.level for a in arrays for s in a.status if warning in s.message}
    assert levels <= {DiagnosticStatus.WARN, DiagnosticStatus.ERROR}  # an error where the other one is slow, too
    rig.silent = set()
    back_s = rig.recover(within_s=_BACK_S)
    assert rig.wait_for_statuses()[-1].cameras == ["front", "rear"]
    row.record(
        f"camera {lost} of a rig of two is silent for {_IMAGE_SETS} image sets, with rig_wait_s 0.2, then continues",
        f"{count_statuses(statuses)} from camera {other}; on /diagnostics: {warning} ...",
        back_s=back_s,
        within_s=_BACK_S,
    )


def test_a_covered_camera_of_a_rig(rig: RigDrive, row: FaultRow) -> None:
    before = len(rig.sent)
    rig.covered = {"front"}
    for _ in range(_IMAGE_SETS):
        rig.send()
        rig.wait_for_statuses()
    statuses = rig.wait_for_statuses()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.OK}
    rig.covered = set()
    row.record(
        f"one lens of a rig of two is covered for {_IMAGE_SETS} image sets",
        f"{count_statuses(statuses)} from the other camera",
        back_s=rig.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
