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

"""Duplicate points: one point of the world that was mapped twice, near in space and similar in appearance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.geometry.pose import Array

# over the distance from which a point is observed: ten pixels of a usual camera, and the uncertainty of depth
NEAR_RAD = 0.02
# points whose neighbours are compared at once, which takes some 100 MB
_BLOCK = 1 << 13
_NEIGHBOURS = 8


@dataclass(frozen=True, slots=True, eq=False)
class DescribedPoints:
    """Points with descriptors.

    Attributes:
        points: (N, 3) metres.
        descriptors_of: gives (M, d) float32 descriptors of (M,) points in the space of one codec; all at once may be
            gigabytes.
    """

    points: Array
    descriptors_of: Callable[[Array], Array]

    def __len__(self) -> int:
        return len(self.points)


def find_duplicate_points(
    points: DescribedPoints, others: DescribedPoints, *, radius_m: Array, max_distance: float
) -> Array:
    """(N,) int64 duplicate of each point among others, the most similar within its radius; -1 for none.

    Args:
        points: N points.
        others: of the same frame and descriptor space.
        radius_m: (N,) radius within which a duplicate lies.
        max_distance: largest descriptor distance.
    """
    if not len(points) or not len(others):
        return np.full(len(points), -1, np.int64)
    tree = cKDTree(others.points)
    blocks = (np.arange(start, min(start + _BLOCK, len(points))) for start in range(0, len(points), _BLOCK))
    return np.concatenate(
        [_duplicates_of(points, block, others, tree, radius_m[block], max_distance) for block in blocks]
    )


def _duplicates_of(
    points: DescribedPoints, block: Array, others: DescribedPoints, tree: cKDTree, radius_m: Array, max_distance: float
) -> Array:
    """(B,) `find_duplicate_points` of (B,) of the points, with the tree of the others."""
    count = min(_NEIGHBOURS, len(others))
    apart_m, near = (a.reshape(len(block), count) for a in tree.query(points.points[block], k=count))
    theirs = others.descriptors_of(near.reshape(-1)).reshape(*near.shape, -1)
    distances = np.linalg.norm(points.descriptors_of(block)[:, None] - theirs, axis=2)
    distances[apart_m > radius_m[:, None]] = np.inf
    best = distances.argmin(axis=1)
    rows = np.arange(len(block))
    return np.where(distances[rows, best] <= max_distance, near[rows, best], -1).astype(np.int64)
