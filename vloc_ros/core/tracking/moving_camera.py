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

"""The last images of a moving camera, and the clouds that are made of them, in a map of LiDAR places.

Images are kept as they come. Once the camera has moved far enough a cloud is due: a task, which takes seconds and may
run in another thread, while further images are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np

from vloc_ros.core.clouds.lidar_overlay import draw_lidar_overlay
from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo, MovingView
from vloc_ros.core.config import FixFilterConfig, MovingCameraConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.up_axis import check_up_axis
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_drive_search import CameraDriveSearch
from vloc_ros.core.localization.drive_window import DriveWindow
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.query import View
from vloc_ros.core.tracking.track import is_odometry_reset

# of a refusal: the image is kept, and a cloud that it is part of is not due yet
ACCUMULATING = "camera/lidar/accumulating"
# of the path of a cloud, after which another one is due
_DUE = 0.5
# the second cloud is due once it shares no images with the first: so many baselines further than the path of a cloud
_MARGIN = 1.5
_NS_PER_S = 1e9


@dataclass(frozen=True, slots=True, eq=False)
class LocatedCloud:
    """What was found by a cloud and those before it.

    Attributes:
        result: the pose of the optical frame of the last image, or why there is none.
        best: the best hypothesis, accepted or not; None without any.
        cloud: of the last images.
        image: (H, W) uint8 grey, the last one.
        camera: that took it.
    """

    result: LocalizationResult
    best: CameraHypothesis | None
    cloud: CameraCloud
    image: Array
    camera: Camera


@dataclass(frozen=True, slots=True, eq=False)
class CloudTask:
    """A cloud to make and to search a map for. One runs at a time, in the order in which they were made.

    Attributes:
        views: that it is made of, and those before them that it may be; the pose is that of the last one.
        camera: that took them.
        first: number of the first of the views.
        is_current: false once the drive has begun anew, for which its result says nothing.
    """

    views: tuple[MovingView, ...]
    camera: Camera
    first: int
    is_current: Callable[[], bool]
    _search: CameraDriveSearch
    _stereo: MotionStereo
    _window: DriveWindow
    _least_clouds: int

    def run(self) -> LocatedCloud:
        """Make the cloud, and search."""
        begun_s, poses = time.perf_counter(), [view.odom_from_camera for view in self.views]
        cloud = self._stereo.reconstruct(self.views, self.camera)
        made_s = time.perf_counter()
        found = self._window.locate(
            cloud,
            poses[-1],
            first=self.first + self._stereo.first_used(poses),
            number=self.first + len(self.views) - 1,
        )
        times_ms = {"features": 1e3 * (made_s - begun_s), "matching": 1e3 * (time.perf_counter() - made_s)}
        result, least = found.result.timed(times_ms, len(cloud)), self._least_clouds
        if 0 < found.clouds < least:
            status = Status.POSE_REJECTED if result.ok else result.status
            reason = f"by {found.clouds} of at least {least} clouds of the camera: {result.reason or 'it fits'}"
            result = result.refused_as(status, f"{reason}; drive on")
        best = found.hypotheses[0] if found.hypotheses else None
        return LocatedCloud(result, best, cloud, self.views[-1].image, self.camera)

    def draw(self, located: LocatedCloud) -> tuple[Array, str]:
        """The map's points in the last image, and by how much the cloud fits better there than beside it.

        Returns:
            (H, W, 3) BGR image, and a line of text, empty where there is no hypothesis.
        """
        best, search = located.best, self._search.of_clouds
        if best is None:
            return cv2.cvtColor(located.image, cv2.COLOR_GRAY2BGR), ""
        drawn = draw_lidar_overlay(
            located.image,
            located.camera,
            best.scene_from_camera,
            search.points_of(best.scene),
            far_m=self._stereo.farthest_m,
        )
        score = search.check_pose(located.cloud, best.scene, best.map_from_camera)
        return drawn, f"{score:+.1%} closer to the map than beside it"


class MovingCamera:
    """Keeps the images of one camera for clouds in one map: 20 at most, a voxel of the map apart.

    Not thread-safe, apart from its tasks.
    """

    def __init__(self, search: CameraDriveSearch, stereo: MotionStereo, config: MovingCameraConfig) -> None:
        """A camera without images.

        Args:
            search: in the map.
            stereo: makes the clouds for it.
            config: how images are kept, and what a pose needs.
        """
        self._search, self._stereo, self._config = search, stereo, config
        self._apart_m = search.of_clouds.voxel_m
        self._views, self._first = list[MovingView](), 0
        self._camera: Camera | None = None
        self._last: tuple[int, Pose] | None = None
        self._way_m, self._clouds = 0.0, 0
        self._note = ""
        self._window = self._make_window()

    def add(
        self,
        view: View,
        odom_from_camera: Pose,
        stamp_ns: int,
        *,
        robot: FixFilterConfig | None = None,
        busy: bool = False,
    ) -> CloudTask | LocalizationResult:
        """Keep an image if the camera has moved; the task of a cloud that is due, or why there is none.

        Args:
            view: the image with its calibration.
            odom_from_camera: pose of the optical frame by odometry.
            stamp_ns: of the image.
            robot: how fast it moves: odometry that moves five times as fast was restarted.
            busy: the last task is not done; what is due waits until it is.

        Raises:
            InputError: the z axis of odometry does not point up.
        """
        grey = replace(view, image=view.image if view.image.ndim == 2 else cv2.cvtColor(view.image, cv2.COLOR_BGR2GRAY))
        grey = grey.reduce(self._config.max_image_width_px / grey.camera.width)
        if self._last is not None and stamp_ns == self._last[0]:  # sent twice
            return self._refuse(self._way_m + self._moved_m(odom_from_camera))
        self._reset_where_needed(grey.camera, odom_from_camera, stamp_ns, robot or FixFilterConfig())
        self._last, self._camera = (stamp_ns, odom_from_camera), grey.camera
        moved_m = self._moved_m(odom_from_camera)
        if self._views and moved_m < self._apart_m:
            return self._refuse(self._way_m + moved_m)
        self._keep(MovingView(grey.image, odom_from_camera), moved_m)
        if self._way_m < self.due_m or busy:
            return self._refuse(self._way_m)
        poses = [one.odom_from_camera for one in self._views]
        doubt = "" if self._config.odometry_z_is_up else check_up_axis(poses)
        self._way_m, self._note, window = 0.0, doubt and f"{doubt}; ", self._window
        self._clouds += 1
        return CloudTask(
            tuple(self._views),
            grey.camera,
            self._first,
            lambda: window is self._window,
            self._search,
            self._stereo,
            window,
            self._config.least_clouds,
        )

    def reset(self, why: str) -> None:
        """Drop images and clouds, for a reason that the next refusals tell."""
        self._note = f"{why}, so that the images before were dropped; " if self._views else ""
        self._window = self._make_window()
        self._views, self._first, self._way_m, self._clouds = [], 0, 0.0, 0

    @property
    def kept(self) -> int:
        """Number of images that are kept."""
        return len(self._views)

    @property
    def due_m(self) -> float:
        """Path of the camera from the last cloud to the next."""
        if self._clouds == 1:
            return self._stereo.path_m + _MARGIN * self._stereo.baseline_m
        return _DUE * self._stereo.path_m

    def _make_window(self) -> DriveWindow:
        config = self._config
        return DriveWindow(self._search, self._stereo, reach_m=config.reach_m, reach_up_m=config.reach_up_m)

    def _reset_where_needed(
        self, camera: Camera, odom_from_camera: Pose, stamp_ns: int, robot: FixFilterConfig
    ) -> None:
        """Drop images and clouds that odometry may not hold together any more."""
        if self._last is None:
            return
        before_ns, before = self._last
        seconds, step = (stamp_ns - before_ns) / _NS_PER_S, before.inverse() @ odom_from_camera
        if seconds < 0:
            self.reset(f"the stamps of the images went back by {-seconds:.2f} s")
        elif is_odometry_reset(step, seconds, robot):
            metres, radians = step.distance_to(Pose.identity())
            self.reset(
                f"odometry was restarted: it moved by {metres:.1f} m and {np.degrees(radians):.0f} deg in "
                f"{seconds:.2f} s (or fix_filter.max_speed_m_s, or max_turn_rate_rad_s, is too small)"
            )
        elif seconds > self._config.max_gap_s:
            self.reset(f"no image with odometry came for {seconds:.1f} s")
        elif camera != self._camera:
            self.reset("the calibration of the camera changed")

    def _moved_m(self, odom_from_camera: Pose) -> float:
        """Distance from the last image that is kept, 0 without any."""
        return odom_from_camera.distance_to(self._views[-1].odom_from_camera)[0] if self._views else 0.0

    def _keep(self, view: MovingView, moved_m: float) -> None:
        self._views.append(view)
        self._way_m += moved_m
        dropped = _count_unused(self._views, self._stereo)
        self._views = self._views[dropped:]
        self._first += dropped

    def _refuse(self, way_m: float) -> LocalizationResult:
        moved = f"the camera has moved {way_m:.1f} m of the {self.due_m:g} m to its next cloud"
        reason = moved if way_m < self.due_m else "the image is kept for the next cloud, once the last one is done"
        refused = LocalizationResult.refused(Status.NO_FEATURES, f"{self._note}{reason}")
        return replace(refused, candidate=ACCUMULATING)


def _count_unused(views: Sequence[MovingView], stereo: MotionStereo) -> int:
    """How many of the first images are further back along the way than a cloud of the last one reaches."""
    left_m, reach_m = 0.0, stereo.path_m + 2.0 * stereo.baseline_m
    for number, (before, after) in reversed(list(enumerate(pairwise(views)))):
        left_m += before.odom_from_camera.distance_to(after.odom_from_camera)[0]
        if left_m > reach_m:
            return number
    return 0
