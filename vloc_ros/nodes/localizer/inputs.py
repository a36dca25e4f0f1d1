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

"""The inputs of a localizer: images, scans, or both for one worker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from rclpy.node import Node

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import CameraImage, parse_camera_names
from vloc_ros.nodes.localizer.diagnostic_monitor import DiagnosticMonitor
from vloc_ros.nodes.localizer.image_input import ImageInput
from vloc_ros.nodes.localizer.scan_input import SCANS, ScanInput, ScanMessage
from vloc_ros.nodes.localizer.sensor_input import CountedInput

OnDropped = Callable[[LocalizationStatus], None]
# what is taken, and image sets that were displaced, of which there are none without one that displaced them
_Taken = tuple[list[CameraImage] | list[ScanMessage] | None, list[list[CameraImage]]]
_NS_PER_S = 1e9


class ImagesAndScans(CountedInput):
    """Subscribes to images and scans until `close`; the worker takes whichever is due.

    Images are taken as they come. Scans are taken as they come while no image is localized, in turns with the images,
    and else `scan_period_s` after the last one: aligning one takes several times as long as an image.
    """

    sensors = (LocalizationStatus.CAMERA, LocalizationStatus.LIDAR)

    def __init__(
        self, node: Node, config: LocalizerNodeConfig, monitor: DiagnosticMonitor, *, on_dropped: OnDropped
    ) -> None:
        """`on_dropped` is called with the status of dropped images and scans, from any thread."""
        super().__init__(node)
        self._changed = threading.Condition()
        self._schedule, self._closed = ScanSchedule(int(config.scan_period_s * _NS_PER_S)), False
        shared = {"counts": self._counts, "changed": self._changed}
        self._scans = ScanInput(node, config, monitor, on_dropped=on_dropped, **shared)
        self._images = ImageInput(node, config, monitor, on_dropped=on_dropped, **shared)
        self.topics = [*self._images.topics, *self._scans.topics]

    def record(self, status: LocalizationStatus) -> None:
        """Record the result of what was taken: scans are taken by it."""
        if status.sensor == LocalizationStatus.CAMERA:
            self._schedule.record_image(localized=status.status == LocalizationStatus.OK, at_ns=time.monotonic_ns())
        else:
            self._schedule.record_scan(at_ns=time.monotonic_ns())

    def take(self) -> list[CameraImage] | list[ScanMessage] | None:
        """Wait for an image set or a scan that is due, and return it; None after `close`."""
        taken, displaced = self._wait()
        self._images.report_displaced(displaced)
        return taken

    def close(self) -> None:
        """Unsubscribe, and release the waiting worker."""
        self._scans.close()
        self._images.close()
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait(self) -> _Taken:
        with self._changed:
            while not self._closed:
                taken, displaced = self._poll(time.monotonic_ns())
                if taken is not None:
                    return taken, displaced
                self._changed.wait(self._patience_s(time.monotonic_ns()))
        return None, []

    def _poll(self, now_ns: int) -> _Taken:
        scan_is_due = self._scans.is_waiting and self._schedule.due_ns <= now_ns
        if not (scan_is_due and self._schedule.is_turn_of_scans):
            images, displaced = self._images.poll()
            if images is not None:
                self._schedule.take_images()
                return images, displaced
        if not scan_is_due:
            return None, []
        self._schedule.take_scan(at_ns=now_ns)
        return self._scans.poll(), []

    def _patience_s(self, now_ns: int) -> float | None:
        """Return the time until something may be due that is there already, None if nothing is."""
        times_s = [self._images.patience_s()]
        if self._scans.is_waiting:
            times_s.append(max(self._schedule.due_ns - now_ns, 0) / _NS_PER_S)
        return min((time_s for time_s in times_s if time_s is not None), default=None)


class ScanSchedule:
    """When scans are due beside images. Needs neither ROS nor a clock; the times are those of a monotonic one."""

    def __init__(self, period_ns: int) -> None:
        self._period_ns = period_ns
        self._image_fix_ns: int | None = None
        self._scan_ns: int | None = None  # when the last scan ended, or began
        self.is_turn_of_scans = True

    @property
    def due_ns(self) -> int:
        """When the next scan is due: a period after the last one ended.

        At once where no image was localized for a period in which the worker was free for images, or the last was not.
        """
        if self._image_fix_ns is None or self._scan_ns is None:
            return 0
        return min(self._image_fix_ns, self._scan_ns) + self._period_ns

    def record_image(self, *, localized: bool, at_ns: int) -> None:
        """Record whether an image was localized."""
        self._image_fix_ns = at_ns if localized else None

    def take_images(self) -> None:
        """Images are taken; it is the turn of a scan that is due."""
        self.is_turn_of_scans = True

    def take_scan(self, *, at_ns: int) -> None:
        """A scan is taken; it is the turn of images."""
        self._scan_ns, self.is_turn_of_scans = at_ns, False

    def record_scan(self, *, at_ns: int) -> None:
        """Record that the scan that was taken is done: meanwhile no image could be localized."""
        assert self._scan_ns is not None
        if self._image_fix_ns is not None:
            self._image_fix_ns += at_ns - self._scan_ns
        self._scan_ns = at_ns


def subscribe_to_sensors(
    node: Node, config: LocalizerNodeConfig, monitor: DiagnosticMonitor, *, on_dropped: OnDropped
) -> ImageInput | ScanInput | ImagesAndScans:
    """The input that the parameter `sensor` names; its diagnostics begin.

    Args:
        node: that subscribes.
        config: of the node.
        monitor: of its diagnostics.
        on_dropped: called with the status of dropped messages, from any thread.
    """
    watched = {name: f"image of camera {name}" for name in parse_camera_names(config.cameras)}
    if config.sensor == "both":
        watched = (watched or {"": "image"}) | {SCANS: "scan"}
    elif config.sensor == "lidar":
        watched = {}
    monitor.begin(config.diagnostics, at_ns=time.monotonic_ns(), watched=watched)
    kinds: dict[str, type[ImageInput | ScanInput | ImagesAndScans]] = {
        "camera": ImageInput,
        "lidar": ScanInput,
        "both": ImagesAndScans,
    }
    return kinds[config.sensor](node, config, monitor, on_dropped=on_dropped)
