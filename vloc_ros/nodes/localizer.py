"""The localizer node: images in, the robot's pose in the map out.

A callback puts the image into a slot of depth one, where the newest wins; a worker thread localizes and publishes.
"""

from __future__ import annotations

import threading
import time
import traceback
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_ros import TransformBroadcaster

from vloc_msgs.msg import LocalizationStatus
from vloc_msgs.srv import Relocalize
from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.answer import Answer, Answerer, LoadedMap
from vloc_ros.nodes.calibration import Calibration
from vloc_ros.nodes.conversion import (
    bgr_message,
    pose_stamped,
    pose_with_covariance_stamped,
    stamp_ns_of,
    transform_message,
)
from vloc_ros.nodes.diagnostics import Health
from vloc_ros.nodes.frames import Frames
from vloc_ros.nodes.managed import ACTIVE, ManagedNode
from vloc_ros.nodes.map_source import MapServerSource
from vloc_ros.nodes.overlay import drawn
from vloc_ros.nodes.parameters import config_of, declare
from vloc_ros.nodes.process import run_node
from vloc_ros.nodes.slot import LatestSlot
from vloc_ros.storage.maps import map_hash, read_map


class LocalizerNode(ManagedNode):
    """See the module, and docs/your-robot.md for topics and parameters."""

    def __init__(self, **options: Any) -> None:
        super().__init__("localizer", **options)
        declare(self, LocalizerNodeConfig(), LocalizerConfig())
        self._health = Health()
        self._loaded: LoadedMap | None = None
        self._map_source: MapServerSource | None = None
        self._worker: threading.Thread | None = None
        self._answered = threading.Condition()
        self._last_answer: tuple[int, LocalizationStatus | None] = (0, None)
        self._received = self._dropped = 0
        self._last_transform: tuple[int, int, Any] | None = None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)
        waiting = MutuallyExclusiveCallbackGroup()
        self.create_service(Relocalize, "~/relocalize", self._on_relocalize, callback_group=waiting)
        if config_of(self, LocalizerNodeConfig).autostart:
            self.start_alone()

    @property
    def map_hash(self) -> str:
        """Of the map in use; empty without one."""
        loaded = self._loaded
        return loaded.hash if loaded else ""

    def configure(self) -> None:
        """Read the parameters and the map, and make the publishers."""
        self._config = config_of(self, LocalizerNodeConfig)
        self._core_config = config_of(self, LocalizerConfig)
        depth = self._config.status_depth
        self._pose = self.create_lifecycle_publisher(PoseStamped, "~/pose", depth)
        self._pose_with_covariance = self.create_lifecycle_publisher(
            PoseWithCovarianceStamped, "~/pose_with_covariance", depth
        )
        self._status = self.create_lifecycle_publisher(LocalizationStatus, "~/status", depth)
        self._debug_image = self.create_lifecycle_publisher(Image, "~/debug_image", 1)
        self._broadcaster = TransformBroadcaster(self)
        self._frames = Frames(self, timeout_s=self._config.transform_timeout_s)
        if self._config.map:
            self._load(Path(self._config.map).expanduser())
        else:
            self._map_source = MapServerSource(self, self._config, on_map=self._load, on_fault=self._health.fault)

    def activate(self) -> None:
        """Begin to listen, and start the worker."""
        config = self._config
        self._received = self._dropped = 0
        self._last_answer, self._last_transform = (0, None), None
        self._slot: LatestSlot[tuple[int, Any]] = LatestSlot()
        self._calibration = Calibration(
            topic=self.resolve_topic_name("camera_info"), timeout_s=config.transform_timeout_s
        )
        self._answerer = Answerer(config, self._frames, self._calibration)
        self._worker = threading.Thread(target=self._work, name="localizer", daemon=True)
        self._worker.start()
        kind, topic = (Image, "image") if config.image_transport == "raw" else (CompressedImage, "image/compressed")
        reliability = ReliabilityPolicy[config.image_reliability.upper()]
        image_qos = QoSProfile(depth=config.image_depth, reliability=reliability)
        info_qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        self._subscriptions_of_images = [
            self.create_subscription(
                CameraInfo, "camera_info", lambda message: self._calibration.on_camera_info(message), info_qos
            ),
            self.create_subscription(kind, topic, self._on_image, image_qos),
        ]
        self._repeater = None
        if config.transform_rate_hz and config.publish_tf != "none":
            self._repeater = self.create_timer(
                1.0 / config.transform_rate_hz, self._repeat_transform, clock=self._steady
            )

    def deactivate(self) -> None:
        """Stop listening, and let the worker finish its image."""
        if self._worker is None:
            return
        for subscription in self._subscriptions_of_images:
            self.destroy_subscription(subscription)
        if self._repeater is not None:
            self.destroy_timer(self._repeater)
        self._slot.close()
        self._worker.join()
        self._worker = None

    def cleanup(self) -> None:
        """Give up the map, the publishers and TF."""
        if self._map_source is not None:
            self._map_source.close()
            self._map_source = None
        self._loaded = None
        for name in ("_pose", "_pose_with_covariance", "_status", "_debug_image"):
            if hasattr(self, name):
                self.destroy_lifecycle_publisher(getattr(self, name))
                delattr(self, name)
        if hasattr(self, "_frames"):
            self._frames.close()
            self.destroy_publisher(self._broadcaster.pub_tf)
            del self._frames, self._broadcaster

    def failed(self, reason: str) -> None:
        """Say it on /diagnostics."""
        self._health.fault(reason)

    def _load(self, folder: Path) -> None:
        """Take a map; the one before stays in use until this one is ready."""
        localizer = build_localizer(self._core_config, read_map(folder))
        self._loaded = LoadedMap(localizer, map_hash(folder))
        self.get_logger().info(f"map {localizer.map.name} from {folder}, {len(localizer.map.points)} points")

    def _on_image(self, message: Any) -> None:
        self._received += 1
        displaced = self._slot.put((self._received, message))
        if displaced is not None:
            self._dropped += 1
            status = LocalizationStatus(header=displaced[1].header, status=LocalizationStatus.DROPPED)
            status.reason = "a newer image came before this one's turn"
            self._publish_status(displaced[0], status)

    def _work(self) -> None:
        while (item := self._slot.take()) is not None:
            number, message = item
            try:
                now_ns = self.get_clock().now().nanoseconds
                self._publish(number, self._answerer.answer(message, self._loaded, now_ns=now_ns))
            except Exception:  # a bug: keep the traceback and the node
                self._health.fault("internal error, see the log")
                self.get_logger().fatal(traceback.format_exc())

    def _publish(self, number: int, answer: Answer) -> None:
        status = answer.status
        stamp_ns = stamp_ns_of(status)
        if answer.fix is not None:
            pose, covariance = answer.fix.map_from_base, answer.fix.covariance
            frame = status.map_frame
            if answer.map_from_child is not None:
                self._publish_transform(stamp_ns, status, answer.map_from_child)
            self._pose.publish(pose_stamped(stamp_ns, frame, pose))
            self._pose_with_covariance.publish(pose_with_covariance_stamped(stamp_ns, frame, pose, covariance))
        self._publish_status(number, status)
        watched = self._debug_image.get_subscription_count() > 0
        if watched and answer.image is not None and answer.result is not None:
            picture = drawn(answer.image, answer.result)
            self._debug_image.publish(bgr_message(stamp_ns, status.header.frame_id, picture))

    def _publish_status(self, number: int, status: LocalizationStatus) -> None:
        status.images_received, status.images_dropped = self._received, self._dropped
        self._health.add(status)
        self._status.publish(status)
        if status.status != LocalizationStatus.DROPPED:
            with self._answered:
                self._last_answer = (number, status)
                self._answered.notify_all()

    def _publish_transform(self, stamp_ns: int, status: LocalizationStatus, map_from_child: Any) -> None:
        child = self._config.odom_frame if self._config.publish_tf == "map_odom" else status.body_frame
        later_ns = stamp_ns + int(self._config.transform_tolerance_s * 1e9)
        message = transform_message(later_ns, status.map_frame, child, map_from_child)
        self._broadcaster.sendTransform(message)
        self._last_transform = (later_ns, time.monotonic_ns(), (status.map_frame, child, map_from_child))

    def _repeat_transform(self) -> None:
        """The last one, later by the time since: valid until the next image tells better."""
        if self._last_transform is not None:
            stamp_ns, since_ns, transform = self._last_transform
            now_ns = stamp_ns + time.monotonic_ns() - since_ns
            self._broadcaster.sendTransform(transform_message(now_ns, *transform))

    def _on_relocalize(self, request: Relocalize.Request, response: Relocalize.Response) -> Relocalize.Response:
        refusal = LocalizationStatus(status=LocalizationStatus.NO_IMAGE)
        response.result = refusal
        if self.state != ACTIVE:
            refusal.reason = f"the node is {self.state}; activate it"
            return response
        timeout_s = request.timeout_s if request.timeout_s > 0 else self._config.relocalize_timeout_s
        asked_at = self._received
        with self._answered:
            if self._answered.wait_for(lambda: self._last_answer[0] > asked_at, timeout_s):
                response.result = self._last_answer[1]
            else:
                refusal.reason = f"no image came on {self.resolve_topic_name('image')} within {timeout_s:g} s"
        return response

    def _publish_diagnostics(self) -> None:
        message = self._health.message(
            node=self.get_fully_qualified_name(),
            state=self.state,
            map_hash=self.map_hash,
            listeners=self._status.get_subscription_count() if self.state == ACTIVE else 0,
            stamp_ns=self.get_clock().now().nanoseconds,
        )
        self._diagnostics.publish(message)


def main() -> None:
    """Entry point `localizer`."""
    run_node(LocalizerNode)


if __name__ == "__main__":
    main()
