"""A robot that drives along the mapped wall, and the book of what it sent and what the localizer said to it."""

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
from vloc_ros.nodes.conversion import bgr_message, header, pose_of, stamp_ns_of, status_name, transform_message
from vloc_ros.nodes.localizer import LocalizerNode

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
NEAR_M = 0.05
_DEPTH = 1000
_PATIENCE_S = 20.0


@dataclass(frozen=True)
class Moment:
    """Where the robot is at a time."""

    stamp_ns: int
    map_from_camera: Pose

    @property
    def map_from_base(self) -> Pose:
        return self.map_from_camera @ BASE_FROM_CAMERA.inverse()

    @property
    def odom_from_base(self) -> Pose:
        return MAP_FROM_ODOM.inverse() @ self.map_from_base


class Drive:
    """Along the wall and back, five images a second by their stamps, as fast as they are answered by the clock."""

    def __init__(self, ros: Ros, wall: Wall, *, raw: bool = True) -> None:
        self.ros, self.wall = ros, wall
        self.statuses = ros.collect(LocalizationStatus, "localizer/status", _DEPTH)
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
        """A localizer of this process, with the parameters that it ships with but for a reliable image."""
        values = {"map": str(self.wall.map), "image_reliability": "reliable", "image_depth": _DEPTH} | parameters
        self.node = self.ros.add(LocalizerNode, autostart=True, **values)
        assert self.node.state == "active"
        self.await_listener()
        return self.node

    def await_listener(self) -> None:
        """Until the images have a subscriber and the status has one publisher."""
        self.ros.until(lambda: self._images.get_subscription_count() > 0)
        self.ros.until(lambda: self._infos.get_subscription_count() > 0)
        self.ros.until(lambda: self.ros.node.count_publishers("localizer/status") > 0)
        if self.node is not None:
            self.ros.until(lambda: self.node.count_subscribers("localizer/status") > 0)

    def await_map(self, digest: str) -> None:
        """Until the localizer of this process has taken the map of that hash."""
        assert self.node is not None
        self.ros.until(lambda: self.node.map_hash == digest)

    def moment(self, *, later_ns: int = 0) -> Moment:
        """The next stamp and place; `later_ns` moves this one and all after it."""
        views = self.wall.views
        self._later_ns += later_ns
        way = [*range(len(views)), *range(len(views) - 2, 0, -1)]
        stamp_ns = START_NS + self._later_ns + self._steps * STEP_NS
        moment = Moment(stamp_ns, views[way[self._steps % len(way)]])
        self._truth[stamp_ns] = moment.map_from_base
        self.latest = moment
        self._steps += 1
        return moment

    def picture(self, moment: Moment) -> Any:
        """The pixels that the camera sees there."""
        return np.repeat(self.wall.scene.image(moment.map_from_camera)[:, :, None], 3, axis=2)

    def good_image(self, moment: Moment) -> Image:
        """The message of a camera that works."""
        return bgr_message(moment.stamp_ns, "camera", self.picture(moment))

    def send(self, moment: Moment | None = None, image: Any = None, info: Any = None) -> Moment:
        """Odometry, calibration and image of a moment; the next one and good ones unless given."""
        moment = moment or self.moment()
        self.send_odometry(moment)
        self.send_info(moment, info)
        self.send_image(self.good_image(moment) if image is None else image)
        return moment

    def send_odometry(self, moment: Moment, odom_from_base: Pose | None = None) -> None:
        """Where odometry sees the robot."""
        self.send_transforms(odometry(moment, odom_from_base))

    def send_transforms(self, message: TFMessage) -> None:
        """Anything on TF."""
        self._tf.publish(message)

    def send_info(self, moment: Moment, info: CameraInfo | None = None) -> None:
        """The calibration."""
        self._infos.publish(info or camera_info(moment, CAMERA))

    def send_image(self, message: Any) -> None:
        """An image by itself."""
        self.sent.append(stamp_ns_of(message))
        self.images_sent += 1
        self._images.publish(message)

    def all_answered(self) -> list[LocalizationStatus]:
        """The statuses of all images so far, waited for until there is one for each."""
        return self.statuses.wait(lambda all_: len(all_) >= len(self.sent), f"{len(self.sent)} statuses")

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        """The last status of the image with that stamp, waited for."""
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return [m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns][-1]

    def warm_up(self) -> None:
        """Good images until the robot knows where it is, and one more."""
        self.localized()
        assert self.status_of(self.send().stamp_ns).status == LocalizationStatus.OK

    def localized(self, *, retry_s: float = _PATIENCE_S, within_s: float = _PATIENCE_S) -> float:
        """Send good images until one is localized, where the robot is; returns how many seconds that took.

        `retry_s` is how long an answer is waited for before the next image.
        """
        start, status = time.monotonic(), None
        while seconds_since(start) < within_s:
            moment = self.send()
            status = self._status_within(moment.stamp_ns, retry_s)
            if status is not None and status.status == LocalizationStatus.OK:
                seconds = seconds_since(start)
                self.assert_true(status)
                return seconds
        found = f"{status_name(status.status)}: {status.reason}" if status else "no status"
        raise AssertionError(f"nothing was localized within {within_s:g} s; the last image had {found}")

    def recovered(self, *, within_s: float) -> float:
        """Like `localized`, and then nothing may have been lost nor gone wrong."""
        seconds = self.localized(within_s=within_s)
        self.assert_books_balance()
        return seconds

    def assert_true(self, status: LocalizationStatus) -> None:
        """A published pose is where the robot is."""
        metres, _ = pose_of(status.pose.pose).distance_to(self._truth[stamp_ns_of(status)])
        assert metres < NEAR_M, f"a pose {metres:.2f} m off was published"

    def assert_books_balance(self) -> None:
        """One status for every image, no internal error, nothing untrue, a localizer that is active."""
        statuses = self.all_answered()
        assert Counter(map(stamp_ns_of, statuses)) == Counter(self.sent)
        assert statuses[-1].images_received == self.images_sent
        names = Counter(status_name(status.status) for status in statuses)
        assert not names["INTERNAL_ERROR"], [s.reason for s in statuses if "internal" in s.reason]
        for status in statuses:
            assert status.status == LocalizationStatus.OK or status.reason
            if status.status == LocalizationStatus.OK:
                self.assert_true(status)
        assert self.node is None or self.node.state == "active"

    def _status_within(self, stamp_ns: int, seconds: float) -> LocalizationStatus | None:
        deadline = time.monotonic() + seconds
        found: list[LocalizationStatus] = []

        def came() -> bool:
            found[:] = [m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns]
            return bool(found) or time.monotonic() > deadline

        self.ros.until(came)
        return found[-1] if found else None


def odometry(moment: Moment, odom_from_base: Pose | None = None) -> TFMessage:
    """What a base publishes, where its odometry is not given the right one."""
    pose = odom_from_base or moment.odom_from_base
    return TFMessage(transforms=[transform_message(moment.stamp_ns, "odom", "base_link", pose)])


def camera_info(moment: Moment, camera: Camera, **changes: Any) -> CameraInfo:
    """A calibration as a driver publishes it, with some fields changed."""
    model, k, d = camera.to_ros()
    fields = {"width": camera.width, "height": camera.height, "distortion_model": model, "k": k, "d": d} | changes
    return CameraInfo(header=header(moment.stamp_ns, "camera"), **fields)
