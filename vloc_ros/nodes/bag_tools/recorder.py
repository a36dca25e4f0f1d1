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

"""Writes what a localizer publishes, with the monotonic time of reception, as JSON lines.

Every line has `kind` (status, pose, tf), `received_ns` and `stamp_ns`. The file appears only when it is complete:
until then it has another name.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from geometry_msgs.msg import Pose as PoseMessage
from geometry_msgs.msg import PoseStamped
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.task import Future
from tf2_msgs.msg import TFMessage

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.node_config import RecorderConfig
from vloc_ros.nodes.rclpy_support.conversion import pose_of, stamp_ns_of, status_name
from vloc_ros.nodes.rclpy_support.parameters import config_of, declare_parameters
from vloc_ros.nodes.rclpy_support.process import run_node
from vloc_ros.storage.atomic import PART_SUFFIX, StorageError

_QOS = QoSProfile(depth=1000)
_REST_S = 0.5


class PartFile:
    """A text file that is written under another name and renamed when it is finished.

    Raises:
        StorageError: the file cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}{PART_SUFFIX}")
        with self._name_path():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("w", encoding="utf-8")

    def write(self, text: str) -> None:
        """Append text."""
        with self._name_path():
            self._file.write(text)

    def finish(self) -> None:
        """Close the file and give it its name."""
        with self._name_path():
            self._file.close()
            os.replace(self._part, self._path)

    @contextlib.contextmanager
    def _name_path(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageError(f"{self._path}: cannot be written ({error.strerror})") from error


class RecorderNode(Node):
    """Records until it is interrupted, or until the expected number of statuses was received."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vloc_recorder", automatically_declare_parameters_from_overrides=True, **options)
        declare_parameters(self, RecorderConfig())
        self._config = config_of(self, RecorderConfig)
        if not self._config.out:
            raise ConfigError("parameter out is empty, expected the file to write")
        self._file = PartFile(Path(self._config.out))
        self._statuses = 0
        self.done = Future()
        name = self._config.localizer
        self.create_subscription(LocalizationStatus, f"{name}/status", self._on_status, _QOS)
        self.create_subscription(PoseStamped, f"{name}/pose", self._on_pose, _QOS)
        self.create_subscription(TFMessage, "/tf", self._on_tf, _QOS)

    def destroy_node(self) -> None:
        """Destroy the node and finish the file."""
        super().destroy_node()
        self._file.finish()

    def _on_status(self, message: LocalizationStatus) -> None:
        values = {
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
            "confidence": message.confidence,
            "candidate": message.candidate,
            "times_ms": {
                stage: 1e3 * float(seconds)
                for stage, seconds in zip(message.stages, message.stage_times_s, strict=True)
            },
            "total_ms": 1e3 * message.total_time_s,
            "images_dropped": message.images_dropped,
        }
        self._add("status", stamp_ns_of(message), values)
        self._statuses += 1
        if self._statuses == self._config.expected:
            # the last pose and transform have topics of their own and may arrive later
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            self.create_timer(_REST_S, lambda: self.done.set_result(True), clock=steady)

    def _on_pose(self, message: PoseStamped) -> None:
        values = {"frame": message.header.frame_id, **_pose_values(message.pose)}
        self._add("pose", stamp_ns_of(message), values)

    def _on_tf(self, message: TFMessage) -> None:
        for transform in message.transforms:
            try:
                pose = pose_of(transform.transform)
            except InputError as error:  # tf2 ignores it as well
                child = transform.child_frame_id
                self.get_logger().warning(f"the transform of {child} is left out: {error}", throttle_duration_sec=10.0)
                continue
            values = {
                "parent": transform.header.frame_id,
                "child": transform.child_frame_id,
                "translation": pose.translation.tolist(),
                "quaternion": pose.quaternion.tolist(),
            }
            self._add("tf", stamp_ns_of(transform), values)

    def _add(self, kind: str, stamp_ns: int, values: dict[str, Any]) -> None:
        row = {"kind": kind, "received_ns": time.monotonic_ns(), "stamp_ns": stamp_ns, **values}
        self._file.write(json.dumps(row) + "\n")


def _pose_values(message: PoseMessage) -> dict[str, list[float]]:
    p, q = message.position, message.orientation
    return {"translation": [p.x, p.y, p.z], "quaternion": [q.x, q.y, q.z, q.w]}


def main() -> None:
    """Entry point `recorder`."""
    run_node(RecorderNode, RecorderConfig())


if __name__ == "__main__":
    main()
