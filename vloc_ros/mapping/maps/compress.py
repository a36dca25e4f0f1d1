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

"""Compression: fewer points, selected so that every keyframe still observes enough of them all over its image.

A query is localized by some dozens of well-spread points; most maps hold many times that. The points are ordered by how
much each adds to what the keyframes observe: a keyframe's view is divided into cells of directions, and a further point
in a cell adds less than the one before. That sum is submodular, so that taking the best point next is within 1 - 1/e of
the best selection of any number (Nemhauser et al. 1978), and most points need not be weighed again (Minoux 1978).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import faiss
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.scene import number_consecutively
from vloc_ros.core.sources import Progress, silent

_CELLS = 8
# the view that the cells divide: 45 degrees to each side of the axis
_HALF_VIEW = 1.0
_MIN_DISTINCTNESS = 0.25
MIN_POINTS_PER_SCENE = 50
# beyond, comparing all with all takes minutes
_MAX_COMPARED_EXACTLY = 50_000
_LISTS = 16
_BLOCK = 8192


class PointRanking:
    """The points of a map in the order of what each adds, computed as far as it is needed; deterministic.

    The best few of each scene come before all others, so that no scene is lost among larger ones.
    """

    def __init__(self, landmark_map: LandmarkMap, progress: Progress = silent) -> None:
        landmark_map.require_landmarks()
        self._map, self._progress = landmark_map, progress
        self._remaining = _select_greedily(MapIndex(landmark_map), progress)
        self._selected: list[int] = []
        self._found = np.zeros(len(landmark_map.scenes), np.int64)
        self._wanted = [min(MIN_POINTS_PER_SCENE, len(scene.points)) for scene in landmark_map.scenes]

    def best(self, count: int) -> Array:
        """(count,) int64 indices of the points to keep, of all that there are at most."""
        count = min(count, len(self._map.points))
        if missing := range(count - len(self._selected)):
            for _ in self._progress(missing, description="selecting points"):
                self._select()
        while (self._found < self._wanted).any():
            self._select()
        order = np.array(self._selected, np.int64)
        first = self._first_of_scenes(order)
        return np.concatenate([order[first], order[~first]])[:count]

    def _first_of_scenes(self, order: Array) -> Array:
        """(N,) bool: the points in an order that are among the first few of their scenes."""
        scene = self._map.scene_of_point[order]
        first = np.zeros(len(order), bool)
        for number in range(len(self._map.scenes)):
            first[np.flatnonzero(scene == number)[:MIN_POINTS_PER_SCENE]] = True
        return first

    def _select(self) -> None:
        point = next(self._remaining)
        self._selected.append(point)
        self._found[self._map.scene_of_point[point]] += 1


def rank_points(landmark_map: LandmarkMap) -> Array:
    """(P,) int64 indices of all points, see `PointRanking`."""
    return PointRanking(landmark_map).best(len(landmark_map.points))


def _select_greedily(index: MapIndex, progress: Progress) -> Iterator[int]:
    """All points are weighed now, and selected one after the other as they are taken."""
    landmark_map = index.map
    seen = _Observations.of(index)
    distinctness = _distinctness(index, progress)
    in_cell = np.zeros(seen.cell.max() + 1 if len(seen.cell) else 1, np.int64)
    in_view = np.zeros(len(landmark_map.keyframes), np.int64)
    # a cell or a view holds at most all points
    root = np.sqrt(np.arange(len(landmark_map.points) + 2))
    starts = seen.offsets.tolist()

    def gain(point: int) -> float:
        mine = slice(starts[point], starts[point + 1])
        # one more of n adds sqrt(n + 1) - sqrt(n), to its cell and to the whole view
        cells, views = in_cell[seen.cell[mine]], in_view[seen.keyframe[mine]]
        added = root[cells + 1] - root[cells] + root[views + 1] - root[views]
        return float(distinctness[point] * added.sum())

    points = progress(range(len(landmark_map.points)), description="weighing points")
    heap = [(-gain(point), point) for point in points]
    heapq.heapify(heap)

    def select() -> Iterator[int]:
        while heap:
            _, point = heapq.heappop(heap)
            now = -gain(point)
            if heap and now > heap[0][0]:
                heapq.heappush(heap, (now, point))
                continue
            mine = slice(starts[point], starts[point + 1])
            in_cell[seen.cell[mine]] += 1
            in_view[seen.keyframe[mine]] += 1
            yield point

    return select()


def keep_points(landmark_map: LandmarkMap, kept: Array) -> LandmarkMap:
    """The same map with some of its points; landmarks keep their ids, also those that have none left."""
    kept = np.sort(kept)
    counts = np.bincount(landmark_map.scene_of_point[kept], minlength=len(landmark_map.scenes)).tolist()
    return replace(
        landmark_map,
        scenes=number_consecutively(
            replace(scene, points=range(count)) for scene, count in zip(landmark_map.scenes, counts, strict=True)
        ),
        points=landmark_map.points[kept],
        landmark_ids=landmark_map.landmark_ids[kept],
        codes=landmark_map.codes[kept],
        keyframes=_keyframes(landmark_map, kept),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Observations:
    """By which keyframes, and in which cells of their views, each point is observed.

    Attributes:
        offsets: (P + 1,) those of point p are `offsets[p]:offsets[p + 1]`.
        keyframe: (O,) keyframe of each.
        cell: (O,) number of the cell in all views.
    """

    offsets: Array
    keyframe: Array
    cell: Array

    @staticmethod
    def of(index: MapIndex) -> _Observations:
        keyframes, points = index.map.keyframes, index.map.points
        keyframe, point = keyframes.keyframe_of_observation, keyframes.point_indices
        from_centre = points[point] - keyframes.translations[keyframe]
        x, y, z = np.einsum("nji,nj->in", keyframes.rotations[keyframe], from_centre)
        column, row = (_cell_along(axis / np.maximum(z, 1e-6)) for axis in (x, y))
        cell = (keyframe.astype(np.int64) * _CELLS + row) * _CELLS + column
        return _Observations(index.point_offsets, index.observers, cell[index.observation_order])


def _cell_along(tangent: Array) -> Array:
    cells = (tangent / _HALF_VIEW + 1.0) / 2.0 * _CELLS
    return np.asarray(np.clip(cells, 0, _CELLS - 1).astype(np.int64))


def _distinctness(index: MapIndex, progress: Progress) -> Array:
    """(P,) up to 1: distance from the nearest other descriptor; what resembles another point is matched less."""
    if len(index.map.points) <= _MAX_COMPARED_EXACTLY:
        squared = np.asarray(faiss.knn(index.descriptors, index.descriptors, 2)[0])[:, 1]
    else:
        squared = _approximate_nearest(index, progress)
    distances = np.sqrt(np.maximum(squared, 0.0))
    return np.asarray(np.clip(distances / max(float(np.median(distances)), 1e-9), _MIN_DISTINCTNESS, 1.0))


def _approximate_nearest(index: MapIndex, progress: Progress) -> Array:
    """(P,) squared distance to a descriptor that is the nearest other one in most cases."""
    count, nearest = len(index.map.points), []
    blocks = [np.arange(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    for block in progress(blocks, description="comparing points"):
        squared, found = index.point_search.nearest(index.map.descriptors_of(block), 2, breadth=_LISTS)
        nearest.append(np.where(found[:, 0] == block, squared[:, 1], squared[:, 0]))
    return np.concatenate(nearest)


def _keyframes(landmark_map: LandmarkMap, kept: Array) -> Keyframes:
    keyframes = landmark_map.keyframes
    number = np.full(len(landmark_map.points), -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    seen = number[keyframes.point_indices]
    running = np.concatenate([[0], np.cumsum(seen >= 0)])
    return replace(keyframes, point_offsets=running[keyframes.point_offsets], point_indices=seen[seen >= 0])
