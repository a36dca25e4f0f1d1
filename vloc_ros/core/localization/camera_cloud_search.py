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
surfaces, see `camera_cloud_alignment`. What is found are hypotheses: no table has been fitted that would accept one,
and none has a covariance.
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
from vloc_ros.core.localization.camera_cloud_lattice import compare_on_lattice, make_lattice
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.occupancy_grid import OccupancyGrid
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR

_ALIGNED, _FINELY_ALIGNED = 1500, 6000
_COMPETING_VOXELS, _COMPETING_RAD = 10.0, 0.3
_REACHES_VOXELS, _ITERATIONS = (4.0, 3.0, 1.5), 6
# starts that lead to one optimum are refined once: the others are of other places, which compete with it
_SAME_VOXELS, _SAME_RAD = 2.0, 0.05
_FINALISTS, _FINE_REACHES_VOXELS, _FINE_ITERATIONS = 8, (2.0, 1.0), 20


@dataclass(frozen=True, slots=True, eq=False)
class CameraHypothesis:
    """A pose that the camera may have.

    Attributes:
        scene: number of the scene.
        frame_id: of the scene.
        scene_from_camera: the pose of the optical frame, from the scene's origin.
        map_from_camera: the same in the map's frame.
        support: share of the cloud's points that lie on surfaces of the map, 0 to 1.
        margin: by how much that is more than the best other pose has, `CLEAR_MARGIN` at most and where there is none.
        points: of the cloud.
    """

    scene: int
    frame_id: str
    scene_from_camera: Pose
    map_from_camera: Pose
    support: float
    margin: float
    points: int


class CameraCloudSearch:
    """Compares clouds of a camera with the LiDAR places of one map. What is derived from the map is kept."""

    def __init__(self, landmark_map: LandmarkMap, registration: CloudRegistration, *, voxel_m: float) -> None:
        """A search in a map with LiDAR places, see `assembly.build_camera_cloud_search`.

        Args:
            landmark_map: the map.
            registration: finds the nearest surfaces.
            voxel_m: size of the voxels that it down-samples to.
        """
        self._map, self._registration, self._voxel_m = landmark_map, registration, voxel_m
        self._alignment = CameraAlignment(registration, voxel_m)
        self._places = landmark_map.places[LIDAR]
        self._scenes: dict[int, tuple[PreparedCloud, OccupancyGrid]] = {}

    def find(self, cloud: CameraCloud, odom_from_camera: Array, *, reach_m: float) -> list[CameraHypothesis]:
        """The refined hypotheses, best first, with the margin of each.

        Args:
            cloud: in the optical frame.
            odom_from_camera: (3, 3) rotation of the optical frame in a frame whose z axis points up.
            reach_m: horizontal distance from the camera to the next place at most.

        Raises:
            InputError: the cloud has too few points, or the lattice would be too large.
        """
        if len(cloud) < LEAST_POINTS:
            raise InputError(
                f"the images show {len(cloud)} points, at least {LEAST_POINTS} are needed; the camera has to move, "
                "and to look where there is texture"
            )
        found = [
            one
            for scene in np.unique(self._places.scenes)
            for one in self._find_in_scene(int(scene), cloud, odom_from_camera, reach_m)
        ]
        return self._weigh(sorted(found, key=lambda one: -one.support))

    def _find_in_scene(
        self, number: int, cloud: CameraCloud, odom_from_camera: Array, reach_m: float
    ) -> list[CameraHypothesis]:
        (target, grid), scene = self._prepare(number), self._map.scenes[number]
        centres = self._places.translations[self._places.scenes == number]
        lattice = make_lattice(centres, reach_m=reach_m, cell_m=self._voxel_m)
        order = np.random.default_rng(0).permutation(len(cloud))
        sample, larger = cloud.select(order[:_ALIGNED]), cloud.select(order[:_FINELY_ALIGNED])
        starts = compare_on_lattice(grid, cloud, odom_from_camera, lattice, np.random.default_rng(1))
        coarse = self._align_all(sample, target, starts, _REACHES_VOXELS, _ITERATIONS)
        poses = self._keep_different(coarse)[:_FINALISTS]
        fine = self._align_all(larger, target, poses, _FINE_REACHES_VOXELS, _FINE_ITERATIONS)
        return [
            CameraHypothesis(number, scene.frame_id, pose, scene.map_from(pose), support, 0.0, len(cloud))
            for pose, support in fine
        ]

    def _align_all(
        self, cloud: CameraCloud, target: PreparedCloud, starts: Sequence[Pose], reaches: Sequence[float], most: int
    ) -> list[tuple[Pose, float]]:
        """What becomes of each start that is near surfaces, and its support, best first."""
        aligned = [self._alignment.align(cloud, target, start, reaches=reaches, most=most) for start in starts]
        found = [(pose, agreement.support) for pose, agreement in filter(None, aligned)]
        return sorted(found, key=lambda one: -one[1])

    def _keep_different(self, found: Sequence[tuple[Pose, float]]) -> list[Pose]:
        kept = list[Pose]()
        for pose, _ in found:
            if not any(self._is_near(pose, other, _SAME_VOXELS, _SAME_RAD) for other in kept):
                kept.append(pose)
        return kept

    def _is_near(self, one: Pose, other: Pose, voxels: float, turn_rad: float) -> bool:
        distance_m, turned_rad = one.distance_to(other)
        return bool(distance_m <= voxels * self._voxel_m and turned_rad <= turn_rad)

    def _prepare(self, number: int) -> tuple[PreparedCloud, OccupancyGrid]:
        """The points of all places of a scene, with normals, and the grid of them."""
        if number not in self._scenes:
            rows = np.flatnonzero(self._places.scenes == number)
            payload = self._places.payloads[POINTS_CM]
            points = np.concatenate([self._places.pose(int(k)).apply(decode_points(payload.of(int(k)))) for k in rows])
            grid = OccupancyGrid.of_points(points, cell_m=self._voxel_m)
            self._scenes[number] = self._registration.prepare(points), grid
        return self._scenes[number]

    def _weigh(self, found: Sequence[CameraHypothesis]) -> list[CameraHypothesis]:
        weighed = []
        for one in found:
            others = [other.support for other in found if self._competes(one, other)]
            weighed.append(replace(one, margin=min([CLEAR_MARGIN, *(one.support - support for support in others)])))
        return weighed

    def _competes(self, one: CameraHypothesis, other: CameraHypothesis) -> bool:
        near = self._is_near(one.map_from_camera, other.map_from_camera, _COMPETING_VOXELS, _COMPETING_RAD)
        return one.frame_id != other.frame_id or not near
