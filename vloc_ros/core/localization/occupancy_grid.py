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

_BORDER = 2
# a byte each
_MOST_CELLS = 500_000_000
# positions that are compared together: so many points in memory
_BLOCK = 1_000_000


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
        if np.prod(shape.astype(float)) > _MOST_CELLS:
            sizes = " x ".join(f"{size:.0f}" for size in shape * cell_m)
            raise InputError(
                f"the places spread over {sizes} m, more than {_MOST_CELLS} cells of {cell_m:g} m; cut the map into "
                "parts"
            )
        grid = np.zeros(shape, np.uint8)
        grid[tuple(occupied.T)] = 2
        cells = grid.copy()
        for axis in range(3):
            for shift in (1, -1):  # the border keeps it from wrapping around
                np.maximum(cells, np.minimum(np.roll(grid, shift, axis), 1), out=cells)
        return OccupancyGrid(cells, lowest, cell_m)

    def score(self, points: Array, positions: Array) -> Array:
        """(P,) share of points in cells with points, those next to one by half, at each position.

        Args:
            points: (N, 3) from the position.
            positions: (P, 3).
        """
        block, scores = max(1, _BLOCK // max(len(points), 1)), []
        for first in range(0, len(positions), block):
            offsets = points + (positions[first : first + block, None] - self.lowest)
            cells = np.floor(offsets / self.cell_m).astype(np.int32)
            inside = ((cells >= 0) & (cells < self.cells.shape)).all(axis=2)
            cells[~inside] = 0  # the corner is empty
            scores.append(self.cells[cells[..., 0], cells[..., 1], cells[..., 2]].mean(axis=1) / 2)
        return np.concatenate(scores)
