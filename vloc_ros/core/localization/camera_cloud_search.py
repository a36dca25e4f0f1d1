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

"""Poses of a camera in a map of LiDAR places, by the cloud of its own last images (see `core.clouds.motion_stereo`).

All poses on a lattice around the places are compared at once, see `camera_cloud_lattice`. The best are refined to the
surfaces, see `camera_cloud_alignment`. The one decision accepts the best or refuses it, see `acceptance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.clouds.alignment import CloudRegistration, PreparedCloud
from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.clouds.place_clouds import POINTS_CM, decode_points
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_alignment import LEAST_POINTS, CameraAlignment
from vloc_ros.core.localization.camera_cloud_covariance import estimate_camera_covariance
from vloc_ros.core.localization.camera_cloud_decision import CameraDecision, CameraHypothesis
from vloc_ros.core.localization.camera_cloud_evidence import measure_camera_evidence, measure_closeness, occupied_cells
from vloc_ros.core.localization.camera_cloud_lattice import compare_on_lattice, make_lattice
from vloc_ros.core.localization.camera_errors import CameraErrors
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.occupancy_grid import OccupancyGrid
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Places
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR

# points that are aligned, at first and at last, and those that are measured
_ALIGNED, _FINELY_ALIGNED, _MEASURED = 1000, 3000, 6000
_COMPETING_VOXELS, _COMPETING_RAD = 10.0, 0.3
_REACHES_VOXELS, _ITERATIONS, _FOLLOWING = (4.0, 3.0, 1.5), 6, 4
# of the places, a camera is above or below by less: half a metre suffices for a robot that has both
REACH_UP_M = 0.5
# starts that lead to one optimum are refined once: the others are of other places, which compete with it
_SAME_VOXELS, _SAME_RAD = 2.0, 0.05
_AROUND_M, _AROUND_RAD = 0.3, np.radians(10.0)
# at a score of `check_pose` that is less, the cloud fits better elsewhere; chosen in simulated worlds
MISFIT = -0.02
# of the starts, those that most points support after the first reach go on; of these, some are aligned finely
_GO_ON, _FINALISTS, _FINE_REACHES_VOXELS, _FINE_ITERATIONS = 14, 8, (2.0, 1.0), 5


@dataclass(frozen=True, slots=True, eq=False)
class _Scene:
    """The places of a scene, all of their points with normals, and the grid of them."""

    places: Places
    target: PreparedCloud
    grid: OccupancyGrid


class CameraCloudSearch:
    """Compares clouds of a camera with the LiDAR places of one map. What is derived from the map is kept."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        registration: CloudRegistration,
        *,
        voxel_m: float,
        decision: CameraDecision,
        errors: CameraErrors,
    ) -> None:
        """A search in a map with LiDAR places, see `assembly.build_camera_cloud_search`.

        Args:
            landmark_map: the map.
            registration: finds the nearest surfaces.
            voxel_m: size of the voxels that it down-samples to.
            decision: accepts a hypothesis, or refuses all.
            errors: of odometry and calibration.
        """
        self._map, self._registration, self._voxel_m = landmark_map, registration, voxel_m
        self._alignment, self._errors = CameraAlignment(registration, voxel_m), errors
        self._decision = decision
        self._scenes: dict[int, _Scene] = {}

    @property
    def voxel_m(self) -> float:
        """Size of the voxels that the map is down-sampled to."""
        return self._voxel_m

    def localize(
        self, cloud: CameraCloud, odom_from_camera: Array, *, reach_m: float, reach_up_m: float = REACH_UP_M
    ) -> tuple[LocalizationResult, list[CameraHypothesis]]:
        """The pose of the optical frame or why there is none, and all hypotheses, best first; arguments as of `find`.

        Raises:
            InputError: the lattice would be too large.
        """
        if len(cloud) < LEAST_POINTS:
            return LocalizationResult.refused(Status.NO_FEATURES, _describe_few(cloud)), []
        found = self._decision.rank(self.find(cloud, odom_from_camera, reach_m=reach_m, reach_up_m=reach_up_m))
        return self._decision.decide(found, self._map), found

    def find(
        self, cloud: CameraCloud, odom_from_camera: Array, *, reach_m: float, reach_up_m: float = REACH_UP_M
    ) -> list[CameraHypothesis]:
        """The refined hypotheses, with the margin of each.

        Args:
            cloud: in the optical frame.
            odom_from_camera: (3, 3) rotation of the optical frame in a frame whose z axis points up.
            reach_m: horizontal distance from the camera to the next place at most.
            reach_up_m: vertical distance of them.

        Raises:
            InputError: the cloud has too few points, or the lattice would be too large.
        """
        if len(cloud) < LEAST_POINTS:
            raise InputError(_describe_few(cloud))
        found = [
            (int(scene), pose)
            for scene in np.unique(self._map.places[LIDAR].scenes)
            for pose in self._find_in_scene(int(scene), cloud, odom_from_camera, (reach_m, reach_up_m))
        ]
        return self.measure(cloud, found)

    def measure(self, cloud: CameraCloud, found: Sequence[tuple[int, Pose]]) -> list[CameraHypothesis]:
        """Hypotheses of some poses, each the number of a scene and scene_from_camera, with the margin of each.

        Poses of one optimum give one hypothesis, the first.
        """
        larger, different = _sample(cloud, _MEASURED), list[tuple[int, Pose]]()
        for scene, pose in found:
            if not any(scene == of and self._is_near(pose, one, _SAME_VOXELS, _SAME_RAD) for of, one in different):
                different.append((scene, pose))
        measured = [self._measure(larger, scene, pose) for scene, pose in different]
        return weigh(measured, voxel_m=self._voxel_m)

    def follow(self, cloud: CameraCloud, scene: int, start: Pose) -> tuple[Pose, float] | None:
        """The optimum next to a pose, scene_from_camera, and the share of points on surfaces there; None without."""
        sample = _sample(cloud, _ALIGNED)
        target = self._prepare(scene).target
        found = self._alignment.align(sample, target, start, reaches=_REACHES_VOXELS[1:], most=_FOLLOWING)
        return None if found is None else (found[0], found[1].support)

    def support_at(self, cloud: CameraCloud, scene: int, pose: Pose) -> float:
        """The share of points on surfaces at a pose, scene_from_camera."""
        return self._alignment.compare(_sample(cloud, _ALIGNED), self._prepare(scene).target, pose).support

    def measure_at(self, cloud: CameraCloud, scene: int, pose: Pose) -> CameraHypothesis:
        """The hypothesis of a pose, scene_from_camera, as it is, without the margin."""
        return self._measure(_sample(cloud, _MEASURED), scene, pose)

    def check_pose(self, cloud: CameraCloud, scene: int, map_from_camera: Pose) -> float:
        """By how much the cloud lies closer to the map's surfaces at a pose than at the poses around it.

        Those are 10 degrees and 0.3 m away, about and along each axis of the camera. At a pose that is off by as much,
        one of them is near the right one: the score is less than `MISFIT` then, where the surfaces hold the pose.

        Returns:
            the difference of the closeness, -1 to 1, to that of the best pose around it.
        """
        larger = _sample(cloud, _MEASURED)
        target, pose = self._prepare(scene).target, self._map.scenes[scene].scene_from(map_from_camera)
        closeness = [
            measure_closeness(larger, self._alignment.compare(larger, target, one), voxel_m=self._voxel_m)
            for one in (pose, *_poses_around(pose))
        ]
        return closeness[0] - max(closeness[1:])

    def check_reach(self, *, reach_m: float, reach_up_m: float) -> None:
        """Refuse a reach for which the lattice would be too large, as of `find`.

        Raises:
            InputError: it would.
        """
        for scene in np.unique(self._map.places[LIDAR].scenes):
            self._make_lattice(int(scene), (reach_m, reach_up_m))

    def points_of(self, scene: int) -> Array:
        """(N, 3) points of a scene, down-sampled, from the scene's origin."""
        return self._prepare(scene).target.points

    def _find_in_scene(
        self, number: int, cloud: CameraCloud, odom_from_camera: Array, reach_m: tuple[float, float]
    ) -> list[Pose]:
        """Refined poses; the reach is horizontal and vertical."""
        # before the points of all places are read, which of a map that is too large do not fit into memory
        lattice = self._make_lattice(number, reach_m)
        scene = self._prepare(number)
        sample, larger = _sample(cloud, _ALIGNED), _sample(cloud, _FINELY_ALIGNED)
        starts = compare_on_lattice(scene.grid, cloud, odom_from_camera, lattice, np.random.default_rng(1))
        first, *others = _REACHES_VOXELS
        near = self._keep_different(self._align_all(sample, scene.target, starts, (first,), _ITERATIONS))[:_GO_ON]
        coarse = self._align_all(sample, scene.target, near, others, _ITERATIONS)
        poses = self._keep_different(coarse)[:_FINALISTS]
        return self._align_all(larger, scene.target, poses, _FINE_REACHES_VOXELS, _FINE_ITERATIONS)

    def _make_lattice(self, number: int, reach_m: tuple[float, float]) -> Array:
        places, (across_m, up_m) = self._map.places[LIDAR], reach_m
        centres = places.translations[places.scenes == number]
        return make_lattice(centres, reach_m=across_m, reach_up_m=up_m, cell_m=self._voxel_m)

    def _align_all(
        self, cloud: CameraCloud, target: PreparedCloud, starts: Sequence[Pose], reaches: Sequence[float], most: int
    ) -> list[Pose]:
        """What becomes of each start that is near surfaces; first those that most points support."""
        aligned = [self._alignment.align(cloud, target, start, reaches=reaches, most=most) for start in starts]
        found = sorted(filter(None, aligned), key=lambda one: -one[1].support)
        return [pose for pose, _ in found]

    def _keep_different(self, found: Sequence[Pose]) -> list[Pose]:
        kept = list[Pose]()
        for pose in found:
            if not any(self._is_near(pose, other, _SAME_VOXELS, _SAME_RAD) for other in kept):
                kept.append(pose)
        return kept

    def _is_near(self, one: Pose, other: Pose, voxels: float, turn_rad: float) -> bool:
        distance_m, turned_rad = one.distance_to(other)
        return bool(distance_m <= voxels * self._voxel_m and turned_rad <= turn_rad)

    def _prepare(self, number: int) -> _Scene:
        if number not in self._scenes:
            places = self._map.places[LIDAR].in_scene(number)
            payload = places.payloads[POINTS_CM]
            points = np.concatenate([places.pose(k).apply(decode_points(payload.of(k))) for k in range(len(places))])
            grid = OccupancyGrid.of_points(points, cell_m=self._voxel_m)
            self._scenes[number] = _Scene(places, self._registration.prepare(points), grid)
        return self._scenes[number]

    def _measure(self, cloud: CameraCloud, number: int, pose: Pose) -> CameraHypothesis:
        """A hypothesis without the margin."""
        scene, of_map = self._prepare(number), self._map.scenes[number]
        agreement = self._alignment.compare(cloud, scene.target, pose)
        known = estimate_camera_covariance(cloud, pose, agreement, self._errors)
        evidence = measure_camera_evidence(
            cloud,
            pose,
            agreement,
            scene.grid,
            scene.places,
            covariance=known.covariance,
            halves_m=known.halves_m,
        )
        return CameraHypothesis(
            number,
            of_map.frame_id,
            pose,
            of_map.map_from(pose),
            evidence,
            known.covariance,
            known.common_errors,
            len(cloud),
            occupied_cells(agreement, cell_m=self._voxel_m),
        )


def weigh(found: Sequence[CameraHypothesis], *, voxel_m: float) -> list[CameraHypothesis]:
    """Hypotheses with the margin of each over the best of another pose."""
    weighed = []
    for one in found:
        others = [other.evidence.strength for other in found if _competes(one, other, voxel_m)]
        margin = min([CLEAR_MARGIN, *(one.evidence.strength - strength for strength in others)])
        weighed.append(replace(one, evidence=replace(one.evidence, margin=margin)))
    return weighed


def _competes(one: CameraHypothesis, other: CameraHypothesis, voxel_m: float) -> bool:
    distance_m, turned_rad = one.scene_from_camera.distance_to(other.scene_from_camera)
    return one.scene != other.scene or distance_m > _COMPETING_VOXELS * voxel_m or turned_rad > _COMPETING_RAD


def _describe_few(cloud: CameraCloud) -> str:
    return (
        f"the images show {len(cloud)} points, at least {LEAST_POINTS} are needed; the camera has to move, and to look "
        "where there is texture"
    )


def _poses_around(pose: Pose) -> list[Pose]:
    steps = [sign * axis for axis in np.eye(3) for sign in (1.0, -1.0)]
    turned = [pose @ Pose.from_rotation_vector(_AROUND_RAD * step, np.zeros(3)) for step in steps]
    return turned + [pose @ Pose(np.eye(3), _AROUND_M * step) for step in steps]


def _sample(cloud: CameraCloud, most: int) -> CameraCloud:
    """Some of the points; those of a larger sample include them."""
    return cloud.select(np.random.default_rng(0).permutation(len(cloud))[:most])
