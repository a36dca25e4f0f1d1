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

"""Odometry from a topic of nav_msgs/Odometry, for robots that have none in TF."""

from __future__ import annotations

import threading
from collections import deque

import numpy as np
from nav_msgs.msg import Odometry
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of
from vloc_ros.storage.trajectories import LARGEST_GAP_NS, Trajectory

_DEPTH = 100
_KEPT_NS = 10_000_000_000
# a step back by more is a clock that was set back, or a bag that begins again; by less, a message out of order
_BACKWARDS_NS = 1_000_000_000


class OdometryInput:
    """Subscribes to odometry until `close`, and keeps ten seconds of it. Safe for threads.

    Attributes:
        topic: where it is received.
    """

    def __init__(self, node: Node, *, odom_frame: str, timeout_s: float) -> None:
        self.topic = node.resolve_topic_name("odom")
        self._node, self._odom_frame, self._timeout_s = node, odom_frame, timeout_s
        self._changed = threading.Condition()
        self._poses: deque[tuple[int, Pose]] = deque()
        self._child_frame, self._mistake, self._closed = "", "", False
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.BEST_EFFORT)  # receives from reliable ones too
        self._subscription = node.create_subscription(Odometry, "odom", self._on_odometry, qos)

    def lookup(self, base_frame: str, stamp_ns: int) -> Pose:
        """Return odom_from_base at a time, interpolated; wait for it as long as the constructor says.

        Raises:
            Refused: there is none, or that of other frames.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._has(stamp_ns), self._timeout_s)
            reason = self._mistake or self._check_base(base_frame)
            pose = None if reason else self._interpolate(stamp_ns)
        if pose is None:
            raise Refused(LocalizationStatus.NO_ODOMETRY, reason or self._describe_gap(stamp_ns))
        return pose

    def close(self) -> None:
        """Unsubscribe, and release whoever waits."""
        self._node.destroy_subscription(self._subscription)
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has(self, stamp_ns: int) -> bool:
        return bool(self._mistake or (self._poses and self._poses[-1][0] >= stamp_ns))

    def _check_base(self, base_frame: str) -> str:
        if self._child_frame in ("", base_frame):
            return ""
        return f"odometry on {self.topic} is of the frame {self._child_frame}, expected base_frame, {base_frame}"

    def _interpolate(self, stamp_ns: int) -> Pose | None:
        if not self._poses:
            return None
        stamps, poses = zip(*self._poses, strict=True)
        return Trajectory(np.array(stamps), poses).interpolate(stamp_ns, largest_gap_ns=LARGEST_GAP_NS)

    def _describe_gap(self, stamp_ns: int) -> str:
        if not self._poses:
            return f"no odometry received on {self.topic}"
        late_s = (stamp_ns - self._poses[-1][0]) * 1e-9
        newest = f"the newest is {abs(late_s):.2f} s {'older' if late_s > 0 else 'younger'}"
        return f"{self.topic} has no odometry at the time of the image, or a gap there; {newest}"

    def _on_odometry(self, message: Odometry) -> None:
        stamp_ns, frame = stamp_ns_of(message), message.header.frame_id.lstrip("/")
        with self._changed:
            self._mistake = ""
            if frame != self._odom_frame:
                self._mistake = f"odometry on {self.topic} is in {frame or 'no frame'}, expected {self._odom_frame}"
            else:
                self._add(stamp_ns, message)
            self._changed.notify_all()

    def _add(self, stamp_ns: int, message: Odometry) -> None:
        newest_ns = self._poses[-1][0] if self._poses else stamp_ns - 1
        if newest_ns - _BACKWARDS_NS < stamp_ns <= newest_ns:
            return
        try:
            pose = pose_of(message.pose.pose)
        except InputError as error:
            self._mistake = f"odometry on {self.topic} is invalid: {error}"
            return
        if stamp_ns <= newest_ns:
            self._poses.clear()
        self._child_frame = message.child_frame_id.lstrip("/")
        self._poses.append((stamp_ns, pose))
        while self._poses[0][0] < stamp_ns - _KEPT_NS:
            self._poses.popleft()
