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

"""Landmarks of a map that is extended: old ones keep their numbers and keys, and take in points within them."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import divide_into_landmarks

# the part of a landmark's points that its radius holds, as where landmarks are defined
_EXTENT_PERCENTILE = 90.0


def grow_landmarks(
    landmark_map: LandmarkMap, frame_id: str, points: Array, distances: Array, config: MappingConfig
) -> tuple[Array, LandmarkTable]:
    """(N,) int32 landmark of each new point, and the map's landmarks with the new ones behind them.

    A new point belongs to the landmark of the nearest old point where it lies within that landmark's radius, so that
    a landmark gets denser and not larger. The others are divided into landmarks of their own, in coarse landmarks of
    their own; where they are too few for one they go to the nearest.

    Args:
        landmark_map: the map.
        frame_id: the scene that grows.
        points: (N, 3) new points, metres from the scene's origin.
        distances: (N,) metres that they are observed from.
        config: size of a new landmark.
    """
    table = landmark_map.landmarks
    if not len(points):
        return np.zeros(0, np.int32), table
    mine = landmark_map.scene(frame_id).points
    old_points, old_ids = (a[mine.start : mine.stop] for a in (landmark_map.points, landmark_map.landmark_ids))
    ids = old_ids[cKDTree(old_points).query(points)[1]].astype(np.int32)
    centres, radii = _extents(old_points, old_ids, np.unique(ids))
    beyond = np.flatnonzero(np.linalg.norm(points - centres[ids], axis=1) > radii[ids])
    if len(beyond) < config.landmark_min_points:
        return ids, table
    new_ids, new = divide_into_landmarks(points[beyond], distances[beyond], config)
    ids[beyond] = new_ids + np.int32(len(table))
    parents = np.concatenate([table.parents, new.parents + np.int32(table.coarse_count)])
    return ids, LandmarkTable(np.concatenate([table.keys, new.keys]), parents)


def _extents(points: Array, ids: Array, wanted: Array) -> tuple[Array, Array]:
    """(L, 3) centres and (L,) radii of the wanted landmarks, by their numbers; zero for others."""
    centres, radii = np.zeros((ids.max() + 1, 3)), np.zeros(ids.max() + 1)
    order = np.argsort(ids, kind="stable")
    starts = np.searchsorted(ids[order], wanted, side="left")
    ends = np.searchsorted(ids[order], wanted, side="right")
    for landmark, start, end in zip(wanted, starts, ends, strict=True):
        own = points[order[start:end]].astype(np.float64)
        centres[landmark] = np.median(own, axis=0)
        radii[landmark] = np.percentile(np.linalg.norm(own - centres[landmark], axis=1), _EXTENT_PERCENTILE)
    return centres, radii
