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

"""What all inputs of sensors share: counts of received and dropped messages, and statuses of dropped ones."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.rclpy_support.conversion import stamp_ns_of, status_without_pose


class MessageCounts:
    """Numbers of messages, over all inputs that share it. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.received = self.dropped = 0

    def add_received(self) -> int:
        """Count a message; return how many were received so far, from 1."""
        with self._lock:
            self.received += 1
            return self.received

    def add_dropped(self, count: int) -> None:
        """Count dropped messages."""
        with self._lock:
            self.dropped += count


class CountedInput:
    """What is received on `topics` of `sensors`, in numbers."""

    sensors: tuple[str, ...]
    topics: list[str]

    def __init__(self, node: Node, counts: MessageCounts | None = None) -> None:
        """An input without messages.

        Args:
            node: that subscribes.
            counts: shared with another input; None for its own.
        """
        self._node, self._counts = node, counts or MessageCounts()

    @property
    def received(self) -> int:
        """Number of messages received so far, over all topics."""
        return self._counts.received

    @property
    def dropped(self) -> int:
        """Number of messages dropped so far."""
        return self._counts.dropped

    @property
    def publishers(self) -> int:
        """Number of publishers of the topics."""
        return sum(self._node.count_publishers(topic) for topic in self.topics)


class SensorInput(CountedInput):
    """The messages of one sensor. Its subclasses subscribe to `topics`."""

    sensor: str

    def __init__(
        self,
        node: Node,
        monitor: DiagnosticMonitor,
        *,
        on_dropped: Callable[[LocalizationStatus], None],
        counts: MessageCounts | None = None,
    ) -> None:
        """An input without messages.

        Args:
            node: that subscribes.
            monitor: of its diagnostics.
            on_dropped: called with the status of dropped messages, from any thread.
            counts: shared with another input; None for its own.
        """
        super().__init__(node, counts)
        self._monitor, self._on_dropped = monitor, on_dropped
        self.sensors = (self.sensor,)

    def record(self, status: LocalizationStatus) -> None:
        """Record the result of what was taken; what is taken next does not depend on it."""

    def _count_received(self, message: Any, *, camera: str = "") -> int:
        """Count a message; return how many were received so far, from 1."""
        number = self._counts.add_received()
        age_ns = self._node.get_clock().now().nanoseconds - stamp_ns_of(message)
        self._monitor.record_image(at_ns=time.monotonic_ns(), age_s=age_ns * 1e-9, camera=camera)
        return number

    def _report_dropped(self, header: Any, reason: str, *, count: int = 1, cameras: Sequence[str] = ()) -> None:
        """Count dropped messages and report their status."""
        self._counts.add_dropped(count)
        status = status_without_pose(header=header, sensor=self.sensor, status=LocalizationStatus.DROPPED)
        status.reason, status.cameras = reason, list(cameras)
        self._on_dropped(status)
