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

"""Poses for other localizers: an initial pose for AMCL and slam_toolbox, a prior for rtabmap."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.lifecycle import LifecycleNode

from vloc_ros.core.config import FixFilterConfig
from vloc_ros.core.geometry.covariance import raise_variances
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.tracking.fix import Fix
from vloc_ros.core.tracking.fix_filter import GateResult, GatingDecision
from vloc_ros.core.tracking.track import carry_fix
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.pipeline import LocalizationOutput
from vloc_ros.nodes.localizer.transforms import TransformLookup
from vloc_ros.nodes.rclpy_support.conversion import pose_with_covariance_stamped, stamp_ns_of

# how many own messages are remembered, to recognise them when they come back
_REMEMBERED = 50


@dataclass(frozen=True, slots=True, eq=False)
class _TimedFix:
    """A published fix.

    Attributes:
        fix: pose of the base.
        base_frame: frame of the base.
        stamp_ns: time of its images.
        odom_from_base: odometry at that time, None if unknown.
    """

    fix: Fix
    base_frame: str
    stamp_ns: int
    odom_from_base: Pose | None


class PoseRelay:
    """Publishes `~/global_pose` with every fix, and `~/initialpose` by the parameters or on request.

    A fix is as old as its image, and its receivers take an initial pose for the present: odometry carries it on to the
    newest time that TF has. A due initial pose waits for the first fix with a subscriber: the other system may start
    later, or again. The worker publishes, callbacks make requests.
    """

    def __init__(
        self, node: LifecycleNode, config: LocalizerNodeConfig, fix_filter: FixFilterConfig, frames: TransformLookup
    ) -> None:
        self._node, self._config, self._frames = node, config.feed, frames
        self._odom_frame = config.odom_frame
        self.set_fix_filter(fix_filter)
        depth = config.status_depth
        self._initial_pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/initialpose", depth)
        self._global_pose = node.create_lifecycle_publisher(PoseWithCovarianceStamped, "~/global_pose", depth)
        self._lock = threading.Lock()
        self._last: _TimedFix | None = None
        self._due, self._heard_by = False, frozenset[bytes]()
        self._sent: deque[Any] = deque(maxlen=_REMEMBERED)
        if config.feed.initial_pose != "never" and config.publish_tf != "none":
            node.get_logger().warning(
                f"feed.initial_pose is {config.feed.initial_pose} and publish_tf is {config.publish_tf}: the node that "
                "receives it usually publishes map -> odom as well, and only one may; set publish_tf to none"
            )

    def set_fix_filter(self, config: FixFilterConfig) -> None:
        """Use other limits of odometry."""
        self._carrying = config

    def publish(self, output: LocalizationOutput) -> None:
        """Publish what is due with an output; nothing without a fix."""
        status, fix, gating = output.status, output.fix, output.gating
        if fix is None or gating is None:
            return
        stamp_ns = stamp_ns_of(status)
        # rtabmap takes the frame of the header for the child frame of the pose
        self._global_pose.publish(
            pose_with_covariance_stamped(stamp_ns, status.body_frame, fix.map_from_base, fix.covariance)
        )
        with self._lock:
            listeners = self._listeners()
            # a subscriber that comes, or comes again, knows no pose yet
            is_new = bool(listeners - self._heard_by) and self._config.initial_pose != "never"
            self._due, self._heard_by = self._due or is_new or self._is_due(gating, stamp_ns), listeners
            self._last = _TimedFix(fix, status.body_frame, stamp_ns, output.odom_from_base)
            if self._due and listeners:
                self._send(self._last)

    def on_request(self, now_ns: int) -> tuple[bool, str]:
        """Publish the last fix again, in any mode; return whether it was published, and a message."""
        limit_s = self._config.max_fix_age_s
        with self._lock:
            if self._last is None:
                return False, "nothing was localized yet, see ~/status; the camera has to see a part of the map"
            age_s = (now_ns - self._last.stamp_ns) * 1e-9
            if abs(age_s) > limit_s:
                return False, (
                    f"the last fix is {age_s:.1f} s old, expected at most {limit_s:g} s; "
                    "wait for the next one, or raise feed.max_fix_age_s"
                )
            if not self._listeners():
                return (
                    False,
                    f"no subscriber on {self._initial_pose.topic_name}; remap ~/initialpose to the other node's topic",
                )
            return True, f"{self._send(self._last)}, {age_s:.1f} s old"

    def is_own(self, message: Any) -> bool:
        """Return whether this node sent an initial pose: `~/initialpose` may be remapped to its own input."""
        with self._lock:
            return _identity(message) in self._sent

    def reset(self) -> None:
        """Discard the last fix and what is due: the map was swapped, or tracking was reset."""
        with self._lock:
            self._last, self._due = None, False

    def close(self) -> None:
        """Destroy the publishers."""
        self._node.destroy_lifecycle_publisher(self._initial_pose)
        self._node.destroy_lifecycle_publisher(self._global_pose)

    def _is_due(self, gating: GatingDecision, stamp_ns: int) -> bool:
        mode = self._config.initial_pose
        if mode == "on_jump":
            return gating.first or gating.result is GateResult.JUMPED
        if mode == "when_lost":
            lost_ns = self._config.lost_after_s * 1e9
            return gating.first or self._last is None or abs(stamp_ns - self._last.stamp_ns) >= lost_ns
        return mode == "always"

    def _listeners(self) -> frozenset[bytes]:
        """Return the endpoints that subscribe, but those of this node: one that was restarted has another."""
        own = self._node.get_name(), self._node.get_namespace()
        found = self._node.get_subscriptions_info_by_topic(self._initial_pose.topic_name)
        return frozenset(bytes(one.endpoint_gid) for one in found if (one.node_name, one.node_namespace) != own)

    def _carry(self, last: _TimedFix) -> tuple[int, Fix]:
        """Return the newest time of odometry and the fix carried on to it; without odometry, the fix as it is."""
        newest = self._frames.lookup_newest(self._odom_frame, last.base_frame)
        if newest is None or last.odom_from_base is None or newest[0] <= last.stamp_ns:
            return last.stamp_ns, last.fix
        stamp_ns, odom_from_base = newest
        return stamp_ns, carry_fix(
            last.fix, self._carrying, last.odom_from_base, last.stamp_ns, odom_from_base, stamp_ns
        )

    def _send(self, last: _TimedFix) -> str:
        """Publish an initial pose; return a description of what was sent."""
        stamp_ns, fix = self._carry(last)
        # a particle filter cannot recover from overconfidence
        least = self._config.min_position_std_m, self._config.min_rotation_std_rad
        widened = raise_variances(fix.covariance, *least)
        message = pose_with_covariance_stamped(stamp_ns, fix.frame_id, fix.map_from_base, widened)
        self._sent.append(_identity(message))
        self._initial_pose.publish(message)
        self._due = False
        position = message.pose.pose.position
        text = f"published on {self._initial_pose.topic_name}: x {position.x:.2f} m, y {position.y:.2f} m"
        self._node.get_logger().info(text, throttle_duration_sec=1.0)
        return text


def _identity(message: Any) -> tuple[Any, ...]:
    position, turn = message.pose.pose.position, message.pose.pose.orientation
    return stamp_ns_of(message), position.x, position.y, position.z, turn.x, turn.y, turn.z, turn.w
