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

"""The clouds of a moving camera's drive so far, and which of them its pose is found by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_drive_following import DriveCloud
from vloc_ros.core.localization.camera_drive_search import MOST_CLOUDS, CameraDriveSearch
from vloc_ros.core.localization.result import LocalizationResult

# from the first of the clouds that are compared to the last, in paths of a cloud
_LONGEST = 6.0
# of the path of a cloud: cameras as far apart see other surfaces, also where the robot turned between them
_ELSEWHERE = 0.5
# of clouds that are nearer to each other, in paths of a cloud, one is kept for those after it
_KEPT_APART = 0.125
# so many hold the independent ones among them; a robot that drives in circles leaves none behind
_MOST_KEPT = 32


@dataclass(frozen=True, slots=True, eq=False)
class DrivePose:
    """What was found by the last clouds of a drive.

    Attributes:
        clouds: how many, the last one and those before it that share no images; 0 where it has too few points.
        alone: by the last cloud alone, the pose of the optical frame, or why there is none.
        result: by all of them.
        hypotheses: of all of them, best first.
        found: hypotheses of the last cloud alone, best first.
    """

    clouds: int
    alone: LocalizationResult
    result: LocalizationResult
    hypotheses: Sequence[CameraHypothesis]
    found: Sequence[CameraHypothesis]


@dataclass(frozen=True, slots=True, eq=False)
class _KeptCloud:
    """A cloud, the number of its image, and that of the first image that it is made of."""

    number: int
    first: int
    cloud: DriveCloud


class DriveWindow:
    """The clouds of one drive, for one map. Clouds of the same images would confirm each other, whatever they show."""

    def __init__(self, search: CameraDriveSearch, stereo: MotionStereo, *, reach_m: float, reach_up_m: float) -> None:
        """A drive without clouds.

        Args:
            search: in the map.
            stereo: that makes the clouds.
            reach_m: horizontal distance from the camera to the next place at most.
            reach_up_m: vertical distance.
        """
        self._search, self._stereo = search, stereo
        self._reach_m, self._reach_up_m = reach_m, reach_up_m
        self._kept = list[_KeptCloud]()

    def __len__(self) -> int:
        """Number of clouds that are kept."""
        return len(self._kept)

    def locate(self, cloud: CameraCloud, odom_from_camera: Pose, *, first: int, number: int) -> DrivePose:
        """The pose of a cloud by it and those before it that share no images, and keep it for those after it.

        Args:
            cloud: in the optical frame.
            odom_from_camera: of its last image.
            first: number of the first image that it is made of.
            number: of its last image; numbers ascend along the drive.

        Raises:
            InputError: the lattice of poses would be too large.
        """
        one, alone = self._search.search_cloud(
            cloud, odom_from_camera, reach_m=self._reach_m, reach_up_m=self._reach_up_m
        )
        if one is None:
            return DrivePose(0, alone, alone, [], [])
        last = _KeptCloud(number, first, one)
        clouds = _choose_independent([*self._recent(odom_from_camera), last], apart_m=_ELSEWHERE * self._stereo.path_m)
        self._kept = [*self._thin(odom_from_camera), last]
        result, found = self._search.localize(clouds) if len(clouds) > 1 else (alone, one.found)
        return DrivePose(len(clouds), alone, result, found, one.found)

    def _recent(self, odom_from_camera: Pose) -> list[_KeptCloud]:
        longest_m = _LONGEST * self._stereo.path_m
        return [one for one in self._kept if _distance_m(one, odom_from_camera) <= longest_m]

    def _thin(self, odom_from_camera: Pose) -> list[_KeptCloud]:
        """The clouds to keep beside one that comes: recent ones, each some way from the one before."""
        recent = self._recent(odom_from_camera)
        if len(recent) > 1 and _distance_m(recent[-2], odom_from_camera) < _KEPT_APART * self._stereo.path_m:
            del recent[-1]
        return recent[1 - _MOST_KEPT :]


def _choose_independent(kept: Sequence[_KeptCloud], *, apart_m: float) -> list[DriveCloud]:
    """The last cloud and those before it that are evidence of their own, the last ones.

    They share no images, and none was taken where another was, on the way back or on another lap: clouds of the same
    walls fit a place that looks alike equally well.
    """
    chosen = [kept[-1]]
    for one in reversed(kept[:-1]):
        elsewhere = all(_distance_m(one, other.cloud.odom_from_camera) >= apart_m for other in chosen)
        if len(chosen) < MOST_CLOUDS and one.number < chosen[0].first and elsewhere:
            chosen.insert(0, one)
    return [one.cloud for one in chosen]


def _distance_m(one: _KeptCloud, odom_from_camera: Pose) -> float:
    return one.cloud.odom_from_camera.distance_to(odom_from_camera)[0]
