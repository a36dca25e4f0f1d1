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

"""Alignment of clouds: what a registration finds, and how well two clouds agree there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose

# directions of the views in which clouds are compared along their rays
_COLUMNS, _ROWS = 180, 45
_LOWEST_RAD, _HIGHEST_RAD = -0.6, 0.6
# a ray that ends so much behind a surface went through it: voxels, and a share of the distance
_THROUGH_VOXELS, _THROUGH_SHARE = 1.75, 0.03


@dataclass(frozen=True, slots=True, eq=False)
class SurfaceMatches:
    """The nearest points of a target to the points of a source, where the source was aligned.

    Attributes:
        distances: (N,) metres from each source point to the nearest target point.
        points: (N, 3) of the source in the target's frame.
        normals: (N, 3) of the target at the nearest point.
        residuals: (N,) metres along that normal.
    """

    distances: Array
    points: Array
    normals: Array
    residuals: Array


class PreparedCloud(Protocol):
    """A cloud with what a registration derives from it once."""

    @property
    def points(self) -> Array:
        """(N, 3) float64, down-sampled."""
        ...

    @property
    def normals(self) -> Array:
        """(N, 3) of the surfaces, of length 1, of either sign."""
        ...


class CloudRegistration(Protocol):
    """Aligns clouds."""

    def prepare(self, points: Array) -> PreparedCloud:
        """A cloud of (N, 3) points, ready to be aligned with others."""
        ...

    def align_globally(self, source: Any, target: Any) -> Pose | None:
        """target_from_source without an initial guess; None where nothing is found."""
        ...

    def approach(self, source: Any, target: Any, target_from_source: Pose) -> tuple[Pose, float]:
        """target_from_source from a guess that is off by a few metres and degrees, and how much overlaps there.

        Returns:
            the pose, good to a voxel, and the share of the source's points that lie on the target, 0 to 1, without
            those of level surfaces.
        """
        ...

    def refine(self, source: Any, target: Any, target_from_source: Pose) -> Pose:
        """target_from_source refined from a pose that is off by a voxel or two."""
        ...

    def match(self, source: Any, target: Any, target_from_source: Pose) -> SurfaceMatches:
        """What of the target each source point lies on."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class CloudVisibility:
    """How points lie to what a sensor sees in their directions; all three False where it sees nothing there.

    Attributes:
        seen_through: (N,) bool, clearly before all of it: a ray went through the point.
        in_view: (N,) bool, neither clearly before nor clearly behind it.
        occluded: (N,) bool, clearly behind all of it: the sensor cannot tell.
    """

    seen_through: Array
    in_view: Array
    occluded: Array


def find_visibility(points: Array, others: Array, *, voxel_m: float) -> CloudVisibility:
    """How points lie to what a sensor at the origin sees in their directions.

    Args:
        points: (N, 3) in the frame of a sensor, z up.
        others: (M, 3) what that sensor sees.
        voxel_m: size of their voxels.
    """
    clear_m = _THROUGH_VOXELS * voxel_m
    seen_through, comparable = find_seen_through(points, others, clear_m=clear_m)
    farthest = np.zeros(_ROWS * _COLUMNS)
    cell, distance = _cells(others)
    np.maximum.at(farthest, cell[cell >= 0], distance[cell >= 0])
    cell, distance = _cells(points)
    behind = distance - farthest[np.maximum(cell, 0)]
    occluded = comparable & (behind > clear_m + _THROUGH_SHARE * distance)
    return CloudVisibility(seen_through, comparable & ~seen_through & ~occluded, occluded)


def find_seen_through(points: Array, others: Array, *, clear_m: float | Array) -> tuple[Array, Array]:
    """Which points lie clearly before what a sensor at the origin sees in their direction.

    Args:
        points: (N, 3) in the frame of a sensor, z up.
        others: (M, 3) what that sensor sees.
        clear_m: by how much, and by a share of the distance, a surface has to be further away.

    Returns:
        (N,) bool, and (N,) bool whether anything is seen in their direction.
    """
    nearest = np.full(_ROWS * _COLUMNS, np.inf)
    cell, distance = _cells(others)
    np.minimum.at(nearest, cell[cell >= 0], distance[cell >= 0])
    cell, distance = _cells(points)
    comparable = (cell >= 0) & np.isfinite(nearest[np.maximum(cell, 0)])
    behind = np.where(comparable, nearest[np.maximum(cell, 0)], 0.0) - distance
    return comparable & (behind > clear_m + _THROUGH_SHARE * distance), comparable


def _cells(points: Array) -> tuple[Array, Array]:
    """(N,) bin of the direction of each point, -1 outside, and (N,) its distance."""
    distance = np.linalg.norm(points, axis=1)
    elevation = np.arcsin(np.clip(points[:, 2] / np.maximum(distance, 1e-9), -1.0, 1.0))
    row = np.floor((elevation - _LOWEST_RAD) / (_HIGHEST_RAD - _LOWEST_RAD) * _ROWS).astype(int)
    column = np.floor(np.arctan2(points[:, 1], points[:, 0]) / (2 * np.pi) % 1.0 * _COLUMNS).astype(int)
    inside = (row >= 0) & (row < _ROWS)
    return np.where(inside, row * _COLUMNS + np.minimum(column, _COLUMNS - 1), -1), distance


def find_open_direction(normals: Array) -> tuple[float, Array]:
    """How little surfaces hold a position in its worst direction, and that direction.

    Returns:
        Smallest eigenvalue of the mean outer product of (N, 3) normals, 0 to 1/3, as in degeneracy analysis (Zhang,
        Kaess and Singh, ICRA 2016), and its (3,) eigenvector.
    """
    if not len(normals):
        return 0.0, np.array([1.0, 0.0, 0.0])
    values, vectors = np.linalg.eigh(normals.T @ normals / len(normals))
    return float(values[0]), np.asarray(vectors[:, 0])
