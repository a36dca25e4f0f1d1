"""Subscriptions to the camera_info of a camera, however it is published."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from vloc_ros.nodes.calibration import Calibration

_DEPTH = 5


class CameraInfoInput:
    """Hands camera_info to a calibration until `close`.

    Drivers publish it with every image. Some publish it once, latched, which only a subscription that asks for latched
    messages receives. Such a subscription is incompatible with the publishers of the others, and they would warn of it:
    it is added only when there is a publisher that fits.
    """

    def __init__(self, node: Node, topic: str, calibration: Calibration, *, on_received: Callable[[], None]) -> None:
        self._node, self._topic, self._calibration, self._on_received = node, topic, calibration, on_received
        self._subscription = self._subscribe(ReliabilityPolicy.BEST_EFFORT, DurabilityPolicy.VOLATILE)
        self._latched: Subscription | None = None

    def find_latched(self) -> None:
        """Subscribe to latched messages if nothing was received yet and somebody publishes them."""
        if self._latched is not None or self._calibration.received:
            return
        publishers = self._node.get_publishers_info_by_topic(self._node.resolve_topic_name(self._topic))
        qos = [publisher.qos_profile for publisher in publishers]
        latched = [one for one in qos if one.durability == DurabilityPolicy.TRANSIENT_LOCAL]
        if latched:
            self._latched = self._subscribe(latched[0].reliability, DurabilityPolicy.TRANSIENT_LOCAL)

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in (self._subscription, self._latched):
            if subscription is not None:
                self._node.destroy_subscription(subscription)

    def _subscribe(self, reliability: ReliabilityPolicy, durability: DurabilityPolicy) -> Subscription:
        qos = QoSProfile(depth=_DEPTH, reliability=reliability, durability=durability)
        return self._node.create_subscription(CameraInfo, self._topic, self._on_camera_info, qos)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._calibration.on_camera_info(message)
        self._on_received()
