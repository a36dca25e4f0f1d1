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

Which way is down is known from odometry, so that position and heading are left. All of them on a lattice around the
places are compared at once, in a grid of the places' points, as correlative scan matching does (Olson, ICRA 2009). The
best are refined to the surfaces by iterated closest points, point to plane, where each point counts by its uncertainty
along its ray. What is found are hypotheses: no table has been fitted that would accept one, and none has a covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.clouds.alignment import CloudRegistration, PreparedCloud, SurfaceMatches
from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.clouds.place_clouds import POINTS_CM, decode_points
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.occupancy_grid import OccupancyGrid
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR

_YAWS, _STEP_VOXELS, _REACH_UP_VOXELS = 36, 2.0, 4.0
_LEAST_POINTS, _COMPARED, _ALIGNED, _FINELY_ALIGNED = 200, 300, 1500, 6000
# points that are less certain are compared only where too few are certain
_CERTAIN_VOXELS = 1.5
# hypotheses that are refined; poses of the lattice that are nearer to a better one are of the same hypothesis
_REFINED, _SAME_VOXELS, _SAME_YAW_RAD = 30, 3.0, 0.2
# refined poses that differ by more compete
_COMPETING_VOXELS, _COMPETING_RAD = 10.0, 0.3
_REACHES_VOXELS, _ITERATIONS, _CONVERGED = (4.0, 3.0, 1.5), 6, 1e-3
# the best of them are refined further, with more points
_FINALISTS, _FINE_REACHES_VOXELS, _FINE_ITERATIONS = 8, (2.0, 1.0), 20
# of the map's surfaces, and where the robust loss begins to bend, in standard deviations
_SURFACE_VOXELS, _BEND = 0.3, 1.5
# of the lattice; and poses of it among which the hypotheses are chosen
_MOST_POSITIONS, _CONSIDERED = 300_000, 100_000


@dataclass(frozen=True, slots=True, eq=False)
class CameraHypothesis:
    """A pose that the camera may have.

    Attributes:
        frame_id: of the scene.
        map_from_camera: the pose of the optical frame.
        support: share of the cloud's points that lie on surfaces of the map, 0 to 1.
        margin: by how much that is more than the best other pose has, `CLEAR_MARGIN` at most and where there is none.
        points: of the cloud.
    """

    frame_id: str
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
        if len(cloud) < _LEAST_POINTS:
            raise InputError(
                f"the images show {len(cloud)} points, at least {_LEAST_POINTS} are needed; the camera has to move, "
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
        positions = self._lattice(number, reach_m)
        rng = np.random.default_rng(0)
        order = rng.permutation(len(cloud))
        sample, larger = cloud.select(order[:_ALIGNED]), cloud.select(order[:_FINELY_ALIGNED])
        starts = self._compare(grid, self._choose_certain(cloud, rng), odom_from_camera, positions)
        coarse = self._align_all(sample, target, starts, _REACHES_VOXELS, _ITERATIONS)
        poses = [pose for pose, _ in coarse[:_FINALISTS]]
        return [
            CameraHypothesis(scene.frame_id, scene.map_from(pose), support, 0.0, len(cloud))
            for pose, support in self._align_all(larger, target, poses, _FINE_REACHES_VOXELS, _FINE_ITERATIONS)
        ]

    def _align_all(
        self, cloud: CameraCloud, target: PreparedCloud, starts: Sequence[Pose], reaches: Sequence[float], most: int
    ) -> list[tuple[Pose, float]]:
        """What becomes of each start that is near surfaces, see `_align`, by support."""
        aligned = [self._align(cloud, target, start, reaches, most) for start in starts]
        return sorted((one for one in aligned if one is not None), key=lambda one: -one[1])

    def _prepare(self, number: int) -> tuple[PreparedCloud, OccupancyGrid]:
        """The points of all places of a scene, with normals, and the grid of them."""
        if number not in self._scenes:
            rows = np.flatnonzero(self._places.scenes == number)
            payload = self._places.payloads[POINTS_CM]
            points = np.concatenate([self._places.pose(int(k)).apply(decode_points(payload.of(int(k)))) for k in rows])
            grid = OccupancyGrid.of_points(points, cell_m=self._voxel_m)
            self._scenes[number] = self._registration.prepare(points), grid
        return self._scenes[number]

    def _lattice(self, number: int, reach_m: float) -> Array:
        """(P, 3) positions around the places of a scene, each once.

        Raises:
            InputError: they are too many.
        """
        step_m = _STEP_VOXELS * self._voxel_m
        across, up = (int(np.ceil(reach / step_m)) for reach in (reach_m, _REACH_UP_VOXELS * self._voxel_m))
        self._check_count((2 * across + 1) ** 2, reach_m)
        offsets = np.mgrid[-across : across + 1, -across : across + 1, -up : up + 1].reshape(3, -1).T
        offsets = offsets[np.hypot(offsets[:, 0], offsets[:, 1]) <= max(reach_m / step_m, 1.0)]
        centres = np.round(self._places.translations[self._places.scenes == number] / step_m).astype(np.int64)
        around = (np.unique(centres, axis=0)[:, None] + offsets).reshape(-1, 3)
        positions = np.unique(around, axis=0)
        self._check_count(len(positions), reach_m)
        return np.asarray(positions * step_m)

    def _check_count(self, positions: int, reach_m: float) -> None:
        if positions > _MOST_POSITIONS:
            raise InputError(
                f"{positions} positions lie within {reach_m:g} m of the places of the map {self._map.name}, expected "
                f"{_MOST_POSITIONS} at most; reduce the reach, or cut the map"
            )

    def _choose_certain(self, cloud: CameraCloud, rng: np.random.Generator) -> Array:
        """(N, 3) points to compare, those that are certain to a voxel or two where there are enough."""
        certain = np.flatnonzero(cloud.stds_m < _CERTAIN_VOXELS * self._voxel_m)
        if len(certain) < _LEAST_POINTS:
            certain = np.argsort(cloud.stds_m)[:_LEAST_POINTS]
        return np.asarray(cloud.points[rng.choice(certain, min(_COMPARED, len(certain)), replace=False)])

    def _compare(self, grid: OccupancyGrid, points: Array, odom_from_camera: Array, positions: Array) -> list[Pose]:
        """The poses of the lattice at which most points lie on surfaces, of different hypotheses."""
        turns = [_turn(yaw) @ odom_from_camera for yaw in np.arange(_YAWS) * 2 * np.pi / _YAWS]
        scores = np.stack([grid.score(points @ turn.T, positions) for turn in turns])
        best = np.argsort(-scores, axis=None, kind="stable")[:_CONSIDERED]
        yaws, rows = np.unravel_index(best, scores.shape)
        chosen = list[tuple[int, Array]]()
        while len(yaws) and len(chosen) < _REFINED:
            yaw, position = int(yaws[0]), positions[rows[0]]
            chosen.append((yaw, position))
            turn = np.abs((yaws - yaw + _YAWS // 2) % _YAWS - _YAWS // 2) * 2 * np.pi / _YAWS
            apart = np.linalg.norm(positions[rows] - position, axis=1) > _SAME_VOXELS * self._voxel_m
            kept = apart | (turn > _SAME_YAW_RAD)
            yaws, rows = yaws[kept], rows[kept]
        return [Pose(turns[yaw], position) for yaw, position in chosen]

    def _align(
        self, cloud: CameraCloud, target: PreparedCloud, start: Pose, reaches: Sequence[float], most: int
    ) -> tuple[Pose, float] | None:
        """The pose at the next optimum and its support; None where nothing is near."""
        pose = start
        for reach in reaches:
            for _ in range(most):
                matches = self._registration.match(cloud, target, pose)
                near = matches.distances < reach * self._voxel_m
                if near.sum() < _LEAST_POINTS / 4:
                    return None
                information, gradient = self._linearize(cloud, matches, pose, near)
                step = -np.linalg.solve(information + 1e-6 * np.eye(6), gradient)
                turned = Pose.from_rotation_vector(step[3:], np.zeros(3)).rotation @ pose.rotation
                pose = Pose(turned, pose.translation + step[:3])
                if np.linalg.norm(step) < _CONVERGED:
                    break
        matches = self._registration.match(cloud, target, pose)
        stds = self._stds(cloud, matches, pose)
        reach_m = 3 * _SURFACE_VOXELS * self._voxel_m + 2 * cloud.stds_m
        on_surface = (np.abs(matches.residuals) < 2 * stds) & (matches.distances < reach_m)
        return pose, float(on_surface.mean())

    def _stds(self, cloud: CameraCloud, matches: SurfaceMatches, pose: Pose) -> Array:
        """(N,) standard deviation of each residual along the normal of its surface."""
        across = np.einsum("ij,ij->i", cloud.rays @ pose.rotation.T, matches.normals)
        return np.asarray(np.hypot(_SURFACE_VOXELS * self._voxel_m, across * cloud.stds_m))

    def _linearize(self, cloud: CameraCloud, matches: SurfaceMatches, pose: Pose, used: Array) -> tuple[Array, Array]:
        """(6, 6) information and (6,) gradient of some residuals under the loss of Geman and McClure."""
        stds, residuals, normals = (
            self._stds(cloud, matches, pose)[used],
            matches.residuals[used],
            matches.normals[used],
        )
        weights = 1.0 / (stds * (1.0 + (residuals / (_BEND * stds)) ** 2)) ** 2
        jacobian = np.column_stack([normals, np.cross(matches.points[used] - pose.translation, normals)])
        return jacobian.T @ (jacobian * weights[:, None]), jacobian.T @ (weights * residuals)

    def _weigh(self, found: Sequence[CameraHypothesis]) -> list[CameraHypothesis]:
        weighed = []
        for one in found:
            others = [other.support for other in found if self._competes(one, other)]
            weighed.append(replace(one, margin=min([CLEAR_MARGIN, *(one.support - support for support in others)])))
        return weighed

    def _competes(self, one: CameraHypothesis, other: CameraHypothesis) -> bool:
        distance_m, turn_rad = one.map_from_camera.distance_to(other.map_from_camera)
        apart = distance_m > _COMPETING_VOXELS * self._voxel_m or turn_rad > _COMPETING_RAD
        return one.frame_id != other.frame_id or apart


def _turn(yaw: float) -> Array:
    return Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3)).rotation
