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

"""TF: transforms at the time of an image in, and the transform of odometry or of the base in the map out."""

from __future__ import annotations

import threading
import weakref

from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, TransformBroadcaster, TransformException, TransformListener

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of, transform_message

_NS_PER_S = 1e9
# the smallest step of stamps in the present that is left of them in seconds as float64
_STEP_NS = 1000
# an image takes less; stamps that are longer ago are of another clock, such as those of a bag without /clock
_SLOWEST_NS = 1_000_000_000
# as in tf2_ros for Python; smaller steps back are bridged by the order of the stamps
_BACKWARDS = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)


class TransformLookup:
    """Looks up transforms, and waits for them: TF often arrives later than the image of the same time."""

    def __init__(self, node: Node, buffer: Buffer, *, timeout_s: float) -> None:
        self._buffer = buffer
        self._listener = TransformListener(self._buffer, node)
        self._timeout = Duration(seconds=timeout_s)

    def lookup(
        self,
        target: str,
        source: str,
        stamp_ns: int,
        *,
        patience_s: float | None = None,
        refusal: int = LocalizationStatus.NO_ODOMETRY,
    ) -> Pose:
        """Return target_from_source at a time; wait up to `patience_s`, or the timeout of the constructor.

        Raises:
            Refused: TF has no such transform, or an invalid one; its code is `refusal`.
        """
        try:
            patience = self._timeout if patience_s is None else Duration(seconds=patience_s)
            return self._lookup(target, source, stamp_ns, patience)
        except (TransformException, InputError) as error:  # tf2 accepts infinite numbers
            reason = f"TF has no {target} -> {source} at the time of the image ({' '.join(str(error).split())})"
            raise Refused(refusal, reason) from error

    def lookup_available(self, target: str, source: str, stamp_ns: int) -> Pose | None:
        """Return target_from_source at a time, None unless TF has it already."""
        try:
            return self._lookup(target, source, stamp_ns, Duration())
        except (TransformException, InputError):
            return None

    def lookup_newest(self, target: str, source: str) -> tuple[int, Pose] | None:
        """Return the newest time of target_from_source and its value then, None unless TF has it."""
        try:
            found = self._buffer.lookup_transform(target, source, Time())
            return stamp_ns_of(found), pose_of(found.transform)
        except (TransformException, InputError):
            return None

    def _lookup(self, target: str, source: str, stamp_ns: int, patience: Duration) -> Pose:
        if target == source:
            return Pose.identity()
        found = self._buffer.lookup_transform(target, source, Time(nanoseconds=stamp_ns), timeout=patience)
        return pose_of(found.transform)

    def close(self) -> None:
        """Unsubscribe, and clear the buffer."""
        self._listener.unregister()
        self._buffer.clear()


class MapTransform:
    """Publishes map -> odom or map -> base with every fix, and repeats it between fixes if it may be repeated.

    No stamp is at or before the last one, until simulated time jumps back: tf2 puts a transform between those that it
    has, by its stamp, so that an older one would change the past and leave the present as it was. Repeated, a transform
    is ahead of the node's time by the tolerance at least, however long the image took, so that it is known for the
    present; where stamps are of another clock it keeps its distance from the node's time.

    A thread of its own repeats: a timer would wake the whole executor every time.
    """

    def __init__(self, node: Node, *, tolerance_s: float, rate_hz: float, max_age_s: float = 0.0) -> None:
        self._node, self._tolerance_ns = node, int(tolerance_s * _NS_PER_S)
        self._max_age_ns = int(max_age_s * _NS_PER_S)
        self._broadcaster = TransformBroadcaster(node)
        self._lock = threading.Lock()
        self._last: tuple[int, str, str, Pose] | None = None  # its stamp is ahead of the node's time by this
        self._fixed_ns = self._sent_ns = 0
        # rclpy keeps a handle after it is unregistered, which must not keep this object
        on_jump = weakref.WeakMethod(self._on_jump)
        self._jumps = node.get_clock().create_jump_callback(
            _BACKWARDS, post_callback=lambda _: (begin_again := on_jump()) and begin_again()
        )
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._repeat, args=(rate_hz,), name="transform", daemon=True)
        self._thread.start()

    def publish(self, stamp_ns: int, parent: str, child: str, parent_from_child: Pose, *, repeated: bool) -> None:
        """Publish a transform.

        With `repeated` it is stamped later by the tolerance, and repeated until the next one, or until it is too old:
        valid for odometry, not for the base, which moves. What was repeated may be ahead of it: then it is stamped just
        after that. A pose of the base belongs to its own time only; one that is not newer is not published.
        """
        with self._lock:
            self._last = None
            if not repeated:
                if stamp_ns > self._sent_ns:
                    self._send(stamp_ns, parent, child, parent_from_child)
                return
            later_ns = max(stamp_ns + self._tolerance_ns, self._sent_ns + _STEP_NS)
            self._send(later_ns, parent, child, parent_from_child)
            self._fixed_ns = self._now_ns()
            if self._fixed_ns > 0:  # simulated time is 0 until it starts, and then jumps
                ahead_ns = later_ns - self._fixed_ns
                if ahead_ns > -_SLOWEST_NS:  # otherwise sensors have another clock, which everything in TF is of
                    ahead_ns = max(ahead_ns, self._tolerance_ns)
                self._last = (ahead_ns, parent, child, parent_from_child)

    def reset(self) -> None:
        """Stop repeating until the next transform is published."""
        with self._lock:
            self._last = None

    def close(self) -> None:
        """Stop repeating, and destroy the publisher."""
        self._jumps.unregister()
        self._closed.set()
        self._thread.join()
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _on_jump(self) -> None:
        """Begin again: buffers of tf2 are cleared by the same jump."""
        with self._lock:
            self._last, self._sent_ns = None, 0

    def _repeat(self, rate_hz: float) -> None:
        while rate_hz and not self._closed.wait(1.0 / rate_hz):
            try:
                with self._lock:
                    self._send_again()
            except Exception:
                if self._node.context.ok():
                    raise
                return  # on Ctrl-C rclpy destroys the publisher before the node is shut down

    def _send_again(self) -> None:
        """Send the last transform again, stamped by the node's time since."""
        if self._last is None:
            return
        ahead_ns, parent, child, parent_from_child = self._last
        now_ns = self._now_ns()
        if 0 < self._max_age_ns < now_ns - self._fixed_ns:
            self._last = None
            seconds = (now_ns - self._fixed_ns) / _NS_PER_S
            self._node.get_logger().warning(f"{parent} -> {child} is no longer published: no fix for {seconds:.1f} s")
            return
        stamp_ns = now_ns + ahead_ns
        if stamp_ns > self._sent_ns:  # the clock may stand still or be set back
            self._send(stamp_ns, parent, child, parent_from_child)

    def _send(self, stamp_ns: int, parent: str, child: str, parent_from_child: Pose) -> None:
        self._broadcaster.sendTransform(transform_message(stamp_ns, parent, child, parent_from_child))
        self._sent_ns = stamp_ns

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
