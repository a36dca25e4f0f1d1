"""From a pose: which of the map's points the image shows where they should be.

A pose predicts where each point appears; a keypoint that lies there and looks like it confirms it. Keypoints that a
search of the whole map leaves out, because they look like something else as well, are found again so, as PRAM (Xue et
al. 2024) and structure from motion do before they refine a pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import expand_ranges, sorted_unique
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query, View

# a point is confirmed by a keypoint so near to where it should be, and so much alike; what looks like it is taken from
# a smaller circle, since a rough pose has to find matches and a good one to be told from another
_NEAR_PX, _LIKE_WITHIN_PX = 8.0, 6.0
_ALIKE = 0.6
_GRID = (8, 8)
# regions in which fewer points are expected say little of how much is found again
_FEWEST_POINTS = 3
_MORE_THAN_CHANCE = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class PredictedVisibility:
    """What is seen of some points from a pose.

    Attributes:
        expected: (V * 64,) points that should appear in each region of each view.
        confirmed: (V * 64,) those of them that a keypoint confirms.
        likeness: (V * 64,) 0 to 1, how much keypoints look like them where they should be; 0 where none is expected.
            A point counts as often as keyframes saw it: one that is seldom found again says little when it is not.
        keypoints: (V * 64,) all that the views show there.
        matches: the keypoints that confirm, each with the point that looks most like it.
    """

    expected: Array
    confirmed: Array
    likeness: Array
    keypoints: Array
    matches: Matches

    @staticmethod
    def in_views(by_region: Array) -> Array:
        """(V, 64) of (V * 64,)."""
        return by_region.reshape(-1, _GRID[0] * _GRID[1])

    @property
    def found_again(self) -> float:
        """The part of the regions with expected points, and of the image's keypoints, whichever is less, where more is
        confirmed than by chance. Chance confirms a few points everywhere, and hardly any region of many."""
        regions = np.flatnonzero(self.expected >= _FEWEST_POINTS)
        agreeing = regions[self.confirmed[regions] >= _MORE_THAN_CHANCE * self.expected[regions]]
        explained = self.keypoints[agreeing].sum() / max(int(self.keypoints.sum()), 1)
        return float(min(len(agreeing) / max(len(regions), 1), explained))


class KeypointGrid:
    """The keypoints of one query, sorted by where they lie."""

    def __init__(self, landmark_map: LandmarkMap, features: Sequence[Features], query: Query) -> None:
        self._map, self._views, self._features = landmark_map, query.views, features
        self._xy = [found.xy for found in features]

    @cached_property
    def _described(self) -> list[Array]:
        return [self._map.codec.project(found.descriptors) for found in self._features]

    @cached_property
    def _keypoints(self) -> Array:
        """(V * 64,) keypoints in each region of each view, wherever it was taken from."""
        size = _GRID[0] * _GRID[1]
        of_views = zip(self._xy, self._views, strict=True)
        return np.concatenate([np.bincount(_regions(xy, view), minlength=size) for xy, view in of_views])

    @cached_property
    def _cells(self) -> list[_Cells]:
        return [_Cells(xy, view) for xy, view in zip(self._xy, self._views, strict=True)]

    def sight(self, map_from_rig: Pose, points: Array) -> PredictedVisibility:
        """What the views show of (N,) points of the map, if they were taken from there."""
        parts = [self._in_view(number, map_from_rig, points) for number in range(len(self._views))]
        expected, confirmed, likeness, keypoints, seen = zip(*parts, strict=True)
        views = np.repeat(np.arange(len(parts), dtype=np.int32), [len(k) for k in keypoints])
        xy = np.concatenate([of_view[k] for of_view, k in zip(self._xy, keypoints, strict=True)])
        indices = np.concatenate(seen)
        matches = Matches(views, xy, indices, self._map.points[indices].astype(np.float64))
        of_regions = [np.concatenate(part) for part in (expected, confirmed, likeness)]
        return PredictedVisibility(of_regions[0], of_regions[1], of_regions[2], self._keypoints, matches)

    def _in_view(self, number: int, map_from_rig: Pose, points: Array) -> tuple[Array, Array, Array, Array, Array]:
        view = self._views[number]
        pixels = view.camera.project((map_from_rig @ view.rig_from_camera).inverse().apply(self._map.points[points]))
        inside = view.camera.contains(pixels)
        pixels, points = pixels[inside], points[inside]
        row, keypoint = self._cells[number].near(pixels)
        off_px2 = _squares(pixels[row] - self._xy[number][keypoint])
        row, keypoint, off_px2 = row[near := off_px2 < _NEAR_PX**2], keypoint[near], off_px2[near]
        apart = self._map.descriptors_of(points[row])
        apart -= self._described[number][keypoint]
        unlike = np.sqrt(_squares(apart))
        regions, most_alike = _regions(pixels, view), np.full(len(points), np.inf)
        close = np.flatnonzero(off_px2 < _LIKE_WITHIN_PX**2)
        close = close[np.argsort(-unlike[close])]
        most_alike[row[close]] = unlike[close]  # of each row the last one stays
        likeness = np.exp(-((most_alike / _ALIKE) ** 2))
        alike = np.flatnonzero(unlike < _ALIKE)
        alike = alike[np.argsort(unlike[alike], kind="stable")]
        row, keypoint = row[alike], keypoint[alike]
        size, often = _GRID[0] * _GRID[1], self._map.observations_of(points)
        expected = np.bincount(regions, minlength=size)
        confirmed = np.bincount(regions[sorted_unique(row)], minlength=size)
        weights = np.bincount(regions, often, minlength=size)
        alike_there = np.bincount(regions, often * likeness, minlength=size) / np.maximum(weights, 1)
        return expected, confirmed, alike_there, *_mutual(keypoint, points[row])


def _squares(differences: Array) -> Array:
    """(N,) squared lengths of (N, D)."""
    return np.asarray(np.einsum("nd,nd->n", differences, differences))


def _mutual(keypoints: Array, points: Array) -> tuple[Array, Array]:
    """Of (N,) pairs, most alike first, those that are the first of both their keypoint and their point."""
    first_keypoint, first_point = (np.unique(side, return_index=True)[1] for side in (keypoints, points))
    chosen = np.intersect1d(first_keypoint, first_point, assume_unique=True)
    return keypoints[chosen], points[chosen].astype(np.int64)


def _regions(pixels: Array, view: View) -> Array:
    size = np.array([view.camera.width, view.camera.height])
    column, row = np.clip(pixels * _GRID / size, 0, np.array(_GRID) - 1).astype(int).T
    return np.asarray(row * _GRID[0] + column)


class _Cells:
    """Keypoints in the order of the cells of a grid, so that those around a pixel are three runs."""

    def __init__(self, xy: Array, view: View) -> None:
        # empty ones on all sides
        self._columns, self._rows = (int(length // _NEAR_PX) + 3 for length in (view.camera.width, view.camera.height))
        cell = self._cell(xy)
        self._order = np.argsort(cell, kind="stable")
        counts = np.bincount(cell, minlength=self._columns * self._rows)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def _cell(self, xy: Array) -> Array:
        most = (self._columns - 2, self._rows - 2)
        column, row = np.clip(np.floor(xy / _NEAR_PX).astype(np.int64) + 1, 1, most).T
        return np.asarray(row * self._columns + column)

    def near(self, pixels: Array) -> tuple[Array, Array]:
        """(M,) rows of (N, 2) pixels and keypoints in the cells around them."""
        cell = self._cell(pixels)
        rows, keypoints = [], []
        for above in (-self._columns, 0, self._columns):
            start = self._starts[cell + above - 1]
            counts = self._starts[cell + above + 2] - start
            rows.append(np.repeat(np.arange(len(pixels)), counts))
            keypoints.append(self._order[expand_ranges(start, counts)])
        return np.concatenate(rows), np.concatenate(keypoints)
