"""Which cameras the robot has, and where they sit, as the parameters say."""

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
from vloc_ros.nodes.calibration import Calibration
from vloc_ros.nodes.conversion import stamp_ns_of


@dataclass(frozen=True, slots=True, eq=False)
class CameraSource:
    """A camera as the localizer hears it.

    Attributes:
        name: as the parameter `cameras` has it; empty for the one camera of a robot without a rig.
        calibration: as its camera_info tells it.
        base_from_camera: where it sits, None where TF is to say.
    """

    name: str
    calibration: Calibration
    base_from_camera: Pose | None = None

    def topic(self, name: str) -> str:
        """A topic of this camera."""
        return f"{self.name}/{name}" if self.name else name


@dataclass(frozen=True, slots=True, eq=False)
class CameraImage:
    """An Image or CompressedImage, the camera it is of, and how many came before it, itself included."""

    source: CameraSource
    message: Any
    number: int = 0


def check_cameras(config: LocalizerNodeConfig, *, node: str = "localizer", namespace: str = "/") -> None:
    """Whether the parameters say which cameras there are and where they sit.

    Args:
        config: the parameters.
        node, namespace: the name and the namespace of the node that they are for.

    Raises:
        ConfigError: they do not, or they contradict each other.
    """
    names, mounts = names_of(config.cameras), extrinsics_of(config.base_from_camera)
    if mounts and not config.base_frame:
        raise ConfigError("base_from_camera is set and base_frame is empty; name the frame that the camera sits on")
    if names and not config.base_frame:
        raise ConfigError("cameras is set and base_frame is empty; name the frame that the cameras sit on")
    if mounts and len(mounts) != max(len(names), 1):
        raise ConfigError(
            f"base_from_camera has {len(mounts)} poses, expected one for each of {max(len(names), 1)} cameras, "
            "with ; between them; or leave it empty and let TF say"
        )
    topics = [expand_topic_name(f"{name}/image", node, namespace) for name in names]
    if len(set(topics)) < len(topics):
        raise ConfigError(f"cameras is {config.cameras!r}, that is {', '.join(topics)}; expected every camera once")


def names_of(text: str) -> tuple[str, ...]:
    """The parameter `cameras`; empty for one camera without a name.

    Raises:
        ConfigError: a name that is none.
    """
    names = tuple(name.strip().rstrip("/") for name in text.split(",")) if text.strip() else ()
    for name in names:
        try:
            validate_full_topic_name(expand_topic_name(f"{name}/image" if name else "", "localizer", "/"))
        except (ValueError, InvalidTopicNameException) as error:
            raise ConfigError(
                f"cameras is {text!r}, expected namespaces with commas between them; {name!r} is none"
            ) from error
    return names


def extrinsics_of(text: str) -> tuple[Pose, ...]:
    """base_from_camera of a parameter: x y z in metres and a quaternion x y z w, several with ; between them.

    Raises:
        ConfigError: it is something else.
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


def newest_of(images: list[CameraImage]) -> CameraImage:
    """The one whose time is that of the whole set; of several with the same stamp the first."""
    return max(images, key=lambda image: stamp_ns_of(image.message))
