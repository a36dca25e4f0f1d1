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

"""Pairs of images to match."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from scipy.spatial.distance import cdist

from vloc_ros.core.geometry.pose import Array, Pose

Pair = tuple[int, int]
_NEXT_FRAMES = 5
# moving by this part of the scene's extent changes a view as much as turning by this angle
_EXTENT_PART, _EQUAL_TURN_RAD = 0.15, 0.5


def pairs_by_pose(
    poses: Sequence[Pose], *, per_image: int, max_angle_rad: float, sets: Array | None = None
) -> list[Pair]:
    """For every image those with similar poses, and the next few of the sequence.

    Args:
        poses: of all images.
        per_image: number of images with similar poses.
        max_angle_rad: between the viewing directions of such images.
        sets: (N,) ascending numbers of the sets that cameras of a rig took together; None for one camera. Those of the
            next few sets are compared where they look the same way: cameras of a rig may look apart.
    """
    centres = np.stack([pose.translation for pose in poses])
    directions = np.stack([pose.rotation[:, 2] for pose in poses])
    turns = np.arccos(np.clip(directions @ directions.T, -1.0, 1.0))
    distances = cdist(centres, centres)
    extent = max(float(np.percentile(distances, 90)), 1e-9)
    cost = distances / (_EXTENT_PART * extent) + turns / _EQUAL_TURN_RAD
    cost[turns > max_angle_rad] = np.inf
    np.fill_diagonal(cost, np.inf)
    pairs = _next_of_rig(sets, turns <= max_angle_rad) if sets is not None else _next(len(poses), _NEXT_FRAMES)
    for i, row in enumerate(cost):
        nearest = [int(j) for j in np.argsort(row, kind="stable")[:per_image] if np.isfinite(row[j])]
        pairs |= {(min(i, j), max(i, j)) for j in nearest}
    return sorted(pairs)


def pairs_by_similarity(descriptors: Array, *, per_image: int, exhaustive_max: int) -> list[Pair]:
    """Without poses: all pairs of few images; of many, the next ones of the sequence and the most similar.

    Args:
        descriptors: (N, D) global descriptors, L2-normalised.
        per_image: number of most similar images, and of next ones.
        exhaustive_max: up to this many images all pairs are taken.
    """
    count = len(descriptors)
    if count <= exhaustive_max:
        return list(combinations(range(count), 2))
    similarity = descriptors @ descriptors.T
    np.fill_diagonal(similarity, -np.inf)
    pairs = _next(count, per_image)
    for i, row in enumerate(similarity):
        pairs |= {(min(i, int(j)), max(i, int(j))) for j in np.argsort(-row, kind="stable")[:per_image] if j != i}
    return sorted(pairs)


def _next(count: int, following: int) -> set[Pair]:
    """Every image with so many after it."""
    return {(i, j) for i in range(count) for j in range(i + 1, min(i + 1 + following, count))}


def _next_of_rig(sets: Array, same_way: Array) -> set[Pair]:
    """Every image with the later ones of its own set and of the next few, of those that (N, N) look the same way."""
    ends = np.searchsorted(sets, sets + _NEXT_FRAMES, side="right")
    return {(i, int(j)) for i, end in enumerate(ends) for j in i + 1 + np.flatnonzero(same_way[i, i + 1 : end])}
