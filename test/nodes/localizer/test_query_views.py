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

"""Views of a rig, and the wait for them by a clock that only waiting advances."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA
from sensor_msgs.msg import CompressedImage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer import query_views
from vloc_ros.nodes.localizer.cameras import CameraImage, CameraSource
from vloc_ros.nodes.localizer.query_views import AvailableViews, ViewAssembler
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.rclpy_support.conversion import bgr_message

TIMEOUT_S = 0.2
NOW_NS = 5_000_000_000
BEFORE_NS = NOW_NS - 15_000_000
NAMES = ("front", "rear", "left", "right")


class World:
    """Simulated TF and camera_info; what is in `unknown` is never received."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.unknown: set[str] = set()
        self.no_odometry_at: set[int] = set()
        self.odom_from_base: dict[int, Pose] = {}
        self.waited_s = 0.0
        self.decoded = 0
        self.views = ViewAssembler(LocalizerNodeConfig(transform_timeout_s=TIMEOUT_S), self)  # type: ignore[arg-type]
        decode = query_views.image_of
        monkeypatch.setattr(query_views, "time", SimpleNamespace(monotonic=lambda: 100.0 + self.waited_s))
        monkeypatch.setattr(query_views, "image_of", lambda message: (self._count(), decode(message))[1])

    def assemble(self, *images: CameraImage) -> AvailableViews:
        """Return the views of an image set; odometry is known at the newest stamp."""
        return self.views.assemble_rig(images, stamp_ns=NOW_NS, odom_from_base=Pose.identity())

    def image(self, name: str, *, stamp_ns: int = NOW_NS, encoding: str = "bgr8") -> CameraImage:
        """Return the image of a camera with a calibration of this world."""
        message = bgr_message(stamp_ns, name, np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8))
        message.encoding = encoding
        return CameraImage(CameraSource(name, _Info(self, name)), message)  # type: ignore[arg-type]

    def lookup(
        self,
        target: str,
        source: str,
        stamp_ns: int,
        *,
        patience_s: float | None = None,
        refusal: int = LocalizationStatus.NO_ODOMETRY,
    ) -> Pose:
        """As TransformLookup."""
        if source in self.unknown or (target == "odom" and stamp_ns in self.no_odometry_at):
            self.wait(patience_s)
            raise Refused(refusal, f"TF has no {target} -> {source}")
        return self.odom_from_base.get(stamp_ns, Pose.identity()) if target == "odom" else Pose.identity()

    def lookup_available(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """As TransformLookup."""
        return None if stamp_ns in self.no_odometry_at else Pose.identity()

    def wait(self, patience_s: float | None) -> None:
        """Wait for the whole time."""
        self.waited_s += TIMEOUT_S if patience_s is None else patience_s

    def _count(self) -> None:
        self.decoded += 1


class _Info:
    """As Calibration."""

    def __init__(self, world: World, name: str) -> None:
        self._world, self._topic = world, f"{name}/camera_info"

    def camera(self, patience_s: float | None = None) -> Camera:
        if self._topic in self._world.unknown:
            self._world.wait(patience_s)
            raise Refused(LocalizationStatus.NO_CALIBRATION, f"no {self._topic}")
        return CAMERA


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_cameras_that_tf_lost_are_waited_for_together(world: World) -> None:
    images = [world.image(name) for name in NAMES]
    assert world.assemble(*images).cameras == NAMES
    world.unknown = set(NAMES)
    with pytest.raises(Refused, match="front: TF has no base_link -> front; rear: ") as refused:
        world.assemble(*images)
    assert refused.value.code == LocalizationStatus.NO_TRANSFORM
    assert world.waited_s == pytest.approx(TIMEOUT_S)


def test_missing_data_is_waited_for_only_without_another_view(world: World) -> None:
    images = [world.image(name) for name in NAMES]
    world.unknown = {"front", "rear/camera_info"}
    assert world.assemble(*images).cameras == ("left", "right")
    assert world.waited_s == 0.0
    world.unknown |= {"left", "right/camera_info"}
    with pytest.raises(Refused):
        world.assemble(*images[:2])
    assert world.waited_s == pytest.approx(TIMEOUT_S)


def test_unreadable_images_are_decoded_once_and_not_waited_for(world: World) -> None:
    with pytest.raises(Refused, match="front: an image has encoding") as refused:
        world.assemble(*(world.image(name, encoding="no_such_encoding") for name in NAMES))
    assert refused.value.code == LocalizationStatus.BAD_IMAGE
    assert (world.decoded, world.waited_s) == (len(NAMES), 0.0)


def test_an_image_of_another_size_than_its_calibration_is_not_decoded(world: World) -> None:
    raw, packed = world.image("front"), world.image("rear")
    raw.message.height += 1
    pixels = cv2.imencode(".png", np.zeros((CAMERA.height, CAMERA.width + 1), np.uint8))[1].tobytes()
    compressed = replace(packed, message=CompressedImage(header=packed.message.header, data=pixels))
    with pytest.raises(Refused, match=f"{CAMERA.width + 1}x{CAMERA.height}, its camera calibration is for") as refused:
        world.assemble(raw, compressed)
    assert (refused.value.code, world.decoded) == (LocalizationStatus.BAD_IMAGE, 0)


def test_an_image_of_a_time_without_odometry_is_left_out_and_named(world: World) -> None:
    front, rear = world.image("front"), world.image("rear", stamp_ns=BEFORE_NS)
    assert world.assemble(front, rear).cameras == ("front", "rear")
    world.no_odometry_at = {BEFORE_NS}
    available = world.assemble(front, rear)
    assert available.cameras == ("front",)
    assert available.left_out == "left out rear: TF has no odom -> base_link"


def test_without_odometry_the_robot_is_assumed_to_stand_still(world: World) -> None:
    world.no_odometry_at = {NOW_NS, BEFORE_NS}
    images = [world.image("front"), world.image("rear", stamp_ns=BEFORE_NS)]
    assert world.views.assemble_rig(images, stamp_ns=NOW_NS, odom_from_base=None).cameras == ("front", "rear")


def test_an_image_of_before_is_where_the_base_was_then(world: World) -> None:
    """The base has driven one metre ahead since."""
    world.odom_from_base[BEFORE_NS] = Pose(np.eye(3), np.array([-1.0, 0.0, 0.0]))
    found = world.assemble(world.image("front"), world.image("rear", stamp_ns=BEFORE_NS))
    now, before = (view.rig_from_camera.translation for view in found.views)
    assert (now.tolist(), before.tolist()) == ([0.0, 0.0, 0.0], [-1.0, 0.0, 0.0])
