"""Images from their topics to the worker: what is subscribed to, gathered, counted and passed over."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import zip_longest
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.calibration import Calibration
from vloc_ros.nodes.cameras import CameraImage, CameraSource, extrinsics_of, names_of, newest_of
from vloc_ros.nodes.conversion import stamp_ns_of
from vloc_ros.nodes.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.image_synchronizer import ImageSynchronizer
from vloc_ros.nodes.latest_image_set import LatestImageSet

_INFO_DEPTH = 5


class ImageInput:
    """Listens to one camera or to a rig from its making to `close`. Callbacks put images in, the worker takes them."""

    def __init__(
        self,
        node: Node,
        config: LocalizerNodeConfig,
        health: DiagnosticMonitor,
        *,
        on_dropped: Callable[[LocalizationStatus], None],
    ) -> None:
        """`on_dropped` is given the status of images that are passed over, from any thread."""
        self._node, self._health, self._on_dropped = node, health, on_dropped
        self._counting = threading.Lock()
        self._received = self._dropped = 0
        self._sources = _sources_of(node, config)
        gathering: ImageSynchronizer[CameraImage] = ImageSynchronizer(
            len(self._sources), window_ns=int(config.rig_window_s * 1e9), wait_ns=int(config.rig_wait_s * 1e9)
        )
        self._slot = LatestImageSet(gathering, on_dropped=self._drop)
        health.begin(config.diagnostics, at_ns=time.monotonic_ns(), cameras=[s.name for s in self._sources if s.name])
        kind, name = (Image, "image") if config.image_transport == "raw" else (CompressedImage, "image/compressed")
        self.topics = [node.resolve_topic_name(source.topic(name)) for source in self._sources]
        image_qos = QoSProfile(
            depth=config.image_depth, reliability=ReliabilityPolicy[config.image_reliability.upper()]
        )
        info_qos = QoSProfile(depth=_INFO_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions = []
        for index, source in enumerate(self._sources):
            on_info, on_image = source.calibration.on_camera_info, partial(self._on_image, index)
            self._subscriptions += [
                node.create_subscription(CameraInfo, source.topic("camera_info"), on_info, info_qos),
                node.create_subscription(kind, source.topic(name), on_image, image_qos),
            ]

    @property
    def received(self) -> int:
        """Images so far, of all cameras."""
        return self._received

    @property
    def dropped(self) -> int:
        """How many of them were passed over."""
        return self._dropped

    @property
    def publishers(self) -> int:
        """How many publish on the image topics."""
        return sum(self._node.count_publishers(topic) for topic in self.topics)

    def take(self) -> list[CameraImage] | None:
        """The newest images of one moment, waited for; None when it was closed."""
        return self._slot.take()

    def close(self) -> None:
        """Stop listening, and let the worker go."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self._subscriptions = []
        self._slot.close()

    def _on_image(self, camera: int, message: Any) -> None:
        with self._counting:
            self._received += 1
            number = self._received
        source, stamp_ns = self._sources[camera], stamp_ns_of(message)
        age_ns = self._node.get_clock().now().nanoseconds - stamp_ns
        self._health.image(at_ns=time.monotonic_ns(), age_s=age_ns * 1e-9, camera=source.name)
        self._slot.put(camera, CameraImage(source, message, number), stamp_ns=stamp_ns)

    def _drop(self, images: list[CameraImage], reason: str) -> None:
        with self._counting:
            self._dropped += len(images)
        status = LocalizationStatus(header=newest_of(images).message.header, status=LocalizationStatus.DROPPED)
        status.reason, status.cameras = reason, [image.source.name for image in images if image.source.name]
        self._on_dropped(status)


def _sources_of(node: Node, config: LocalizerNodeConfig) -> list[CameraSource]:
    names = names_of(config.cameras) or ("",)
    sources = []
    for name, mount in zip_longest(names, extrinsics_of(config.base_from_camera)):
        topic = node.resolve_topic_name(f"{name}/camera_info" if name else "camera_info")
        timeout_s, rectified = config.transform_timeout_s, config.image_rectified
        calibration = Calibration(topic=topic, timeout_s=timeout_s, rectified=rectified)
        sources.append(CameraSource(name, calibration, mount))
    return sources
