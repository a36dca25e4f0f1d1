"""The cameras of the robot and their extrinsics, from the parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.exceptions import InvalidTopicNameException
from rclpy.expand_topic_name import expand_topic_name
from rclpy.validate_full_topic_name import validate_full_topic_name

from vloc_ros.core.errors import ConfigError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.calibration import Calibration
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of


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
        numbers = [float(word) for word in text.split()]
    except ValueError:
        numbers = []
    if len(numbers) != 7 or not np.isfinite(numbers).all():
        raise ConfigError(f"base_from_camera is {text!r}, expected seven numbers: x y z in metres, qx qy qz qw")
    return Pose.from_quaternion(numbers[3:], numbers[:3])


def newest_image(images: list[CameraImage]) -> CameraImage:
    """Return the image with the newest stamp, the first of several; its stamp is that of the whole set."""
    return max(images, key=lambda image: stamp_ns_of(image.message))
