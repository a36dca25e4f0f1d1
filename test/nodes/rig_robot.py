"""A robot with three cameras in front of the mapped wall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, Wall
from plane_scene import CAMERA
from robot import Robot
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.conversion import bgr_message, header, transform_message

# the first one is where the camera of other tests is
MOUNTS = {
    "front": BASE_FROM_CAMERA,
    "rear": BASE_FROM_CAMERA @ Pose.from_rotation_vector([0.0, -0.25, 0.0], [0.45, 0.0, 0.0]),
    "left": BASE_FROM_CAMERA @ Pose.from_rotation_vector([0.0, 0.1, 0.3], [-0.3, 0.1, 0.1]),
}


@dataclass(frozen=True)
class Sent:
    """Where the robot was, and the stamp of the newest image."""

    stamp_ns: int
    map_from_base: Pose


class RigRobot(Robot):
    """Publishes what a robot with several cameras does."""

    def __init__(self, ros: Ros, wall: Wall, *, cameras: Sequence[str] = tuple(MOUNTS), **parameters: Any) -> None:
        super().__init__(ros, wall, **({"cameras": ", ".join(cameras), "rig_wait_s": 0.5} | parameters))
        self.cameras = tuple(cameras)
        self.images = {name: ros.node.create_publisher(Image, f"{name}/image", 10) for name in cameras}
        self.infos = {name: ros.node.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in cameras}

    def await_listener(self) -> None:
        """Until the localizer hears all cameras."""
        for publisher in (*self.images.values(), *self.infos.values()):
            self.ros.until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        self.ros.until(lambda: self.node.count_subscribers("localizer/status") > 0)

    def place(self, mounts: Mapping[str, Pose] = MOUNTS) -> None:
        """Say on TF where the cameras sit."""
        transforms = [transform_message(0, "base_link", name, mounts[name]) for name in mounts]
        self._static.publish(TFMessage(transforms=transforms))

    def calibrate(self, names: Sequence[str]) -> None:
        """Send the calibrations of some cameras."""
        model, k, d = CAMERA.to_ros()
        for name in names:
            message = CameraInfo(header=header(0, name), width=CAMERA.width, height=CAMERA.height)
            message.distortion_model, message.k, message.d = model, k, d
            self.infos[name].publish(message)

    def map_from_base(self, index: int) -> Pose:
        """Where the robot is when it sees view `index` in front."""
        return self.wall.views[index] @ BASE_FROM_CAMERA.inverse()

    def odometry(self, stamp_ns: int, map_from_base: Pose) -> None:
        """Where odometry sees the robot."""
        pose = MAP_FROM_ODOM.inverse() @ map_from_base
        self._tf.publish(TFMessage(transforms=[transform_message(stamp_ns, "odom", "base_link", pose)]))

    def picture(self, name: str, map_from_base: Pose) -> Any:
        """(H, W, 3) pixels that a camera sees from there."""
        image = self.wall.scene.image(map_from_base @ MOUNTS[name])
        return np.repeat(image[:, :, None], 3, axis=2)

    def shoot(self, name: str, stamp_ns: int, map_from_base: Pose) -> None:
        """The image of one camera."""
        self.images[name].publish(bgr_message(stamp_ns, name, self.picture(name, map_from_base)))

    def send_all(
        self, index: int, names: Sequence[str] | None = None, images: Mapping[str, Image] | None = None
    ) -> Sent:
        """Odometry and the images of some cameras, all unless given, at view `index`; some may be other messages."""
        sent = Sent(self.stamp_ns(index), self.map_from_base(index))
        self.odometry(sent.stamp_ns, sent.map_from_base)
        for name in self.cameras if names is None else names:
            if images and name in images:
                self.images[name].publish(images[name])
            else:
                self.shoot(name, sent.stamp_ns, sent.map_from_base)
        return sent
