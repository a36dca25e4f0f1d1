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

"""A robot in front of the mapped wall, with a localizer."""

from __future__ import annotations

from typing import Any

import numpy as np
from geometry_msgs.msg import PoseStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from nodes_world import BASE_FROM_CAMERA, MAP_FROM_ODOM, START_NS, STEP_NS, Wall
from plane_scene import CAMERA
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_session import Ros
from sensor_msgs.msg import CameraInfo, Image
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.localizer.node import LocalizerNode
from vloc_ros.nodes.rclpy_support.conversion import bgr_message, header, stamp_ns_of, transform_message

LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TOLERANCE_NS = 250_000_000


class Robot:
    """Publishes sensor data of a robot in front of the wall, and collects the output of the localizer."""

    def __init__(self, ros: Ros, wall: Wall, **parameters: Any) -> None:
        self.ros, self.wall = ros, wall
        values = {
            "map": str(wall.map),
            "image_reliability": "reliable",
            "transform_tolerance_s": TOLERANCE_NS * 1e-9,
            # every image is localized independently
            "carry_last_fix": False,
            "fix_filter.enabled": False,
        }
        self.node = ros.add(LocalizerNode, autostart=False, **(values | parameters))
        self.statuses = ros.collect(LocalizationStatus, "vloc_localizer/status")
        self.poses = ros.collect(PoseStamped, "vloc_localizer/pose")
        self.transforms = ros.collect(TFMessage, "/tf")
        self._images = ros.node.create_publisher(Image, "image", 10)
        self._infos = ros.node.create_publisher(CameraInfo, "camera_info", 10)
        self._tf = ros.node.create_publisher(TFMessage, "/tf", 10)
        self._static = ros.node.create_publisher(TFMessage, "/tf_static", LATCHED)

    def change(self, transition: int) -> bool:
        request = ChangeState.Request(transition=Transition(id=transition))
        return bool(self.ros.call(ChangeState, "vloc_localizer/change_state", request).success)

    def state(self) -> int:
        return int(self.ros.call(GetState, "vloc_localizer/get_state", GetState.Request()).current_state.id)

    def activate(self) -> None:
        assert self.change(Transition.TRANSITION_CONFIGURE)
        assert self.change(Transition.TRANSITION_ACTIVATE)
        self.await_listener()

    def await_listener(self) -> None:
        """Wait until the inputs and the status have subscribers."""
        self.ros.until(lambda: self._images.get_subscription_count() > 0)
        self.ros.until(lambda: self.node.count_subscribers("vloc_localizer/status") > 0)

    def stamp_ns(self, index: int) -> int:
        return START_NS + index * STEP_NS

    def send(
        self, index: int, *, odometry: bool = True, info: bool = True, static: bool = True, image: Any = None
    ) -> int:
        """Publish the image of view `index` with odometry, calibration and extrinsics; return its stamp."""
        stamp_ns, view = self.stamp_ns(index), self.wall.views[index]
        if static:
            transform = transform_message(0, "base_link", "camera", BASE_FROM_CAMERA)
            self._static.publish(TFMessage(transforms=[transform]))
        if odometry:
            odom_from_base = MAP_FROM_ODOM.inverse() @ view @ BASE_FROM_CAMERA.inverse()
            transform = transform_message(stamp_ns, "odom", "base_link", odom_from_base)
            self._tf.publish(TFMessage(transforms=[transform]))
        if info:
            model, k, d = CAMERA.to_ros()
            message = CameraInfo(header=header(stamp_ns, "camera"), width=CAMERA.width, height=CAMERA.height)
            message.distortion_model, message.k, message.d = model, k, d
            self._infos.publish(message)
        pixels = np.repeat(self.wall.scene.image(view)[:, :, None], 3, axis=2)
        self._images.publish(bgr_message(stamp_ns, "camera", pixels) if image is None else image)
        return stamp_ns

    def status_of(self, stamp_ns: int) -> LocalizationStatus:
        """Wait for the status of the image with that stamp and return it."""
        self.statuses.wait(lambda all_: any(stamp_ns_of(m) == stamp_ns for m in all_), f"status of {stamp_ns}")
        return next(m for m in self.statuses.messages if stamp_ns_of(m) == stamp_ns)
