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

"""Registration of clouds: KISS-Matcher (Lim et al., ICRA 2025) without an initial guess, small_gicp from one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from vloc_ros.core.clouds.alignment import SurfaceMatches
from vloc_ros.core.errors import MissingDependencyError
from vloc_ros.core.geometry.pose import Array, Pose

# fewer correspondences that agree are of chance
_MIN_CORRESPONDENCES = 5
# points that have this many points within so many voxels, themselves included, get a descriptor by KISS-Matcher for
# certain: each of them has as many within its radius of normals, which is twice that
_DESCRIBED_NEIGHBOURS, _DESCRIBED_VOXELS = 3, 1.5
_NEIGHBOURS = 12
# vertical part of the normals of what is no level ground: less strict than upright, as more points help to align
_NOT_LEVEL = 0.85
# the search for correspondences narrows, in voxels: first between clouds of larger voxels, then of all points
_COARSE, _COARSE_REACHES, _REACH = 2.0, (10.0, 4.0), 2.0


@dataclass(frozen=True, slots=True, eq=False)
class GicpCloud:
    """A cloud with surface normals and a search tree.

    Attributes:
        points: (N, 3) float64, down-sampled.
        normals: (N, 3) of length 1.
        cloud: of small_gicp.
        tree: of small_gicp.
        coarse: cloud and tree of larger voxels.
    """

    points: Array
    normals: Array
    cloud: Any
    tree: Any
    coarse: tuple[Any, Any]


class KissGicpRegistration:
    """KISS-Matcher, then GICP. The libraries are loaded when the first cloud is prepared."""

    def __init__(self, *, voxel_m: float, threads: int = 1) -> None:
        self._voxel_m, self._threads = voxel_m, threads

    def check_installed(self) -> None:
        """Raise MissingDependencyError where a library is not installed."""
        assert self._libraries

    @cached_property
    def _libraries(self) -> tuple[Any, Any]:
        try:
            import kiss_matcher
            import small_gicp
        except ImportError as error:
            raise MissingDependencyError(
                f"{error.name} is not installed, which aligns point clouds; pip install kiss-matcher small_gicp"
            ) from error
        return kiss_matcher, small_gicp

    @property
    def _kiss(self) -> Any:
        return self._libraries[0]

    @property
    def _gicp(self) -> Any:
        return self._libraries[1]

    def prepare(self, points: Array) -> GicpCloud:
        """A cloud of (N, 3) points down-sampled to the voxel, with normals."""
        cloud, tree = self._preprocess(points, self._voxel_m)
        normals = np.asarray(cloud.normals())[:, :3]
        coarse = self._preprocess(points, _COARSE * self._voxel_m)
        return GicpCloud(np.asarray(cloud.points())[:, :3], normals, cloud, tree, coarse)

    def _preprocess(self, points: Array, voxel_m: float) -> tuple[Any, Any]:
        cloud, tree = self._gicp.preprocess_points(
            np.asarray(points, float), voxel_m, num_neighbors=_NEIGHBOURS, num_threads=self._threads
        )
        return cloud, tree

    def align_globally(self, source: GicpCloud, target: GicpCloud) -> Pose | None:
        """target_from_source by KISS-Matcher, between the surfaces that are not level, of clouds whose z axes point up.

        None where it finds none, and where a cloud shows too few of them, such as the floor alone.
        """
        points = [_points_not_level(source), _points_not_level(target)]
        if not all(self._can_be_described(one) for one in points):
            return None
        config = self._kiss.KISSMatcherConfig(self._voxel_m, use_voxel_sampling=False, use_quatro=True)
        matcher = self._kiss.KISSMatcher(config)
        found = matcher.estimate(*(list(one.astype(np.float32)) for one in points))
        if not found.valid or matcher.get_num_final_inliers() < _MIN_CORRESPONDENCES:
            return None
        return _rigid(np.asarray(found.rotation), np.asarray(found.translation))

    def _can_be_described(self, points: Array) -> bool:
        """Whether KISS-Matcher finds descriptors in (N, 3) points; without any, it reads beyond its memory."""
        if len(points) < max(_MIN_CORRESPONDENCES, _DESCRIBED_NEIGHBOURS):
            return False
        _, squared = self._gicp.KdTree(points).batch_knn_search(points, _DESCRIBED_NEIGHBOURS)
        described = np.asarray(squared)[:, -1] < (_DESCRIBED_VOXELS * self._voxel_m) ** 2
        return int(described.sum()) >= _MIN_CORRESPONDENCES

    def approach(self, source: GicpCloud, target: GicpCloud, target_from_source: Pose) -> tuple[Pose, float]:
        """target_from_source by GICP of coarse clouds, and the share of what is not level that lies on the target."""
        matrix = target_from_source.matrix
        for reach in _COARSE_REACHES:
            matrix = self._align(source.coarse[0], *target.coarse, matrix, reach)
        found = _rigid(matrix[:3, :3], matrix[:3, 3]) or target_from_source
        not_level = np.abs(np.asarray(source.coarse[0].normals())[:, 2]) < _NOT_LEVEL
        points = found.apply(np.asarray(source.coarse[0].points())[not_level, :3])
        if not len(points):
            return found, 0.0
        _, squared = target.coarse[1].batch_nearest_neighbor_search(points, num_threads=self._threads)
        return found, float((np.asarray(squared) < (_COARSE * self._voxel_m) ** 2).mean())

    def refine(self, source: GicpCloud, target: GicpCloud, target_from_source: Pose) -> Pose:
        """target_from_source by GICP from a pose that is off by a voxel or two."""
        matrix = self._align(source.cloud, target.cloud, target.tree, target_from_source.matrix, _REACH)
        return _rigid(matrix[:3, :3], matrix[:3, 3]) or target_from_source

    def _align(self, source: Any, target: Any, tree: Any, matrix: Array, reach: float) -> Array:
        """(4, 4) target_from_source of the next local optimum, with correspondences up to so many voxels apart."""
        found = self._gicp.align(
            target,
            source,
            tree,
            matrix,
            max_correspondence_distance=reach * self._voxel_m,
            num_threads=self._threads,
        )
        return np.asarray(found.T_target_source)

    def match(self, source: GicpCloud, target: GicpCloud, target_from_source: Pose) -> SurfaceMatches:
        """The nearest target point to every source point."""
        points = target_from_source.apply(source.points)
        indices, squared = target.tree.batch_nearest_neighbor_search(points, num_threads=self._threads)
        nearest = np.asarray(indices).ravel()
        normals = target.normals[nearest]
        residuals = np.einsum("ij,ij->i", points - target.points[nearest], normals)
        return SurfaceMatches(np.sqrt(np.asarray(squared).ravel()), points, normals, residuals)


def _points_not_level(cloud: GicpCloud) -> Array:
    """(N, 3) the points that do not lie on level ground, which says nothing about the position on it."""
    return cloud.points[np.abs(cloud.normals[:, 2]) < _NOT_LEVEL]


def _rigid(rotation: Array, translation: Array) -> Pose | None:
    """The nearest rigid transform; None where numbers are not finite."""
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    u, _, vt = np.linalg.svd(rotation)
    return Pose(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt, translation.reshape(3))
