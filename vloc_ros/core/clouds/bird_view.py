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

"""Correlation of scans seen from above: where one lies on the other, once the turn between them is roughly known.

Walls, cars and trunks are the cells of a grid in which points lie above each other without large gaps; ground and
ceilings are flat and leave none, also where one is above the other. All translations are compared at once by their
Fourier transforms, as correlative scan matching (Olson, ICRA 2009) does one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array

_SIZE = 128
# a grid reaches the range to each side, and leaves room for translations as long as that
_CELLS_TO_RANGE = 42
# points of an upright surface lie above each other by more than this share of a cell, those of ground by less
_UPRIGHT_CELLS = 0.4
# the next point of one surface is no higher than by a cell, or by the share of the distance that rings 4 degrees apart
# leave; up to 12 times its height away, a ceiling is further above the floor
_GAP_CELLS, _GAP_SHARE = 1.0, 0.08


@dataclass(frozen=True, slots=True, eq=False)
class BirdView:
    """Cells of upright surfaces around a sensor.

    Attributes:
        centres: (N, 2) float32 metres, from the sensor.
        cell_m: size of a cell.
    """

    centres: Array
    cell_m: float

    @staticmethod
    def of_points(points: Array, *, range_m: float) -> BirdView:
        """That of (N, 3) points, metres from the sensor, z up."""
        cell_m = range_m / _CELLS_TO_RANGE
        near = points[np.hypot(points[:, 0], points[:, 1]) < range_m]
        cells = np.floor(near[:, :2] / cell_m).astype(np.int64) + _SIZE
        keys = cells[:, 0] * 2 * _SIZE + cells[:, 1]
        upright = np.unique(keys[_lies_above(near, keys, cell_m=cell_m)])
        centres = np.column_stack(np.divmod(upright, 2 * _SIZE)) - _SIZE + 0.5
        return BirdView((centres * cell_m).astype(np.float32), cell_m)

    def transform(self, yaw: float = 0.0, *, blur: bool = False) -> Array:
        """(S, S/2 + 1) complex64 Fourier transform of the cells, of length 1, turned about z.

        Args:
            yaw: radians.
            blur: each cell counts for a half in those next to it, too.
        """
        turn = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]], np.float32)
        cells = np.floor(self.centres @ turn / self.cell_m).astype(np.int64) % _SIZE
        grid = np.zeros((_SIZE, _SIZE), np.float32)
        grid[cells[:, 0], cells[:, 1]] = 1.0
        if blur:
            around = sum(np.roll(grid, shift, axis=(0, 1)) for shift in ((0, 1), (1, 0), (0, -1), (-1, 0)))
            grid = np.maximum(grid, np.minimum(0.5 * around, 0.5))
        spectrum = np.fft.rfft2(grid)
        return np.asarray(spectrum / max(float(np.linalg.norm(grid)), 1e-9)).astype(np.complex64)


def _lies_above(points: Array, keys: Array, *, cell_m: float) -> Array:
    """Numbers of the (N, 3) points that lie above another one of their surface in a cell.

    Args:
        points: metres from the sensor, z up.
        keys: (N,) of their cells.
        cell_m: size of a cell.
    """
    order = np.lexsort((points[:, 2], keys))
    height, key, distance = points[order, 2], keys[order], np.hypot(points[order, 0], points[order, 1])
    if not len(order):
        return order
    largest_m = np.maximum(_GAP_CELLS * cell_m, _GAP_SHARE * distance[1:])
    starts = np.concatenate([[True], (key[1:] != key[:-1]) | (np.diff(height) > largest_m)])
    lowest = height[starts][np.cumsum(starts) - 1]
    return np.asarray(order[height - lowest > _UPRIGHT_CELLS * cell_m])


def find_shift(query: Array, place: Array, *, cell_m: float) -> tuple[float, Array]:
    """Similarity 0 to 1 of two transforms, and the (2,) translation in metres that moves the query onto the place."""
    correlation = np.fft.irfft2(place * np.conj(query), (_SIZE, _SIZE))
    row, column = np.unravel_index(int(correlation.argmax()), correlation.shape)
    cells = (np.array([row, column]) + _SIZE // 2) % _SIZE - _SIZE // 2
    return float(correlation[row, column]), cells * cell_m
