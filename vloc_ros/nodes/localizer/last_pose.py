"""The last pose, for subscribers that come after it."""

from __future__ import annotations

import threading

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class LastPose:
    """Publishes `~/last_pose_with_covariance`, latched, until `close`.

    It has a topic of its own, so that nobody fuses an old pose: on `~/pose_with_covariance` all are new.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._publisher = self._make_publisher()
        self._published = False

    def publish(self, message: PoseWithCovarianceStamped) -> None:
        """Publish a pose; it replaces the last one."""
        with self._lock:
            self._publisher.publish(message)
            self._published = True

    def reset(self) -> None:
        """Withdraw the last pose, for which DDS needs another publisher."""
        with self._lock:
            if self._published:
                self._node.destroy_publisher(self._publisher)
                self._publisher, self._published = self._make_publisher(), False

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)

    def _make_publisher(self) -> Publisher:
        return self._node.create_publisher(PoseWithCovarianceStamped, "~/last_pose_with_covariance", _LATCHED)
