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

"""A grid of the cells in which a map has points, to compare a cloud at many positions with it at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_BORDER, _OCCUPIED = 2, 2
# a byte each
_MOST_CELLS = 500_000_000


@dataclass(frozen=True, slots=True, eq=False)
class OccupancyGrid:
    """Cells with points, and those next to them.

    Attributes:
        cells: (X, Y, Z) uint8, 2 with points, 1 next to one, else 0.
        lowest: (3,) metres of the grid's corner.
        cell_m: size of a cell.
    """

    cells: Array
    lowest: Array
    cell_m: float

    @staticmethod
    def of_points(points: Array, *, cell_m: float) -> OccupancyGrid:
        """The grid of (N, 3) points.

        Raises:
            InputError: the points spread over too large a space.
        """
        lowest = points.min(axis=0) - _BORDER * cell_m
        occupied = np.floor((points - lowest) / cell_m).astype(np.int64)
        shape = occupied.max(axis=0) + 1 + _BORDER
        _check_size(shape, cell_m)
        grid = np.zeros(shape, np.uint8)
        grid[tuple(occupied.T)] = _OCCUPIED
        cells = grid.copy()
        for axis in range(3):
            for shift in (1, -1):  # the border keeps it from wrapping around
                np.maximum(cells, np.minimum(np.roll(grid, shift, axis), 1), out=cells)
        return OccupancyGrid(cells, lowest, cell_m)

    def count(self, points: Array, shifts: Array) -> Array:
        """(P,) uint16 twice the points in cells with points, and those next to one once, at each position.

        Positions are whole cells apart, so that a point's cell is found once and moved by a sum of indices.

        Args:
            points: (N, 3) from the position, 32 767 at most.
            shifts: (P, 3) int64, the positions in cells from the origin of the points' frame.

        Raises:
            InputError: the positions spread over too large a space.
        """
        at_origin = np.floor((points - self.lowest) / self.cell_m).astype(np.int64)
        low = at_origin.min(axis=0) + shifts.min(axis=0)
        shape = at_origin.max(axis=0) + shifts.max(axis=0) - low + 1
        around = self._cut(low, shape).ravel()
        strides = np.array([shape[1] * shape[2], shape[2], 1])
        of_positions, total = shifts @ strides, np.zeros(len(shifts), np.uint16)
        for start in (at_origin - low) @ strides:
            total += around[of_positions + start]
        return total

    def is_occupied(self, points: Array) -> Array:
        """(...,) whether the cells of (..., 3) points have points."""
        cells = np.floor((points - self.lowest) / self.cell_m).astype(np.int64)
        inside = ((cells >= 0) & (cells < self.cells.shape)).all(axis=-1)
        cells[~inside] = 0  # the corner is empty
        return np.asarray(self.cells[cells[..., 0], cells[..., 1], cells[..., 2]] == _OCCUPIED)

    def _cut(self, low: Array, shape: Array) -> Array:
        """The (X, Y, Z) cells from a cell on; empty beyond the grid."""
        _check_size(shape, self.cell_m)
        found = np.zeros(shape, np.uint8)
        first, last = np.maximum(low, 0), np.minimum(low + shape, self.cells.shape)
        if (first < last).all():
            there = tuple(slice(int(a), int(b)) for a, b in zip(first - low, last - low, strict=True))
            found[there] = self.cells[tuple(slice(int(a), int(b)) for a, b in zip(first, last, strict=True))]
        return found


def _check_size(shape: Array, cell_m: float) -> None:
    if np.prod(shape.astype(float)) > _MOST_CELLS:
        sizes = " x ".join(f"{size:.0f}" for size in shape * cell_m)
        raise InputError(
            f"the places spread over {sizes} m, more than {_MOST_CELLS} cells of {cell_m:g} m; cut the map into parts"
        )
