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

"""Where the robot has been with its camera, and in which directions it looked there. Needs no ROS."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose

DIRECTIONS = 8
_OPTICAL_AXIS = np.array([0.0, 0.0, 1.0])
_MOST_CELLS = 4_000_000


@dataclass(frozen=True, slots=True, eq=False)
class CoverageGrid:
    """A grid in the plane of the odometry's frame.

    Attributes:
        origin: (2,) metres, x and y of the corner of the first cell.
        cell_m: size of a cell.
        shares: (rows, columns) int8, rows along y: percent of the directions that keyframes look in, -1 where none is.
    """

    origin: Array
    cell_m: float
    shares: Array


class Coverage:
    """Cells that keyframes were taken in, by direction."""

    def __init__(self, cell_m: float, poses: Iterable[Pose] = ()) -> None:
        self._cell_m = cell_m
        self._seen: dict[tuple[int, int], set[int]] = {}
        self._last: Pose | None = None
        self.path_length_m = 0.0
        for pose in poses:
            self.add(pose)

    @property
    def area_m2(self) -> float:
        """Area of the cells with a keyframe."""
        return len(self._seen) * self._cell_m**2

    def add(self, odom_from_camera: Pose) -> None:
        """Add a keyframe."""
        if self._last is not None:
            self.path_length_m += self._last.distance_to(odom_from_camera)[0]
        self._last = odom_from_camera
        x, y, _ = odom_from_camera.translation
        ahead = odom_from_camera.rotation @ _OPTICAL_AXIS
        direction = round(float(np.arctan2(ahead[1], ahead[0])) / (2 * np.pi) * DIRECTIONS) % DIRECTIONS
        cell = int(np.floor(x / self._cell_m)), int(np.floor(y / self._cell_m))
        self._seen.setdefault(cell, set()).add(direction)

    def grid(self) -> CoverageGrid | None:
        """Return the smallest grid with all cells; None without any, or if it would be implausibly large."""
        if not self._seen:
            return None
        cells = np.array(list(self._seen))
        first = cells.min(axis=0)
        columns, rows = (cells.max(axis=0) - first + 1).tolist()
        if columns * rows > _MOST_CELLS:
            return None
        shares = np.full((rows, columns), -1, dtype=np.int8)
        for (x, y), directions in self._seen.items():
            shares[y - first[1], x - first[0]] = round(100 * len(directions) / DIRECTIONS)
        return CoverageGrid(first * self._cell_m, self._cell_m, shares)
