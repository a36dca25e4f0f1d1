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

"""Clouds of a moving camera's images, searched for in a thread of their own, so that no image waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import PosePrior
from vloc_ros.core.tracking.moving_camera import CloudTask
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.nodes.localizer.loaded_map import LoadedMap
from vloc_ros.nodes.localizer.rig_transforms import Reference


@dataclass(frozen=True, slots=True, eq=False)
class FoundCloud:
    """What a search found.

    Attributes:
        result: the pose of the optical frame, or why there is none.
        images: the last image with the map's points in it; empty where nobody watches.
        note: a line of text for it.
    """

    result: LocalizationResult
    images: tuple[Array, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class PendingCloud:
    """A cloud that is due, and all that is known at its last image.

    Attributes:
        task: makes the cloud and searches the map.
        loaded: the map.
        reference: time and frames of the image, with the extrinsics.
        odom_from_base: odometry at its stamp.
        status: of the image, to be filled in.
        initial: the initial pose that the result consumes, None without one.
        generation: of the tracked pose, see `PriorTracking`.
        number: of the image.
        begun_s: when the image was taken, by the performance counter.
    """

    task: CloudTask
    loaded: LoadedMap
    reference: Reference
    odom_from_base: Pose
    status: LocalizationStatus
    initial: PosePrior | None
    generation: int
    number: int
    begun_s: float

    def search(self, *, is_drawn: bool) -> FoundCloud | Exception:
        """Run the task, and draw the map into the last image; a bug is returned."""
        try:
            located = self.task.run()
            if not is_drawn:
                return FoundCloud(located.result)
            drawn, note = self.task.draw(located)
            return FoundCloud(located.result, (drawn,), note)
        except Exception as error:
            return error


class CloudSearches:
    """Runs one search at a time. The worker begins them; what they find is handed over in their own thread."""

    def __init__(self, search: Callable[[PendingCloud], None]) -> None:
        """`search` runs the task, publishes what it finds, and calls `end` with the lock that the worker needs."""
        self._search = search
        self._thread: threading.Thread | None = None
        self.is_busy = False

    def begin(self, pending: PendingCloud) -> None:
        """Search in another thread; the search before has ended."""
        assert not self.is_busy
        self.is_busy = True
        self._thread = threading.Thread(target=self._run, args=(pending,), name="cloud search", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """The search is done, and another one may begin."""
        self.is_busy = False

    def close(self) -> None:
        """Wait for the search that has begun."""
        if self._thread is not None:
            self._thread.join()

    def _run(self, pending: PendingCloud) -> None:
        limit_blas_threads()
        self._search(pending)
