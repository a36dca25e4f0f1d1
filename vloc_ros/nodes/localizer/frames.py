"""Transforms from TF at the time of an image."""

from __future__ import annotations

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
from tf2_ros import Buffer, TransformException, TransformListener

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of


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
