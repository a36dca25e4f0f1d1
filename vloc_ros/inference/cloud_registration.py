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
_NEIGHBOURS = 12
# the search for correspondences narrows, in voxels
_REACHES = (10.0, 4.0, 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class GicpCloud:
    """A cloud with surface normals and a search tree.

    Attributes:
        points: (N, 3) float64, down-sampled.
        normals: (N, 3) of length 1.
        cloud: of small_gicp.
        tree: of small_gicp.
    """

    points: Array
    normals: Array
    cloud: Any
    tree: Any


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
                f"{error.name} is not installed, which aligns point clouds; pip install 'vloc_ros[lidar]'"
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
        cloud, tree = self._gicp.preprocess_points(
            np.asarray(points, float), self._voxel_m, num_neighbors=_NEIGHBOURS, num_threads=self._threads
        )
        return GicpCloud(np.asarray(cloud.points())[:, :3], np.asarray(cloud.normals())[:, :3], cloud, tree)

    def align_globally(self, source: GicpCloud, target: GicpCloud) -> Pose | None:
        """target_from_source by KISS-Matcher."""
        matcher = self._kiss.KISSMatcher(self._kiss.KISSMatcherConfig(2.0 * self._voxel_m))
        found = matcher.estimate(list(source.points.astype(np.float32)), list(target.points.astype(np.float32)))
        if not found.valid or matcher.get_num_final_inliers() < _MIN_CORRESPONDENCES:
            return None
        return _rigid(np.asarray(found.rotation), np.asarray(found.translation))

    def refine(self, source: GicpCloud, target: GicpCloud, target_from_source: Pose) -> Pose:
        """target_from_source by GICP, with correspondences over ever shorter distances."""
        matrix = target_from_source.matrix
        for reach in _REACHES:
            matrix = self._gicp.align(
                target.cloud,
                source.cloud,
                target.tree,
                matrix,
                max_correspondence_distance=reach * self._voxel_m,
                num_threads=self._threads,
            ).T_target_source
        return _rigid(matrix[:3, :3], matrix[:3, 3]) or target_from_source

    def match(self, source: GicpCloud, target: GicpCloud, target_from_source: Pose) -> SurfaceMatches:
        """The nearest target point to every source point."""
        points = target_from_source.apply(source.points)
        indices, squared = target.tree.batch_nearest_neighbor_search(points, num_threads=self._threads)
        nearest = np.asarray(indices).ravel()
        normals = target.normals[nearest]
        residuals = np.einsum("ij,ij->i", points - target.points[nearest], normals)
        return SurfaceMatches(np.sqrt(np.asarray(squared).ravel()), points, normals, residuals)


def _rigid(rotation: Array, translation: Array) -> Pose | None:
    """The nearest rigid transform; None where numbers are not finite."""
    if not (np.isfinite(rotation).all() and np.isfinite(translation).all()):
        return None
    u, _, vt = np.linalg.svd(rotation)
    return Pose(u @ np.diag([1.0, 1.0, np.linalg.det(u @ vt)]) @ vt, translation.reshape(3))
