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

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.mapper.coverage import Coverage

_AHEAD = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def camera_at(x: float, y: float, yaw: float) -> Pose:
    """odom_from_camera of a level camera."""
    return Pose.from_rotation_vector([0.0, 0.0, yaw], [x, y, 0.4]) @ _AHEAD


def test_a_cell_has_the_share_of_the_directions_that_were_looked_at() -> None:
    coverage = Coverage(1.0, [camera_at(-0.5, 2.5, yaw) for yaw in np.arange(8) * np.pi / 4])
    coverage.add(camera_at(1.5, 3.5, 0.0))
    grid = coverage.grid()
    assert grid is not None
    assert grid.origin.tolist() == [-1.0, 2.0]
    assert grid.shares.tolist() == [[100, -1, -1], [-1, -1, 12]]
    assert coverage.area_m2 == 2.0
    assert coverage.path_length_m == pytest.approx(np.sqrt(5.0))


def test_what_was_seen_before_adds_no_area() -> None:
    coverage = Coverage(0.5, [camera_at(0.1, 0.1, 0.0)] * 3)
    assert coverage.area_m2 == 0.25


@pytest.mark.parametrize("poses", [[], [camera_at(0.0, 0.0, 0.0), camera_at(1e6, 1e6, 0.0)]])
def test_there_is_no_grid_of_nothing_or_of_a_continent(poses: list[Pose]) -> None:
    assert Coverage(1.0, poses).grid() is None
