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

"""Guided matching: map points projected by a known pose, and the keypoints near their projections.

Keypoints that a search of the whole map rejects, because they resemble another part of it as well, are matched so, as
PRAM (Xue et al. 2024) and structure from motion do before they refine a pose.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import expand_ranges
from vloc_ros.core.map.landmark_map import LandmarkMap

# largest reprojection error that is searched: the size of a grid cell
MAX_ERROR_PX = 8.0


class KeypointGrid:
    """The keypoints of one view in the order of the cells of a grid, so that those around a pixel are three ranges.

    Attributes:
        xy: (K, 2) float32 pixels.
        descriptors: (K, d) float32 in the space of the map's codec.
    """

    def __init__(self, xy: Array, descriptors: Array, camera: Camera) -> None:
        self.xy, self.descriptors = xy, descriptors
        # empty cells on all sides
        self._columns, self._rows = (int(length // MAX_ERROR_PX) + 3 for length in (camera.width, camera.height))
        cell = self._cell(xy)
        self._order = np.argsort(cell, kind="stable")
        counts = np.bincount(cell, minlength=self._columns * self._rows)
        self._starts = np.concatenate([[0], np.cumsum(counts)])

    def _cell(self, xy: Array) -> Array:
        last = (self._columns - 2, self._rows - 2)
        column, row = np.clip(np.floor(xy / MAX_ERROR_PX).astype(np.int64) + 1, 1, last).T
        return np.asarray(row * self._columns + column)

    def near(self, pixels: Array) -> tuple[Array, Array]:
        """(M,) rows of (N, 2) pixels and (M,) keypoints in the cells around them."""
        cell = self._cell(pixels)
        rows, keypoints = [], []
        for above in (-self._columns, 0, self._columns):
            start = self._starts[cell + above - 1]
            counts = self._starts[cell + above + 2] - start
            rows.append(np.repeat(np.arange(len(pixels)), counts))
            keypoints.append(self._order[expand_ranges(start, counts)])
        return np.concatenate(rows), np.concatenate(keypoints)


@dataclass(frozen=True, slots=True, eq=False)
class GuidedPairs:
    """Keypoints near the projections of points.

    Attributes:
        rows: (M,) int64 row of the projected point.
        keypoints: (M,) int64 keypoint.
        errors_px: (M,) reprojection errors.
        distances: (M,) descriptor distances.
    """

    rows: Array
    keypoints: Array
    errors_px: Array
    distances: Array

    def select(self, chosen: Array) -> GuidedPairs:
        """Some pairs, by a mask or in an order."""
        return GuidedPairs(self.rows[chosen], self.keypoints[chosen], self.errors_px[chosen], self.distances[chosen])

    def within(self, max_distance: float) -> GuidedPairs:
        """The pairs with nearer descriptors than a limit, nearest first."""
        near = np.flatnonzero(self.distances < max_distance)
        return self.select(near[np.argsort(self.distances[near], kind="stable")])

    def mutual(self) -> GuidedPairs:
        """The pairs that come first for both their keypoint and their point, in their order."""
        return self.select(np.flatnonzero(_is_first(self.keypoints) & _is_first(self.rows)))


def pair_at_projections(
    landmark_map: LandmarkMap, points: Array, pixels: Array, grid: KeypointGrid, *, max_error_px: float = MAX_ERROR_PX
) -> GuidedPairs:
    """All pairs of projected points and keypoints that lie near each other.

    Args:
        landmark_map: the map.
        points: (N,) indices of its points.
        pixels: (N, 2) their projections, inside the image.
        grid: the view's keypoints.
        max_error_px: largest reprojection error, at most `MAX_ERROR_PX`.
    """
    assert max_error_px <= MAX_ERROR_PX
    rows, keypoints = grid.near(pixels)
    errors = np.zeros(len(rows))
    for axis in range(2):  # in half of the time of rows of two
        along = pixels[:, axis][rows]
        along -= grid.xy[:, axis][keypoints]
        errors += along * along
    near = errors < max_error_px**2
    rows, keypoints, errors = rows[near], keypoints[near], errors[near]
    differences = landmark_map.descriptors_of(points[rows])
    differences -= grid.descriptors[keypoints]
    return GuidedPairs(rows, keypoints, np.sqrt(errors), np.sqrt(squared_lengths(differences)))


def _is_first(values: Array) -> Array:
    """(N,) whether each of (N,) natural numbers occurs for the first time."""
    last_written = np.empty(int(values.max(initial=-1)) + 1, np.int64)
    places = np.arange(len(values))
    last_written[values[::-1]] = places[::-1]
    return np.asarray(last_written[values] == places)


def squared_lengths(vectors: Array) -> Array:
    """(N,) squared lengths of (N, D) vectors."""
    return np.asarray(np.einsum("nd,nd->n", vectors, vectors))
