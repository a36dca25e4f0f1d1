"""Cameras of a rig that fall silent, or see nothing."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from drive import Drive, Moment, camera_info
from fault_rows import FaultRow, counted
from nodes_world import BASE_FROM_CAMERA, Wall
from plane_scene import CAMERA
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.conversion import bgr_message, transform_message

pytestmark = pytest.mark.fault
_BACK_S = 5.0
_MOMENTS = 8
FRONT_FROM_REAR = Pose.from_rotation_vector([0.0, -0.25, 0.0], [0.45, 0.0, 0.0])
MOUNTS = {"front": BASE_FROM_CAMERA, "rear": BASE_FROM_CAMERA @ FRONT_FROM_REAR}


class RigDrive(Drive):
    """A robot with two cameras, of which some are silent and some covered."""

    def __init__(self, ros: Ros, wall: Wall) -> None:
        super().__init__(ros, wall)
        self.silent: set[str] = set()
        self.covered: set[str] = set()
        self._of_rig = {name: ros.node.create_publisher(Image, f"{name}/image", 100) for name in MOUNTS}
        self._infos_of_rig = {name: ros.node.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in MOUNTS}
        transforms = [transform_message(0, "base_link", name, mount) for name, mount in MOUNTS.items()]
        self._static.publish(TFMessage(transforms=transforms))

    def await_listener(self) -> None:
        for publisher in (*self._of_rig.values(), *self._infos_of_rig.values()):
            self.ros.until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        self.ros.until(lambda: self.ros.node.count_publishers("localizer/status") > 0)

    def send_info(self, moment: Moment, info: CameraInfo | None = None) -> None:
        for publisher in self._infos_of_rig.values():
            publisher.publish(info or camera_info(moment, CAMERA))

    def send_image(self, message: Image) -> None:
        """The image of the front camera, given, and that of the other one, from the same place."""
        moment = self.latest
        there = Moment(moment.stamp_ns, moment.map_from_camera @ FRONT_FROM_REAR)
        images = {"front": message, "rear": bgr_message(moment.stamp_ns, "rear", self.picture(there))}
        images["front"].header.frame_id = "front"
        self.sent.append(moment.stamp_ns)
        for name in MOUNTS.keys() - self.silent:
            if name in self.covered:
                images[name] = bgr_message(moment.stamp_ns, name, np.zeros_like(self.picture(moment)))
            self.images_sent += 1
            self._of_rig[name].publish(images[name])


@pytest.fixture
def rig(ros: Ros, wall: Wall) -> RigDrive:
    drive = RigDrive(ros, wall)
    drive.start_localizer(cameras=", ".join(MOUNTS), rig_wait_s=0.2, **{"diagnostics.image_timeout_s": 0.5})
    drive.warm_up()
    return drive


def _cameras(statuses: list[LocalizationStatus]) -> Counter[str]:
    return Counter(name for status in statuses for name in status.cameras)


@pytest.mark.parametrize("lost", ["front", "rear"])
def test_a_camera_of_a_rig_falls_silent(ros: Ros, rig: RigDrive, row: FaultRow, lost: str) -> None:
    (other,) = MOUNTS.keys() - {lost}
    diagnostics = ros.collect(DiagnosticArray, "/diagnostics")
    before = len(rig.sent)
    rig.silent = {lost}
    for _ in range(_MOMENTS):
        rig.send()
        rig.all_answered()
    statuses = rig.all_answered()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.OK}
    assert _cameras(statuses) == {other: _MOMENTS}
    said = f"no image of camera {lost} for"
    arrays = diagnostics.wait(lambda all_: any(said in s.message for a in all_ for s in a.status), said)
    levels = {s.level for a in arrays for s in a.status if said in s.message}
    assert levels <= {DiagnosticStatus.WARN, DiagnosticStatus.ERROR}  # an error where the other one is slow, too
    rig.silent = set()
    back_s = rig.recovered(within_s=_BACK_S)
    assert rig.all_answered()[-1].cameras == ["front", "rear"]
    row.record(
        f"camera {lost} of a rig of two falls silent for {_MOMENTS} moments, with a rig_wait_s of 0.2, and comes back",
        f"{counted(statuses)} from camera {other}; on /diagnostics: {said} ...",
        back_s=back_s,
        within_s=_BACK_S,
    )


def test_a_camera_of_a_rig_is_covered(rig: RigDrive, row: FaultRow) -> None:
    before = len(rig.sent)
    rig.covered = {"front"}
    for _ in range(_MOMENTS):
        rig.send()
        rig.all_answered()
    statuses = rig.all_answered()[before:]
    assert {s.status for s in statuses} == {LocalizationStatus.OK}
    rig.covered = set()
    row.record(
        f"one lens of a rig of two is covered for {_MOMENTS} moments",
        f"{counted(statuses)} from what the other one sees",
        back_s=rig.recovered(within_s=_BACK_S),
        within_s=_BACK_S,
    )
