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

"""Image input: subscriptions, synchronization of cameras, and counts of received and dropped images."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import ConfigError
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import (
    Calibration,
    CameraImage,
    CameraInfoInput,
    CameraSource,
    newest_image,
    parse_camera_names,
    parse_extrinsics,
)
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.localizer.sensor_input import MessageCounts, SensorInput
from vloc_ros.nodes.localizer.slot import ImageSynchronizer, LatestImageSet
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of
from vloc_ros.nodes.rclpy_support.image_transfer import ImageSubscription

IMAGE_KINDS = {"raw": (Image, "image"), "compressed": (CompressedImage, "image/compressed")}
_SUFFIX = "/compressed"


def resolve_image_topics(node: Node, config: LocalizerNodeConfig) -> list[str]:
    """Return the image topics of all cameras after remapping.

    Raises:
        ConfigError: a topic has the ending of compressed images and images are raw, or it has that ending twice.
    """
    _, name = IMAGE_KINDS[config.image_transport]
    topics = [node.resolve_topic_name(source.topic(name)) for source in _sources_of(node, config)]
    for topic in topics:
        check_image_topic(topic, config.image_transport)
    return topics


def check_image_topic(topic: str, transport: str) -> None:
    """Check the name of an image topic against the transport, raw or compressed.

    Raises:
        ConfigError: it has the ending of compressed images and images are raw, or it has that ending twice.
    """
    if transport == "raw" and topic.endswith(_SUFFIX):
        raise ConfigError(
            f"the image topic is {topic} and image_transport is raw, which nobody publishes there; name "
            f"{topic.removesuffix(_SUFFIX)}, or set image_transport to compressed"
        )
    if topic.endswith(2 * _SUFFIX):
        raise ConfigError(
            f"the image topic is {topic}: image_transport compressed adds {_SUFFIX} itself; name "
            f"{topic.removesuffix(2 * _SUFFIX)}"
        )


class ImageInput(SensorInput):
    """Subscribes to one camera or to a rig until `close`. Callbacks put images in, the worker takes them."""

    sensor = LocalizationStatus.CAMERA

    def __init__(
        self,
        node: Node,
        config: LocalizerNodeConfig,
        monitor: DiagnosticMonitor,
        *,
        on_dropped: Callable[[LocalizationStatus], None],
        counts: MessageCounts | None = None,
        changed: threading.Condition | None = None,
    ) -> None:
        """Subscribe.

        Args:
            node: that subscribes.
            config: of the node.
            monitor: of its diagnostics.
            on_dropped: called with the status of dropped images, from any thread.
            counts: shared with another input; None for its own.
            changed: notified of every image, and shared with another input; None for its own.
        """
        super().__init__(node, monitor, on_dropped=on_dropped, counts=counts)
        self._sources = _sources_of(node, config)
        synchronizer: ImageSynchronizer[CameraImage] = ImageSynchronizer(
            len(self._sources), window_ns=int(config.rig_window_s * 1e9), wait_ns=int(config.rig_wait_s * 1e9)
        )
        self._latest = LatestImageSet(synchronizer, on_dropped=self._drop, changed=changed)
        kind, name = IMAGE_KINDS[config.image_transport]
        self.topics = resolve_image_topics(node, config)
        self._infos = [
            CameraInfoInput(
                node, source.topic("camera_info"), source.calibration, on_received=partial(self._on_info, source.name)
            )
            for source in self._sources
        ]
        self._subscriptions = [
            ImageSubscription(
                node,
                kind,
                source.topic(name),
                partial(self._on_image, index),
                depth=config.image_depth,
                reliability=config.image_reliability,
            )
            for index, source in enumerate(self._sources)
        ]

    def take(self) -> list[CameraImage] | None:
        """Wait for the latest image set and return it; None after `close`."""
        return self._latest.take()

    def poll(self) -> tuple[list[CameraImage] | None, list[list[CameraImage]]]:
        """Return an image set that is complete or due, None if there is none, and displaced ones to report."""
        return self._latest.poll()

    def report_displaced(self, displaced: list[list[CameraImage]]) -> None:
        """Report image sets that newer ones displaced. Not under the lock of `changed`, which callbacks need."""
        self._latest.report_displaced(displaced)

    def patience_s(self) -> float | None:
        """Return the time until an incomplete image set is due, None without one."""
        return self._latest.patience_s()

    def close(self) -> None:
        """Unsubscribe, and release the waiting worker."""
        for subscription in self._subscriptions:
            subscription.close()
        for info in self._infos:
            info.close()
        self._latest.close()

    def _on_image(self, camera: int, message: Any) -> None:
        source = self._sources[camera]
        self._infos[camera].find_latched()
        number = self._count_received(message, camera=source.name)
        self._latest.put(camera, CameraImage(source, message, number), stamp_ns=stamp_ns_of(message))

    def _on_info(self, camera: str) -> None:
        self._monitor.record_camera_info(at_ns=time.monotonic_ns(), camera=camera)

    def _drop(self, images: list[CameraImage], reason: str) -> None:
        cameras = [image.source.name for image in images if image.source.name]
        self._report_dropped(newest_image(images).message.header, reason, count=len(images), cameras=cameras)


def _sources_of(node: Node, config: LocalizerNodeConfig) -> list[CameraSource]:
    names = parse_camera_names(config.cameras) or ("",)
    sources = []
    for name, extrinsics in zip_longest(names, parse_extrinsics(config.base_from_camera)):
        topic = node.resolve_topic_name(f"{name}/camera_info" if name else "camera_info")
        timeout_s, rectified = config.transform_timeout_s, config.image_rectified
        warn = node.get_logger().warning
        calibration = Calibration(topic=topic, timeout_s=timeout_s, rectified=rectified, warn=warn)
        sources.append(CameraSource(name, calibration, extrinsics))
    return sources
