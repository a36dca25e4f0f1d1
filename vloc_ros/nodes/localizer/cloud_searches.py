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
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import PosePrior
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.core.tracking.moving_camera import CloudTask
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.node_config import LocalizerNodeConfig
from vloc_ros.nodes.localizer.cameras import CameraImage, parse_camera_names
from vloc_ros.nodes.localizer.loaded_map import LoadedMap
from vloc_ros.nodes.localizer.query_views import ViewAssembler
from vloc_ros.nodes.localizer.refusal import Refused
from vloc_ros.nodes.localizer.rig_transforms import Reference, RigTransforms

_NO_RIG = (
    "the map has LiDAR places alone, in which images of one camera are localized, and cameras names a rig; leave it "
    "empty, and remap image and camera_info to those of one camera"
)


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

    def explain_gone(self, loaded: LoadedMap | None, generation: int) -> str:
        """What that it began with is gone, now that a map is in use, and a generation; empty where nothing is."""
        if generation != self.generation:
            return "the tracked pose was discarded"
        if loaded is None or loaded.hash != self.loaded.hash:
            return "the map was swapped"
        if loaded.moving_camera is not self.loaded.moving_camera:
            return "parameters were changed"
        return "" if self.task.is_current() else "odometry was restarted, or stamps went back,"

    def search(self, *, is_drawn: Callable[[], bool]) -> FoundCloud | Exception:
        """Run the task, and draw the map into the last image where that is wanted then; a bug is returned."""
        try:
            located = self.task.run()
            if not is_drawn():
                return FoundCloud(located.result)
            drawn, note = self.task.draw(located)
            return FoundCloud(located.result, (drawn,), note)
        except Exception as error:
            return error


class ImageKeeper:
    """Keeps the images of a camera, with odometry and extrinsics, in a map that localizes by their clouds."""

    def __init__(
        self,
        config: LocalizerNodeConfig,
        fix_filter: FixFilter,
        views: ViewAssembler,
        transforms: RigTransforms,
        is_searching: Callable[[], bool],
    ) -> None:
        """A keeper for any map; the map holds the images.

        Args:
            config: of the node.
            fix_filter: knows how fast the robot moves.
            views: converts images.
            transforms: looks up odometry and extrinsics.
            is_searching: whether the last pending cloud is not done.
        """
        self._config, self._filter, self._views = config, fix_filter, views
        self._transforms, self._is_searching = transforms, is_searching
        self._generation = 0

    def keep(
        self,
        images: Sequence[CameraImage],
        initial: PosePrior | None,
        loaded: LoadedMap,
        reference: Reference,
        status: LocalizationStatus,
        generation: int,
    ) -> PendingCloud | LocalizationResult:
        """Keep an image; return the cloud that is due, or why none is.

        Raises:
            Refused: there is a rig, or the image, its extrinsics or its odometry cannot be used.
        """
        assert loaded.moving_camera is not None
        if parse_camera_names(self._config.cameras):
            raise Refused(LocalizationStatus.NO_CANDIDATES, _NO_RIG)
        begun_s = time.perf_counter()
        view = self._views.assemble_camera(images[0]).views[0]
        base_from_camera = self._transforms.base_from_rig(reference)
        odom_from_base = self._transforms.look_up(reference, self._config.odom_frame, reference.base_frame)
        odom_from_camera, robot = odom_from_base @ base_from_camera, self._filter.config
        if generation != self._generation:  # the robot may have been carried, which odometry does not see
            loaded.moving_camera.reset("the tracked pose was discarded, or the map is new")
            self._generation = generation
        try:
            found = loaded.moving_camera.add(
                view, odom_from_camera, reference.stamp_ns, robot=robot, busy=self._is_searching()
            )
        except InputError as error:
            remedy = "if it does point up, set moving_camera.odometry_z_is_up"
            raise Refused(LocalizationStatus.NO_ODOMETRY, f"{self._config.odom_frame}: {error}; {remedy}") from error
        if isinstance(found, LocalizationResult):
            return found
        known, number = replace(reference, base_from_camera=base_from_camera), images[0].number
        return PendingCloud(found, loaded, known, odom_from_base, status, initial, generation, number, begun_s)


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
        self._thread = threading.Thread(target=self._run, args=(pending,), name="cloud search", daemon=True)
        self._thread.start()  # which waits for the lock that the worker has
        self.is_busy = True

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
