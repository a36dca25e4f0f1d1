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

"""The cameras of the robot: their names and extrinsics from the parameters, their calibrations from camera_info."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.validate_full_topic_name import validate_full_topic_name
from sensor_msgs.msg import CameraInfo

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.camera import Camera, unreached_text
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.rclpy_support.conversion import camera_of, stamp_ns_of
from vloc_ros.storage.text import number_of

_INFO_DEPTH = 5


@dataclass(frozen=True, slots=True, eq=False)
class CameraSource:
    """A camera that the localizer subscribes to.

    Attributes:
        name: namespace from the parameter `cameras`; empty for the single camera of a robot without a rig.
        calibration: latest calibration from its camera_info.
        base_from_camera: extrinsics from the parameter; None to look them up in TF.
    """

    name: str
    calibration: Calibration
    base_from_camera: Pose | None = None

    def topic(self, name: str) -> str:
        """Return the name of a topic of this camera."""
        return f"{self.name}/{name}" if self.name else name


@dataclass(frozen=True, slots=True, eq=False)
class CameraImage:
    """An image message with its camera.

    Attributes:
        source: the camera that took it.
        message: Image or CompressedImage.
        number: how many images were received up to this one, over all cameras.
    """

    source: CameraSource
    message: Any
    number: int = 0


def check_cameras(config: LocalizerNodeConfig, *, node: str = "vloc_localizer", namespace: str = "/") -> None:
    """Check that the parameters of the cameras are valid and consistent.

    Args:
        config: the parameters.
        node: name of the node.
        namespace: namespace of the node.

    Raises:
        ConfigError: a parameter is invalid, or parameters contradict each other.
    """
    names, extrinsics = parse_camera_names(config.cameras), parse_extrinsics(config.base_from_camera)
    if extrinsics and not config.base_frame:
        raise ConfigError("base_from_camera is set and base_frame is empty; name the base frame of the robot")
    if names and not config.base_frame:
        raise ConfigError("cameras is set and base_frame is empty; name the base frame of the robot")
    if config.sensor == "both" and not config.base_frame:  # fixes of two bodies would contradict each other
        raise ConfigError("sensor is both and base_frame is empty; name the base frame of the robot")
    if extrinsics and len(extrinsics) != max(len(names), 1):
        raise ConfigError(
            f"base_from_camera has {len(extrinsics)} poses, expected one for each of {max(len(names), 1)} cameras, "
            "separated by ; or leave it empty to use TF"
        )
    topics = [expand_topic_name(f"{name}/image", node, namespace) for name in names]
    if len(set(topics)) < len(topics):
        raise ConfigError(f"cameras is {config.cameras!r}, that is {', '.join(topics)}; expected each camera once")


def parse_camera_names(text: str) -> tuple[str, ...]:
    """Parse the parameter `cameras`; return an empty tuple for a single camera without a namespace.

    Raises:
        ConfigError: a name is not a valid namespace.
    """
    names = tuple(name.strip().rstrip("/") for name in text.split(",")) if text.strip() else ()
    for name in names:
        try:
            validate_full_topic_name(expand_topic_name(f"{name}/image" if name else "", "localizer", "/"))
        except (ValueError, InvalidTopicNameException) as error:
            raise ConfigError(
                f"cameras is {text!r}, expected namespaces separated by commas; {name!r} is not a valid one"
            ) from error
    return names


def parse_extrinsics(text: str) -> tuple[Pose, ...]:
    """Parse the parameter `base_from_camera`: x y z in metres and a quaternion x y z w per camera, separated by `;`.

    Raises:
        ConfigError: the text has another form.
    """
    return tuple(_extrinsics_of(part) for part in text.split(";")) if text.strip() else ()


def _extrinsics_of(text: str) -> Pose:
    try:
        numbers = [number_of(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 7 or not np.isfinite(numbers).all():
        raise ConfigError(f"base_from_camera is {text!r}, expected seven numbers: x y z in metres, qx qy qz qw")
    return Pose.from_quaternion(numbers[3:], numbers[:3])


def newest_image(images: list[CameraImage]) -> CameraImage:
    """Return the image with the newest stamp, the first of several; its stamp is that of the whole set."""
    return max(images, key=lambda image: stamp_ns_of(image.message))


class Calibration:
    """Holds the latest camera_info. A callback writes it, the worker reads it."""

    def __init__(
        self, *, topic: str, timeout_s: float, rectified: bool = False, warn: Callable[[str], object] | None = None
    ) -> None:
        self._topic, self._timeout_s, self._rectified, self._warn = topic, timeout_s, rectified, warn
        self._received = threading.Condition()
        self._message: CameraInfo | None = None
        self._camera: Camera | None = None

    @property
    def received(self) -> bool:
        """Whether a camera_info was received."""
        return self._message is not None

    def on_camera_info(self, message: CameraInfo) -> None:
        """Store the latest message."""
        with self._received:
            if self._message is None or _differs(message, self._message):
                self._message, self._camera = message, None
            self._received.notify_all()

    def camera(self, patience_s: float | None = None) -> Camera:
        """Return the calibration; wait for the first one, up to `patience_s` or the timeout of the constructor.

        Raises:
            Refused: no calibration was received, or it is invalid, NO_CALIBRATION.
        """
        with self._received:
            self._received.wait_for(
                lambda: self._message is not None, self._timeout_s if patience_s is None else patience_s
            )
            if self._message is None:
                raise Refused(
                    LocalizationStatus.NO_CALIBRATION,
                    f"no camera_info received on {self._topic}; is the camera calibrated?",
                )
            if self._camera is None:
                try:
                    self._camera = camera_of(self._message, rectified=self._rectified)
                except InputError as error:
                    raise Refused(
                        LocalizationStatus.NO_CALIBRATION, f"camera_info on {self._topic}: {error}"
                    ) from error
                unreached = unreached_text(self._camera)
                if unreached and self._warn:
                    self._warn(f"camera_info on {self._topic}: {unreached}")
            return self._camera


class CameraInfoInput:
    """Hands camera_info to a calibration until `close`.

    Drivers publish it with every image. Some publish it once, latched, which only a subscription that asks for latched
    messages receives. Such a subscription is incompatible with the publishers of the others, and they would warn of it:
    it is added only when there is a publisher that fits. The other stays for publishers that come later; what comes by
    both is reported once.
    """

    def __init__(
        self, node: Node, topic: str, calibration: Calibration, *, on_received: Callable[[], None] | None = None
    ) -> None:
        self._node, self._topic, self._calibration, self._on_received = node, topic, calibration, on_received
        self._latched: Subscription | None = None
        self._subscription = self._subscribe(
            ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE, self._on_volatile_info
        )

    def find_latched(self) -> None:
        """Subscribe to latched messages if nothing was received yet and somebody publishes them."""
        if self._latched is not None or self._calibration.received:
            return
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self._topic))
        qos = [publisher.qos_profile for publisher in publishers]
        latched = [one for one in qos if one.durability == DurabilityPolicy.TRANSIENT_LOCAL]
        if latched:
            durability = DurabilityPolicy.TRANSIENT_LOCAL
            self._latched = self._subscribe(latched[0].reliability, durability, self._on_camera_info)

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in (self._subscription, self._latched):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def _subscribe(
        self, reliability: ReliabilityPolicy, durability: DurabilityPolicy, callback: Callable[[CameraInfo], None]
    ) -> Subscription:
        qos = QoSProfile(depth=_INFO_DEPTH, reliability=reliability, durability=durability)
        return self._node.create_subscription(CameraInfo, self._topic, callback, qos)

    def _on_volatile_info(self, message: CameraInfo) -> None:
        if self._latched is None:
            self._on_camera_info(message)
        else:
            self._calibration.on_camera_info(message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._calibration.on_camera_info(message)
        if self._on_received is not None:
            self._on_received()


def _differs(message: CameraInfo, other: CameraInfo) -> bool:
    def content(info: CameraInfo) -> tuple[object, ...]:
        roi, binning = info.roi, (info.binning_x, info.binning_y)
        part = (roi.x_offset, roi.y_offset, roi.width, roi.height)
        numbers = (tuple(info.k), tuple(info.d), tuple(info.p))
        return info.distortion_model, info.width, info.height, part, binning, *numbers

    return content(message) != content(other)
