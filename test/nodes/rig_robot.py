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
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, transform_message

# the first camera has the extrinsics of the single camera of other tests
EXTRINSICS = {
    "front": BASE_FROM_CAMERA,
    "rear": BASE_FROM_CAMERA @ Pose.from_rotation_vector([0.0, -0.25, 0.0], [0.45, 0.0, 0.0]),
    "left": BASE_FROM_CAMERA @ Pose.from_rotation_vector([0.0, 0.1, 0.3], [-0.3, 0.1, 0.1]),
}


@dataclass(frozen=True)
class Sent:
    """Pose of the robot, and the stamp of the newest image."""

    stamp_ns: int
    map_from_base: Pose


class RigRobot(Robot):
    """Publishes odometry, calibrations and images of a robot with several cameras."""

    def __init__(self, ros: Ros, wall: Wall, *, cameras: Sequence[str] = tuple(EXTRINSICS), **parameters: Any) -> None:
        super().__init__(ros, wall, **({"cameras": ", ".join(cameras), "rig_wait_s": 0.5} | parameters))
        self.cameras = tuple(cameras)
        self.images = {name: ros.node.create_publisher(Image, f"{name}/image", 10) for name in cameras}
        self.infos = {name: ros.node.create_publisher(CameraInfo, f"{name}/camera_info", 10) for name in cameras}

    def await_listener(self) -> None:
        """Wait until the localizer subscribes to all cameras."""
        for publisher in (*self.images.values(), *self.infos.values()):
            self.ros.until(lambda publisher=publisher: publisher.get_subscription_count() > 0)
        self.ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)

    def publish_extrinsics(self, extrinsics: Mapping[str, Pose] = EXTRINSICS) -> None:
        """Publish the extrinsics of the cameras on TF."""
        transforms = [transform_message(0, "base_link", name, extrinsics[name]) for name in extrinsics]
        self._static.publish(TFMessage(transforms=transforms))

    def calibrate(self, names: Sequence[str]) -> None:
        """Publish the calibrations of some cameras."""
        model, k, d = CAMERA.to_ros()
        for name in names:
            message = CameraInfo(header=header(0, name), width=CAMERA.width, height=CAMERA.height)
            message.distortion_model, message.k, message.d = model, k, d
            self.infos[name].publish(message)

    def map_from_base(self, index: int) -> Pose:
        """Return the pose of the robot at view `index` of the front camera."""
        return self.wall.views[index] @ BASE_FROM_CAMERA.inverse()

    def publish_odometry(self, stamp_ns: int, map_from_base: Pose) -> None:
        """Publish odometry."""
        pose = MAP_FROM_ODOM.inverse() @ map_from_base
        self._tf.publish(TFMessage(transforms=[transform_message(stamp_ns, "odom", "base_link", pose)]))

    def render(self, name: str, map_from_base: Pose) -> Any:
        """Return the (H, W, 3) image of a camera at a pose of the robot."""
        image = self.wall.scene.image(map_from_base @ EXTRINSICS[name])
        return np.repeat(image[:, :, None], 3, axis=2)

    def publish_image(self, name: str, stamp_ns: int, map_from_base: Pose) -> None:
        """Publish the image of one camera."""
        self.images[name].publish(bgr_message(stamp_ns, name, self.render(name, map_from_base)))

    def send_all(
        self, index: int, names: Sequence[str] | None = None, images: Mapping[str, Image] | None = None
    ) -> Sent:
        """Publish odometry and the images at view `index`, of all cameras or of `names`; `images` replaces some."""
        sent = Sent(self.stamp_ns(index), self.map_from_base(index))
        self.publish_odometry(sent.stamp_ns, sent.map_from_base)
        for name in self.cameras if names is None else names:
            if images and name in images:
                self.images[name].publish(images[name])
            else:
                self.publish_image(name, sent.stamp_ns, sent.map_from_base)
        return sent
