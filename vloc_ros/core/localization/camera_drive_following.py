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

"""Hypotheses of a moving camera's clouds, followed along their drive.

Every hypothesis of every cloud is followed along the drive: odometry says where the other clouds are then, and each is
aligned from there. What one cloud finds by chance the others contradict, and a pose that one cloud missed is tried for
it, since another found it.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
from vloc_ros.core.localization.camera_drive_evidence import measure_preference
from vloc_ros.core.localization.camera_drive_hypotheses import DriveHypothesis

_FOLLOWED = 8
_SAME_VOXELS, _SAME_RAD = 2.0, 0.05
_FOUND_VOXELS, _FOUND_RAD = 3.0, 0.1
# an alignment that leads further away is of another pose than that of odometry
_STRAYED_VOXELS, _STRAYED_RAD = 4.0, 0.15


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a cloud is on a drive that is followed."""

    pose: Pose
    agrees: bool
    support: float


@dataclass(frozen=True, slots=True, eq=False)
class DriveCloud:
    """A cloud of a drive.

    Attributes:
        cloud: in the optical frame.
        odom_from_camera: its pose by odometry.
        found: the hypotheses of its own search.
    """

    cloud: CameraCloud
    odom_from_camera: Pose
    found: Sequence[CameraHypothesis]
    _steps: dict[Hashable, _Step] = field(default_factory=dict, repr=False)
    _measured: dict[Hashable, CameraHypothesis] = field(default_factory=dict, repr=False)


class DriveFollower:
    """Follows the hypotheses of single clouds along their drive, in one map. A cloud keeps what is derived of it."""

    def __init__(self, search: CameraCloudSearch) -> None:
        """Of the search that the single clouds' hypotheses are of."""
        self._search = search

    def find(self, clouds: Sequence[DriveCloud]) -> list[DriveHypothesis]:
        """The drives that start from every hypothesis of every cloud, those of one optimum once.

        Raises:
            InputError: there are fewer than two clouds.
        """
        if len(clouds) < 2:
            raise InputError(f"a drive has {len(clouds)} clouds, expected 2 at least; one has a decision of its own")
        seeds = [(k, one) for k, cloud in enumerate(clouds) for one in cloud.found]
        followed = list[tuple[int, list[_Step]]]()
        for k, seed in sorted(seeds, key=lambda one: -one[1].evidence.strength):
            near = (self._is_near(seed.scene_from_camera, steps[k].pose, _SAME_VOXELS, _SAME_RAD)
                    for scene, steps in followed if scene == seed.scene)  # fmt: skip
            if not any(near):
                followed.append((seed.scene, self._follow(clouds, k, seed)))
        followed.sort(key=lambda one: -sum(step.support for step in one[1]))
        return [self._measure(clouds, scene, steps) for scene, steps in self._keep_different(followed)[:_FOLLOWED]]

    def _keep_different(self, followed: Sequence[tuple[int, list[_Step]]]) -> list[tuple[int, list[_Step]]]:
        kept = list[tuple[int, list[_Step]]]()
        for scene, steps in followed:
            if not any(
                scene == other and self._is_near(steps[-1].pose, of_other[-1].pose, _SAME_VOXELS, _SAME_RAD)
                for other, of_other in kept
            ):
                kept.append((scene, steps))
        return kept

    def _follow(self, clouds: Sequence[DriveCloud], start: int, seed: CameraHypothesis) -> list[_Step]:
        """Where each cloud is if one of them has a hypothesis' pose: from cloud to cloud, both ways."""
        cloud = clouds[start].cloud
        first = _Step(seed.scene_from_camera, True, self._search.support_at(cloud, seed.scene, seed.scene_from_camera))
        steps = {start: first}
        for k in [*range(start + 1, len(clouds)), *range(start - 1, -1, -1)]:
            beside = k - 1 if k > start else k + 1
            moved = clouds[beside].odom_from_camera.inverse() @ clouds[k].odom_from_camera
            steps[k] = self._align(clouds[k], seed.scene, steps[beside].pose @ moved)
        return [steps[k] for k in range(len(clouds))]

    def _align(self, one: DriveCloud, scene: int, start: Pose) -> _Step:
        key = _key(scene, start)
        if key not in one._steps:
            found = self._search.follow(one.cloud, scene, start)
            if found is None or not self._is_near(found[0], start, _STRAYED_VOXELS, _STRAYED_RAD):
                one._steps[key] = _Step(start, False, self._search.support_at(one.cloud, scene, start))
            else:
                one._steps[key] = _Step(found[0], True, found[1])
        return one._steps[key]

    def _measure(self, clouds: Sequence[DriveCloud], scene: int, steps: Sequence[_Step]) -> DriveHypothesis:
        at, preferences = list[CameraHypothesis](), list[float]()
        for one, step in zip(clouds, steps, strict=True):
            key = _key(scene, step.pose)
            if key not in one._measured:
                one._measured[key] = self._search.measure_at(one.cloud, scene, step.pose)
            at.append(one._measured[key])
            preferences.append(prefer(one.found, at[-1], voxel_m=self._search.voxel_m))
        return DriveHypothesis(tuple(at), tuple(step.agrees for step in steps), tuple(preferences))

    def _is_near(self, one: Pose, other: Pose, voxels: float, turn_rad: float) -> bool:
        distance_m, turned_rad = one.distance_to(other)
        return bool(distance_m <= voxels * self._search.voxel_m and turned_rad <= turn_rad)


def prefer(own: Sequence[CameraHypothesis], at: CameraHypothesis, *, voxel_m: float) -> float:
    """By how much a cloud is stronger at a hypothesis than at the best other pose of its own search, 0 if it has none.

    Where that pose is the only one that it found, it prefers it as clearly as can be.
    """
    if not own:
        return 0.0
    assert isinstance(at.evidence, CameraEvidence)
    others = [
        one.evidence.strength
        for one in own
        if one.scene != at.scene or not _is_near(one.scene_from_camera, at.scene_from_camera, voxel_m=voxel_m)
    ]
    return measure_preference(at.evidence, others)


def _is_near(one: Pose, other: Pose, *, voxel_m: float) -> bool:
    distance_m, turned_rad = one.distance_to(other)
    return bool(distance_m <= _FOUND_VOXELS * voxel_m and turned_rad <= _FOUND_RAD)


def _key(scene: int, pose: Pose) -> Hashable:
    return scene, pose.translation.tobytes(), pose.rotation.tobytes()
