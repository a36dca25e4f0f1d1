"""Telling other localizers where the robot is: AMCL and slam_toolbox by an initial pose, rtabmap by a prior."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.tracking.fix_filter import GateResult, GatingDecision
from vloc_ros.node_config import LocalizerNodeConfig, PoseRelayConfig
from vloc_ros.nodes.conversion import pose_with_covariance_stamped, stamp_ns_of
from vloc_ros.nodes.localization_pipeline import LocalizationOutput

# how many of our own messages may be on their way back at once
_REMEMBERED = 50


class PoseRelay:
    """Publishes `~/global_pose` with every fix, and `~/initialpose` when the parameters say so or somebody asks.

    An initial pose that is due waits for a fix at whose time somebody listens: the other system may start later.
    The worker publishes, callbacks ask.
    """

    def __init__(self, node: LifecycleNode, config: LocalizerNodeConfig) -> None:
        self._node, self._config = node, config.feed
        depth = config.status_depth
        self._initial_pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/initialpose", depth)
        self._global_pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/global_pose", depth)
        self._lock = threading.Lock()
        self._last: PoseWithCovarianceStamped | None = None
        self._due = False
        self._sent: deque[Any] = deque(maxlen=_REMEMBERED)
        if config.feed.initial_pose != "never" and config.publish_tf != "none":
            node.get_logger().warning(
                f"feed.initial_pose is {config.feed.initial_pose} and publish_tf is {config.publish_tf}: the node that "
                "is told publishes map -> odom as a rule, and there must be only one; set publish_tf to none"
            )

    def publish(self, answer: LocalizationOutput) -> None:
        """What is due with an answer; nothing without a fix."""
        status, fix, judgement = answer.status, answer.fix, answer.judgement
        if fix is None or judgement is None:
            return
        stamp_ns, pose = stamp_ns_of(status), fix.map_from_base
        # rtabmap takes the header's frame for the one whose pose it is, not for the one in which it is given
        self._global_pose.publish(pose_with_covariance_stamped(stamp_ns, status.body_frame, pose, fix.covariance))
        widened = _widened(fix.covariance, self._config)
        message = pose_with_covariance_stamped(stamp_ns, status.map_frame, pose, widened)
        with self._lock:
            self._due = self._due or self._is_due(judgement, stamp_ns)
            self._last = message
            if self._due and self._is_heard():
                self._send(message)

    def on_request(self, now_ns: int) -> tuple[bool, str]:
        """Publish the last fix once more, whatever the mode; whether that was done, and the reason."""
        limit_s = self._config.max_fix_age_s
        with self._lock:
            if self._last is None:
                return False, "nothing was localized yet, see ~/status; the robot has to see a part of the map"
            age_s = (now_ns - stamp_ns_of(self._last)) * 1e-9
            if abs(age_s) > limit_s:
                return False, (
                    f"the last fix is {age_s:.1f} s old, expected at most {limit_s:g} s; "
                    "wait for the next one, or raise feed.max_fix_age_s"
                )
            if not self._is_heard():
                return (
                    False,
                    f"nobody listens on {self._initial_pose.topic_name}; remap ~/initialpose to where it is heard",
                )
            return True, f"{self._send(self._last)}, where it was {age_s:.1f} s ago"

    def is_own(self, message: Any) -> bool:
        """Whether an initial pose came from here: `~/initialpose` may be remapped to what the node itself hears."""
        with self._lock:
            return _identity(message) in self._sent

    def forget(self) -> None:
        """Another map, or a new start: the last fix is of no use, and nothing is due."""
        with self._lock:
            self._last, self._due = None, False

    def close(self) -> None:
        """Take the publishers away."""
        self._node.destroy_lifecycle_publisher(self._initial_pose)
        self._node.destroy_lifecycle_publisher(self._global_pose)

    def _is_due(self, judgement: GatingDecision, stamp_ns: int) -> bool:
        mode = self._config.initial_pose
        if mode == "on_jump":
            return judgement.first or judgement.verdict is GateResult.JUMPED
        if mode == "when_lost":
            lost_ns = self._config.lost_after_s * 1e9
            return judgement.first or self._last is None or abs(stamp_ns - stamp_ns_of(self._last)) >= lost_ns
        return mode == "always"

    def _is_heard(self) -> bool:
        """Whether anybody but the node itself listens."""
        topic = self._initial_pose.topic_name
        own = sum(subscription.topic_name == topic for subscription in list(self._node.subscriptions))
        return bool(self._initial_pose.get_subscription_count() > own)

    def _send(self, message: PoseWithCovarianceStamped) -> str:
        """Publish it; what was done, in words."""
        self._sent.append(_identity(message))
        self._initial_pose.publish(message)
        self._due = False
        position = message.pose.pose.position
        said = f"told {self._initial_pose.topic_name} that the robot is at x {position.x:.2f} m, y {position.y:.2f} m"
        self._node.get_logger().info(said, throttle_duration_sec=1.0)
        return said


def _identity(message: Any) -> tuple[Any, ...]:
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    return stamp_ns_of(message), position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w


def _widened(covariance: Array, config: PoseRelayConfig) -> Array:
    """Raise variances to what the parameters demand; a particle filter cannot recover from being too certain."""
    least = np.repeat([config.min_position_std_m**2, config.min_rotation_std_rad**2], 3)
    return covariance + np.diag(np.maximum(least - np.diag(covariance), 0.0))
