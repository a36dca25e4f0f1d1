"""Fewer points, chosen so that from wherever the map was seen enough of them are seen, all over the image.

A landmark map answers when an image shows some dozens of its points, well spread; most maps hold many times that. The
points are put in the order in which they add most to what the keyframes see: a keyframe's view is divided into cells
of directions, and a further point in a cell is worth less than the one before. That sum is submodular, so that taking
the best point next is within 1 - 1/e of the best choice of any number (Nemhauser et al. 1978), and most points need
not be looked at again (Minoux 1978).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, replace

import faiss
import numpy as np

from vloc_ros.core.landmark_map import Keyframes, LandmarkMap, consecutive
from vloc_ros.core.pose import Array

_CELLS = 8
# the view that the cells divide: 45 degrees to each side of the axis
_HALF_VIEW = 1.0
_LEAST_DISTINCTNESS = 0.25
LEAST_POINTS_PER_SCENE = 50


def points_by_worth(landmark_map: LandmarkMap) -> Array:
    """(P,) int64 indices of all points, the one that adds most first; deterministic.

    The best few of each scene come before all others, so that none is lost among larger ones.
    """
    order = _by_worth(landmark_map)
    scene = landmark_map.scene_of_point[order]
    first = np.zeros(len(order), bool)
    for number in range(len(landmark_map.scenes)):
        first[np.flatnonzero(scene == number)[:LEAST_POINTS_PER_SCENE]] = True
    return np.concatenate([order[first], order[~first]])


def _by_worth(landmark_map: LandmarkMap) -> Array:
    seen = _Observations.of(landmark_map)
    distinctness = _distinctness(landmark_map)
    in_cell = np.zeros(seen.cell.max() + 1 if len(seen.cell) else 1, np.int64)
    in_view = np.zeros(len(landmark_map.keyframes), np.int64)

    def gain(point: int) -> float:
        mine = slice(seen.offsets[point], seen.offsets[point + 1])
        # what one more of n is worth: sqrt(n + 1) - sqrt(n), of its cell and of the whole view
        cells, views = in_cell[seen.cell[mine]], in_view[seen.keyframe[mine]]
        added = np.sqrt(cells + 1) - np.sqrt(cells) + np.sqrt(views + 1) - np.sqrt(views)
        return float(distinctness[point] * added.sum())

    heap = [(-gain(point), point) for point in range(len(landmark_map.points))]
    heapq.heapify(heap)
    order = []
    while heap:
        _, point = heapq.heappop(heap)
        now = -gain(point)
        if heap and now > heap[0][0]:
            heapq.heappush(heap, (now, point))
            continue
        order.append(point)
        mine = slice(seen.offsets[point], seen.offsets[point + 1])
        in_cell[seen.cell[mine]] += 1
        in_view[seen.keyframe[mine]] += 1
    return np.array(order, np.int64)


def with_points(landmark_map: LandmarkMap, kept: Array) -> LandmarkMap:
    """The same map with some of its points; landmarks keep their ids, also those that have none left."""
    kept = np.sort(kept)
    counts = np.bincount(landmark_map.scene_of_point[kept], minlength=len(landmark_map.scenes)).tolist()
    return replace(
        landmark_map,
        scenes=consecutive(
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


def _distinctness(landmark_map: LandmarkMap) -> Array:
    """(P,) up to 1: how far from the nearest other descriptor; what looks like something else is matched less."""
    distances, _ = faiss.knn(landmark_map.descriptors, landmark_map.descriptors, 2)
    apart = np.sqrt(np.maximum(distances[:, 1], 0.0))
    return np.asarray(np.clip(apart / max(float(np.median(apart)), 1e-9), _LEAST_DISTINCTNESS, 1.0))


def _keyframes(landmark_map: LandmarkMap, kept: Array) -> Keyframes:
    keyframes = landmark_map.keyframes
    number = np.full(len(landmark_map.points), -1, np.int32)
    number[kept] = np.arange(len(kept), dtype=np.int32)
    seen = number[keyframes.point_indices]
    running = np.concatenate([[0], np.cumsum(seen >= 0)])
    return replace(keyframes, point_offsets=running[keyframes.point_offsets], point_indices=seen[seen >= 0])
