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

"""The score of an occupancy grid at shifted positions is that of the shifted points."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.localization.occupancy_grid import OccupancyGrid


def test_shifts_of_cells_score_as_moved_points_do() -> None:
    rng = np.random.default_rng(0)
    grid = OccupancyGrid.of_points(rng.uniform(-2.0, 2.0, (400, 3)), cell_m=0.2)
    points, shifts = rng.uniform(-1.0, 1.0, (50, 3)), rng.integers(-30, 30, (40, 3))
    scores = grid.count(points, shifts)
    alone = [grid.count(points + 0.2 * shift, np.zeros((1, 3), np.int64))[0] for shift in shifts]
    np.testing.assert_allclose(scores, alone)
    occupied = [2 * grid.is_occupied(points + 0.2 * shift).sum() for shift in shifts]
    assert (scores >= occupied).all()
    assert max(occupied) > 0


def test_what_is_beyond_the_grid_is_empty() -> None:
    grid = OccupancyGrid.of_points(np.zeros((1, 3)), cell_m=1.0)
    assert grid.count(np.zeros((1, 3)), np.array([[0, 0, 0], [1, 0, 0], [500, 0, 0]])).tolist() == [2, 1, 0]
    assert grid.is_occupied(np.array([[0.0, 0.0, 0.0], [-99.0, 0.0, 0.0]])).tolist() == [True, False]
