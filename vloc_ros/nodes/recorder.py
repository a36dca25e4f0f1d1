"""Writes what a localizer publishes, with the monotonic time of its coming, as JSON lines when it ends.

Every line has `kind` (status, pose, tf), `received_ns` and `stamp_ns`. A file appears complete or not at all.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import PoseStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import ConfigError
from vloc_ros.nodes.conversion import pose_of, stamp_ns_of, status_name
from vloc_ros.nodes.parameters import RecorderConfig, config_of, declare
from vloc_ros.nodes.process import run_node
from vloc_ros.storage.atomic import write_bytes_atomically

_QOS = QoSProfile(depth=1000)


class RecorderNode(Node):
    """Records until it is interrupted, or until the expected number of images is answered."""

    def __init__(self, **options: Any) -> None:
        super().__init__("recorder", automatically_declare_parameters_from_overrides=True, **options)
        declare(self, RecorderConfig())
        self._config = config_of(self, RecorderConfig)
        if not self._config.out:
            raise ConfigError("parameter out is empty, expected the file to write")
        self._rows: list[dict[str, Any]] = []
        self._answered = 0
        self.done = Future()
        name = self._config.localizer
        self.create_subscription(LocalizationStatus, f"{name}/status", self._on_status, _QOS)
        self.create_subscription(PoseStamped, f"{name}/pose", self._on_pose, _QOS)
        self.create_subscription(TFMessage, "/tf", self._on_tf, _QOS)

    def destroy_node(self) -> None:
        """Write the file."""
        lines = "".join(json.dumps(row) + "\n" for row in self._rows)
        write_bytes_atomically(Path(self._config.out), lines.encode())
        super().destroy_node()

    def _on_status(self, message: LocalizationStatus) -> None:
        row = self._row("status", stamp_ns_of(message))
        row |= {
            "status": status_name(message.status),
            "reason": message.reason,
            **_pose_values(message.pose.pose),
            "covariance": message.pose.covariance.tolist(),
            "map_frame": message.map_frame,
            "body_frame": message.body_frame,
            "map_hash": message.map_hash,
            "keypoints": message.keypoints,
            "matches": message.matches,
            "inliers": message.inliers,
            "proposal": message.proposal,
            "times_ms": dict(zip(message.stages, map(float, message.stage_ms), strict=True)),
            "total_ms": message.total_ms,
            "images_dropped": message.images_dropped,
        }
        self._answered += 1
        if self._answered == self._config.expected:
            self.done.set_result(True)

    def _on_pose(self, message: PoseStamped) -> None:
        row = self._row("pose", stamp_ns_of(message))
        row |= {"frame": message.header.frame_id, **_pose_values(message.pose)}

    def _on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            row = self._row("tf", stamp_ns_of(transform))
            pose = pose_of(transform.transform)
            row |= {"parent": transform.header.frame_id, "child": transform.child_frame_id}
            row |= {"translation": pose.translation.tolist(), "quaternion": pose.quaternion.tolist()}

    def _row(self, kind: str, stamp_ns: int) -> dict[str, Any]:
        row: dict[str, Any] = {"kind": kind, "received_ns": time.monotonic_ns(), "stamp_ns": stamp_ns}
        self._rows.append(row)
        return row


def _pose_values(message: PoseMessage) -> dict[str, list[float]]:
    p, q = message.position, message.orientation
    return {"translation": [p.x, p.y, p.z], "quaternion": [q.x, q.y, q.z, q.w]}


def main() -> None:
    """Entry point `recorder`."""
    run_node(RecorderNode)


if __name__ == "__main__":
    main()
