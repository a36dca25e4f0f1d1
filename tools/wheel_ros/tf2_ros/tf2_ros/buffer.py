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

"""The transform buffer of a node: rclpy and message types outside, the tree inside."""

from __future__ import annotations

import math
import threading
from typing import Any

import rclpy.logging
from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_msgs.srv import FrameGraph

from tf2_ros.errors import TransformException
from tf2_ros.rigid import Rigid, normalize
from tf2_ros.tree import TransformTree

_CACHE_NS = 10_000_000_000


class Buffer:
    """Transforms of the last `cache_time` (10 s), safe to fill from one thread and to read from another.

    With a node, a jump of the node's clock backwards, such as a bag that starts again, clears the moving frames, and a
    service `tf2_frames` in its namespace describes all frames.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._tree = TransformTree(cache_ns=cache_time.nanoseconds if cache_time is not None else _CACHE_NS)
        self._changed = threading.Condition()
        self._log = rclpy.logging.get_logger("tf2_buffer")
        if node is not None:
            backwards = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-1), on_clock_change=True)
            self.srv = node.create_service(FrameGraph, "tf2_frames", self._on_frames)
            self._jump_handle = node.get_clock().create_jump_callback(backwards, post_callback=self._on_jump)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Add the pose of a moving frame at its stamp; an invalid transform is logged and dropped."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Add the constant pose of a static frame; an invalid transform is logged and dropped."""
        self._insert(transform, authority, static=True)

    def lookup_transform(
        self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None
    ) -> TransformStamped:
        """Return target_from_source at `time`, after waiting for it up to `timeout`.

        Time 0 is the latest time at which the whole chain is known. Raises LookupException for an unknown frame,
        ConnectivityException where no chain joins the frames, ExtrapolationException outside the times known and
        InvalidArgumentException for a name that cannot be a frame's.
        """
        stamp_ns = _nanoseconds(time)
        self.can_transform(target_frame, source_frame, time, timeout)
        with self._changed:
            found_ns, target_from_source = self._tree.lookup(target_frame, source_frame, stamp_ns)
        return _message(target_frame, source_frame, found_ns, target_from_source)

    def can_transform(self, target_frame: str, source_frame: str, time: Time, timeout: Duration | None = None) -> bool:
        """Return whether `lookup_transform` would succeed, after waiting for it up to `timeout`."""
        stamp_ns = _nanoseconds(time)
        wait_s = timeout.nanoseconds * 1e-9 if timeout is not None else 0.0
        with self._changed:
            return self._changed.wait_for(lambda: self._knows(target_frame, source_frame, stamp_ns), wait_s)

    def all_frames_as_yaml(self) -> str:
        """Return for every frame its parent and the times of its transforms."""
        with self._changed:
            frames = self._tree.describe()
        return "\n".join(
            f"{child}:\n  parent: '{parent}'\n"
            f"  most_recent_transform: {newest_s:.6f}\n  oldest_transform: {oldest_s:.6f}"
            for child, parent, oldest_s, newest_s in frames
        )

    def clear(self) -> None:
        """Drop the samples of every moving frame."""
        with self._changed:
            self._tree.clear()

    def _knows(self, target: str, source: str, stamp_ns: int) -> bool:
        try:
            self._tree.lookup(target, source, stamp_ns)
        except TransformException:
            return False
        return True

    def _insert(self, message: TransformStamped, authority: str, *, static: bool) -> None:
        child, parent = message.child_frame_id.removeprefix("/"), message.header.frame_id.removeprefix("/")
        translation, rotation = message.transform.translation, message.transform.rotation
        transform = Rigid(
            (translation.x, translation.y, translation.z),
            normalize((rotation.x, rotation.y, rotation.z, rotation.w)),  # tf2 makes a matrix of it and back
        )
        fault = _fault(child, parent, transform)
        if fault:
            self._log.error(f'Ignoring transform for child_frame_id "{child}" from authority "{authority}": {fault}')
            return
        with self._changed:
            self._tree.insert(
                child=child,
                parent=parent,
                stamp_ns=_nanoseconds(message.header.stamp),
                parent_from_child=transform,
                static=static,
            )
            self._changed.notify_all()

    def _on_frames(self, _: FrameGraph.Request, response: FrameGraph.Response) -> FrameGraph.Response:
        response.frame_yaml = self.all_frames_as_yaml()
        return response

    def _on_jump(self, _: TimeJump) -> None:
        self._log.warning("Detected jump back in time. Clearing tf buffer.")
        self.clear()


def _fault(child: str, parent: str, transform: Rigid) -> str:
    """Return why a transform is invalid; empty if it is valid."""
    if not child or not parent:
        return "TF_NO_CHILD_FRAME_ID: its name is empty" if not child else "TF_NO_FRAME_ID: its parent's name is empty"
    if child == parent:
        return "TF_SELF_TRANSFORM: it is its own parent"
    if any(math.isnan(number) for number in (*transform.translation, *transform.rotation)):
        return "TF_NAN_INPUT: it holds a NaN, or a quaternion of no length"
    return ""


def _nanoseconds(time: Any) -> int:
    """Return the nanoseconds of an rclpy Time or of a Time message."""
    if hasattr(time, "nanoseconds"):
        return int(time.nanoseconds)
    if hasattr(time, "sec") and hasattr(time, "nanosec"):
        return int(time.sec) * 1_000_000_000 + int(time.nanosec)
    raise TypeError("time must have sec and nanosec, or nanoseconds.")


def _message(target: str, source: str, stamp_ns: int, target_from_source: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 1_000_000_000)
    message.header.frame_id, message.child_frame_id = target, source
    translation, rotation = message.transform.translation, message.transform.rotation
    translation.x, translation.y, translation.z = target_from_source.translation
    rotation.x, rotation.y, rotation.z, rotation.w = target_from_source.rotation
    return message
