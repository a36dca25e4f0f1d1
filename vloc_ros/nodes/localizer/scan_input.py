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

"""Scan input: the subscription to `points`, of which the latest message is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.localizer.sensor_input import MessageCounts, SensorInput
from vloc_ros.nodes.localizer.slot import LatestSlot
from vloc_ros.nodes.rclpy_support.image_transfer import ImageSubscription

POINTS = "points"
# of scans in the diagnostics, where cameras are named by their namespaces
SCANS = "*scans"
_DISPLACED = "a newer scan arrived before this one was processed"


@dataclass(frozen=True, slots=True, eq=False)
class ScanMessage:
    """A PointCloud2 as it arrived.

    Attributes:
        message: of sensor_msgs.
        number: how many arrived so far, from 1.
    """

    message: Any
    number: int


class ScanInput(SensorInput):
    """Subscribes to scans until `close`. The callback puts them in, the worker takes the latest."""

    sensor = LocalizationStatus.LIDAR

    def __init__(
        self,
        node: Node,
        config: LocalizerNodeConfig,
        monitor: DiagnosticMonitor,
        *,
        on_dropped: Callable[[LocalizationStatus], None],
        counts: MessageCounts | None = None,
        changed: threading.Condition | None = None,
    ) -> None:
        """Subscribe.

        Args:
            node: that subscribes.
            config: of the node.
            monitor: of its diagnostics.
            on_dropped: called with the status of a scan that a newer one replaced.
            counts: shared with another input; None for its own.
            changed: notified of every scan, and shared with another input; None for its own.
        """
        super().__init__(node, monitor, on_dropped=on_dropped, counts=counts)
        self._latest: LatestSlot[ScanMessage] = LatestSlot(changed)
        self.topics = [node.resolve_topic_name(POINTS)]
        self._subscription = ImageSubscription(
            node, PointCloud2, POINTS, self._on_scan, depth=config.image_depth, reliability=config.image_reliability
        )

    def take(self) -> list[ScanMessage] | None:
        """Wait for the latest scan and return it; None after `close`."""
        scan = self._latest.take()
        return None if scan is None else [scan]

    @property
    def is_waiting(self) -> bool:
        """Whether a scan waits to be taken."""
        return self._latest.is_filled

    def poll(self) -> list[ScanMessage] | None:
        """Return the latest scan, without waiting; None if there is none."""
        scan = self._latest.poll()
        return None if scan is None else [scan]

    def close(self) -> None:
        """Unsubscribe, and release the waiting worker."""
        self._subscription.close()
        self._latest.close()

    def _on_scan(self, message: Any) -> None:
        displaced = self._latest.put(ScanMessage(message, self._count_received(message, camera=SCANS)))
        if displaced is not None:
            self._report_dropped(displaced.message.header, _DISPLACED)
