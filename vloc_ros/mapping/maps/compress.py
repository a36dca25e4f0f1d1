"""Fewer points, chosen so that from wherever the map was seen enough of them are seen, all over the image.

A landmark map answers when an image shows some dozens of its points, well spread; most maps hold many times that. The
points are put in the order in which they add most to what the keyframes see: a keyframe's view is divided into cells
of directions, and a further point in a cell is worth less than the one before. That sum is submodular, so that taking
the best point next is within 1 - 1/e of the best choice of any number (Nemhauser et al. 1978), and most points need
not be looked at again (Minoux 1978).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace

import faiss
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import Keyframes, LandmarkMap, number_consecutively
from vloc_ros.core.map.point_search import PointSearch
from vloc_ros.core.sources import Progress, silent

_CELLS = 8
# the view that the cells divide: 45 degrees to each side of the axis
_HALF_VIEW = 1.0
_LEAST_DISTINCTNESS = 0.25
LEAST_POINTS_PER_SCENE = 50
# beyond, comparing all with all takes minutes
_MOST_COMPARED_EXACTLY = 50_000
_LISTS = 16
_BLOCK = 8192


class PointRanking:
    """The points of a map, the one that adds most first, found as far as they are asked for; deterministic.

    The best few of each scene come before all others, so that none is lost among larger ones.
    """

    def __init__(self, landmark_map: LandmarkMap, progress: Progress = silent) -> None:
        self._map, self._progress = landmark_map, progress
        self._coming = _by_worth(landmark_map, progress)
        self._taken: list[int] = []
        self._found = np.zeros(len(landmark_map.scenes), np.int64)
        self._wanted = [min(LEAST_POINTS_PER_SCENE, len(scene.points)) for scene in landmark_map.scenes]

    def best(self, count: int) -> Array:
        """(count,) int64 indices of the points to keep, of all that there are at most."""
        count = min(count, len(self._map.points))
        if missing := range(count - len(self._taken)):
            for _ in self._progress(missing, description="choosing points"):
                self._take()
        while (self._found < self._wanted).any():
            self._take()
        order = np.array(self._taken, np.int64)
        first = self._first(order)
        return np.concatenate([order[first], order[~first]])[:count]

    def _first(self, order: Array) -> Array:
        """(N,) bool: the points in an order that are among the first few of their scenes."""
        scene = self._map.scene_of_point[order]
        first = np.zeros(len(order), bool)
        for number in range(len(self._map.scenes)):
            first[np.flatnonzero(scene == number)[:LEAST_POINTS_PER_SCENE]] = True
        return first

    def _take(self) -> None:
        point = next(self._coming)
        self._taken.append(point)
        self._found[self._map.scene_of_point[point]] += 1


def rank_points(landmark_map: LandmarkMap) -> Array:
    """(P,) int64 indices of all points, see `Ranking`."""
    return PointRanking(landmark_map).best(len(landmark_map.points))


def _by_worth(landmark_map: LandmarkMap, progress: Progress) -> Iterator[int]:
    """All points are weighed now, and chosen one after the other as they are taken."""
    seen = _Observations.of(landmark_map)
    distinctness = _distinctness(landmark_map, progress)
    in_cell = np.zeros(seen.cell.max() + 1 if len(seen.cell) else 1, np.int64)
    in_view = np.zeros(len(landmark_map.keyframes), np.int64)
    # a cell or a view holds at most all points
    root = np.sqrt(np.arange(len(landmark_map.points) + 2))
    starts = seen.offsets.tolist()

    def gain(point: int) -> float:
        mine = slice(starts[point], starts[point + 1])
        # what one more of n is worth: sqrt(n + 1) - sqrt(n), of its cell and of the whole view
        cells, views = in_cell[seen.cell[mine]], in_view[seen.keyframe[mine]]
        added = root[cells + 1] - root[cells] + root[views + 1] - root[views]
        return float(distinctness[point] * added.sum())

    everyone = progress(range(len(landmark_map.points)), description="weighing points")
    heap = [(-gain(point), point) for point in everyone]
    heapq.heapify(heap)

    def chosen() -> Iterator[int]:
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

    return chosen()


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
    """By which keyframes, and in which cells of their views, each point was seen: those of point p are
    `offsets[p]:offsets[p + 1]`."""

    offsets: Array
    keyframe: Array
    cell: Array

    @staticmethod
    def of(landmark_map: LandmarkMap) -> _Observations:
        keyframes = landmark_map.keyframes
        keyframe = np.repeat(np.arange(len(keyframes)), np.diff(keyframes.point_offsets))
        point = keyframes.point_indices
        from_centre = landmark_map.points[point] - keyframes.translations[keyframe]
        x, y, z = np.einsum("nji,nj->in", keyframes.rotations[keyframe], from_centre)
        column, row = (_cell_along(axis / np.maximum(z, 1e-6)) for axis in (x, y))
        cell = (keyframe * _CELLS + row) * _CELLS + column
        order = np.argsort(point, kind="stable")
        offsets = np.concatenate([[0], np.cumsum(np.bincount(point, minlength=len(landmark_map.points)))])
        return _Observations(offsets, keyframe[order], cell[order])


def _cell_along(tangent: Array) -> Array:
    cells = (tangent / _HALF_VIEW + 1.0) / 2.0 * _CELLS
    return np.asarray(np.clip(cells, 0, _CELLS - 1).astype(np.int64))


def _distinctness(landmark_map: LandmarkMap, progress: Progress) -> Array:
    """(P,) up to 1: how far from the nearest other descriptor; what looks like something else is matched less."""
    small = len(landmark_map.points) <= _MOST_COMPARED_EXACTLY
    if small:
        squared = faiss.knn(landmark_map.descriptors, landmark_map.descriptors, 2)[0][:, 1]
    else:
        squared = _nearest_about(landmark_map, progress)
    apart = np.sqrt(np.maximum(squared, 0.0))
    return np.asarray(np.clip(apart / max(float(np.median(apart)), 1e-9), _LEAST_DISTINCTNESS, 1.0))


def _nearest_about(landmark_map: LandmarkMap, progress: Progress) -> Array:
    """(P,) squared distance to a descriptor that is the nearest other one in most cases."""
    search, count, nearest = PointSearch(landmark_map), len(landmark_map.points), []
    blocks = [np.arange(start, min(start + _BLOCK, count)) for start in range(0, count, _BLOCK)]
    for block in progress(blocks, description="comparing points"):
        squared, found = search.nearest(landmark_map.descriptors_of(block), 2, breadth=_LISTS)
        nearest.append(np.where(found[:, 0] == block, squared[:, 1], squared[:, 0]))
    return np.concatenate(nearest)


def _keyframes(landmark_map: LandmarkMap, kept: Array) -> Keyframes:
    keyframes = landmark_map.keyframes
    number = np.full(len(landmark_map.points), -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    seen = number[keyframes.point_indices]
    running = np.concatenate([[0], np.cumsum(seen >= 0)])
    return replace(keyframes, point_offsets=running[keyframes.point_offsets], point_indices=seen[seen >= 0])
