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

"""The live camera of the mapper: the newest image, and the calibration."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node

from vloc_ros.node_config import MapperConfig
from vloc_ros.nodes.localizer.cameras import Calibration, CameraInfoInput
from vloc_ros.nodes.localizer.image_input import IMAGE_KINDS, check_image_topic
from vloc_ros.nodes.localizer.slot import LatestSlot
from vloc_ros.nodes.rclpy_support.image_transfer import ImageSubscription


class ImageSource:
    """Subscribes to image and camera_info until `close`; of images that come faster than they are taken the newest."""

    def __init__(self, node: Node, config: MapperConfig) -> None:
        kind, name = IMAGE_KINDS[config.image_transport]
        self.topic = node.resolve_topic_name(name)
        check_image_topic(self.topic, config.image_transport)
        self.calibration = Calibration(
            topic=node.resolve_topic_name("camera_info"),
            timeout_s=config.transform_timeout_s,
            rectified=config.image_rectified,
            warn=node.get_logger().warning,
        )
        self.received = 0
        self._slot: LatestSlot[Any] = LatestSlot()
        self._info = CameraInfoInput(node, "camera_info", self.calibration)
        self._subscription = ImageSubscription(
            node, kind, name, self._on_image, depth=config.image_depth, reliability=config.image_reliability
        )

    def take(self) -> Any | None:
        """Wait for an image message; None after `close`."""
        return self._slot.take()

    def close(self) -> None:
        """Unsubscribe, and release whoever waits."""
        self._subscription.close()
        self._info.close()
        self._slot.close()

    def _on_image(self, message: Any) -> None:
        self.received += 1
        self._info.find_latched()
        self._slot.put(message)
