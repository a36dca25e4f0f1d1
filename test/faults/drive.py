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

"""A robot that drives along the mapped wall, with a record of its images and of their statuses."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from fault_rows import seconds_since
from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, START_NS, STEP_NS, Wall
from plane_scene import CAMERA
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import (
    bgr_message,
    header,
    pose_of,
    stamp_ns_of,
    status_name,
    transform_message,
)

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NEAR_M = 0.05
_DEPTH = 1000
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Moment:
    """Pose of the robot at a time."""

    stamp_ns: int
    map_from_camera: Pose

    @property
    def map_from_base(self) -> Pose:
        return self.map_from_camera @ BASE_FROM_CAMERA.inverse()

    @property
    def odom_from_base(self) -> Pose:
        return MAP_FROM_ODOM.inverse() @ self.map_from_base


class Drive:
    """Drives along the wall and back: five images a second by their stamps, as fast as they are processed."""

    def __init__(self, ros: Ros, wall: Wall, *, raw: bool = True) -> None:
        self.ros, self.wall = ros, wall
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status", _DEPTH)
        self.node: LocalizerNode | None = None
        self.sent: list[int] = []
        self.images_sent = 0
        self._truth: dict[int, Pose] = {}
        self._steps = self._later_ns = 0
        kind, topic = (Image, "image") if raw else (CompressedImage, "image/compressed")
        self._images = ros.node.create_publisher(kind, topic, _DEPTH)
        self._infos = ros.node.create_publisher(CameraInfo, "camera_info", 10)
        self._tf = ros.node.create_publisher(TFMessage, "/tf", _DEPTH)
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)
        self._static.publish(TFMessage(transforms=[transform_message(0, "base_link", "camera", BASE_FROM_CAMERA)]))

    def start_localizer(self, **parameters: Any) -> LocalizerNode:
        """Start a localizer in this process, with default parameters except for a reliable image topic."""
        values = {"map": str(self.wall.map), "image_reliability": "reliable", "image_depth": _DEPTH} | parameters
        self.node = self.ros.add(LocalizerNode, autostart=True, **values)
        assert self.node.state == "active"
        self.await_listener()
        return self.node

    def await_listener(self) -> None:
        """Wait until the images have a subscriber and the status has a publisher."""
        self.ros.until(lambda: self._images.get_subscription_count() > 0)
        self.ros.until(lambda: self._infos.get_subscription_count() > 0)
        self.ros.until(lambda: self.ros.node.count_publishers("vloc_localizer/status") > 0)
        if self.node is not None:
            self.ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)

    def await_map(self, digest: str) -> None:
        """Wait until the localizer of this process uses the map of that hash."""
        assert self.node is not None
        self.ros.until(lambda: self.node.map_hash == digest)

    def next_moment(self, *, later_ns: int = 0) -> Moment:
        """Return the next stamp and pose; `later_ns` delays this one and all after it."""
        views = self.wall.views
        self._later_ns += later_ns
        way = [*range(len(views)), *range(len(views) - 2, 0, -1)]
        stamp_ns = START_NS + self._later_ns + self._steps * STEP_NS
        moment = Moment(stamp_ns, views[way[self._steps % len(way)]])
        self._truth[stamp_ns] = moment.map_from_base
        self.latest = moment
        self._steps += 1
        return moment

    def render(self, moment: Moment) -> Any:
        """Return the image that the camera takes there."""
        return np.repeat(self.wall.scene.image(moment.map_from_camera)[:, :, None], 3, axis=2)

    def good_image(self, moment: Moment) -> Image:
        """Return a valid image message."""
        return bgr_message(moment.stamp_ns, "camera", self.render(moment))

    def send(self, moment: Moment | None = None, image: Any = None, info: Any = None) -> Moment:
        """Publish odometry, calibration and image of a moment; by default the next one, all valid."""
        moment = moment or self.next_moment()
        self.send_odometry(moment)
        self.send_info(moment, info)
        self.send_image(self.good_image(moment) if image is None else image)
        return moment

    def send_odometry(self, moment: Moment, odom_from_base: Pose | None = None) -> None:
        """Publish odometry."""
        self.send_transforms(odometry_message(moment, odom_from_base))

    def send_transforms(self, message: TFMessage) -> None:
        """Publish transforms."""
        self._tf.publish(message)

    def send_info(self, moment: Moment, info: CameraInfo | None = None) -> None:
        """Publish the calibration."""
        self._infos.publish(info or camera_info_message(moment, CAMERA))

    def send_image(self, message: Any) -> None:
        """Publish an image."""
        self.sent.append(stamp_ns_of(message))
        self.images_sent += 1
        self._images.publish(message)

    def wait_for_statuses(self) -> list[LocalizationStatus]:
        """Wait until every image so far has a status, and return all statuses."""
        return self.statuses.wait(lambda all_: len(all_) >= len(self.sent), f"{len(self.sent)} statuses")

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        """Wait for a status of the image with that stamp, and return the last one."""
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return [m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns][-1]

    def warm_up(self) -> None:
        """Send valid images until one is localized, and one more."""
        self.localize_next()
        assert self.status_of(self.send().stamp_ns).status == LocalizationStatus.OK

    def localize_next(self, *, retry_s: float = _PATIENCE_S, within_s: float = _PATIENCE_S) -> float:
        """Send valid images until one is localized correctly; return the seconds that took.

        `retry_s` is the time to wait for a status before the next image.
        """
        start, status = time.monotonic(), None
        while seconds_since(start) < within_s:
            moment = self.send()
            status = self._status_within(moment.stamp_ns, retry_s)
            if status is not None and status.status == LocalizationStatus.OK:
                seconds = seconds_since(start)
                self.assert_correct(status)
                return seconds
        found = f"{status_name(status.status)}: {status.reason}" if status else "no status"
        raise AssertionError(f"nothing was localized within {within_s:g} s; the last image had {found}")

    def recover(self, *, within_s: float) -> float:
        """Like `localize_next`; then check that no image was lost and no pose was wrong."""
        seconds = self.localize_next(within_s=within_s)
        self.assert_complete()
        return seconds

    def assert_correct(self, status: LocalizationStatus) -> None:
        """Check that a published pose is correct."""
        metres, _ = pose_of(status.pose.pose).distance_to(self._truth[stamp_ns_of(status)])
        assert metres < NEAR_M, f"a pose {metres:.2f} m off was published"

    def assert_complete(self) -> None:
        """Check: one status for every image, no internal error, no wrong pose, and the localizer is active."""
        statuses = self.wait_for_statuses()
        assert Counter(map(stamp_ns_of, statuses)) == Counter(self.sent)
        assert statuses[-1].images_received == self.images_sent
        names = Counter(status_name(status.status) for status in statuses)
        assert not names["INTERNAL_ERROR"], [s.reason for s in statuses if "internal" in s.reason]
        for status in statuses:
            assert status.status == LocalizationStatus.OK or status.reason
            if status.status == LocalizationStatus.OK:
                self.assert_correct(status)
        assert self.node is None or self.node.state == "active"

    def _status_within(self, stamp_ns: int, seconds: float) -> LocalizationStatus | None:
        deadline = time.monotonic() + seconds
        found: list[LocalizationStatus] = []

        def is_finished() -> bool:
            found[:] = [m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns]
            return bool(found) or time.monotonic() > deadline

        self.ros.until(is_finished)
        return found[-1] if found else None


def odometry_message(moment: Moment, odom_from_base: Pose | None = None) -> TFMessage:
    """Return the transform of odometry, correct unless given."""
    pose = odom_from_base or moment.odom_from_base
    return TFMessage(transforms=[transform_message(moment.stamp_ns, "odom", "base_link", pose)])


def camera_info_message(moment: Moment, camera: Camera, **changes: Any) -> CameraInfo:
    """Return a calibration as a driver publishes it, with some fields changed."""
    model, k, d = camera.to_ros()
    fields = {"width": camera.width, "height": camera.height, "distortion_model": model, "k": k, "d": d} | changes
    return CameraInfo(header=header(moment.stamp_ns, "camera"), **fields)
