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

"""Views from above: a correlation finds where one scan lies on another, and level ground does not count."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.clouds.bird_view import BirdView, find_shift
from vloc_ros.core.geometry.pose import Array, Pose

RANGE_M = 40.0


def _posts(seed: int, count: int = 60) -> Array:
    """Posts around a sensor, and ground."""
    rng = np.random.default_rng(seed)
    foot = rng.uniform(-20.0, 20.0, (count, 2))
    posts = [np.column_stack([np.tile(xy, (20, 1)), np.linspace(-1.7, 2.0, 20)]) for xy in foot]
    ground = np.column_stack([rng.uniform(-30.0, 30.0, (3000, 2)), np.full(3000, -1.7)])
    return np.concatenate([*posts, ground]).astype(np.float32)


@settings(max_examples=25)
@given(x=st.floats(-15, 15), y=st.floats(-15, 15), yaw=st.floats(-3.1, 3.1), seed=st.integers(0, 9))
def test_a_shift_is_found_to_a_cell(x: float, y: float, yaw: float, seed: int) -> None:
    place_from_query = Pose.from_rotation_vector([0.0, 0.0, yaw], [x, y, 0.0])
    place = BirdView.of_points(_posts(seed), range_m=RANGE_M)
    query = BirdView.of_points(place_from_query.inverse().apply(_posts(seed)).astype(np.float32), range_m=RANGE_M)
    similarity, shift = find_shift(query.transform(yaw), place.transform(blur=True), cell_m=place.cell_m)
    assert np.abs(shift - [x, y]).max() < 1.5 * place.cell_m
    other = BirdView.of_points(_posts(seed + 100), range_m=RANGE_M)
    assert find_shift(other.transform(yaw), place.transform(blur=True), cell_m=place.cell_m)[0] < similarity


def test_level_ground_is_no_surface() -> None:
    ground = _posts(0)[_posts(0)[:, 2] < -1.69]
    view = BirdView.of_points(ground, range_m=RANGE_M)
    assert view.centres.shape == (0, 2)
    similarity, shift = find_shift(view.transform(), view.transform(blur=True), cell_m=view.cell_m)
    assert similarity == 0.0
    np.testing.assert_array_equal(shift, 0.0)


def _hall(x: float, y: float) -> Array:
    """A hall of 30 x 32 m with a ceiling, around a sensor 1 m above its floor at (x, y)."""
    grid = np.arange(0.0, 32.0, 0.25)
    flat = np.stack(np.meshgrid(grid[grid < 30.0], grid), axis=-1).reshape(-1, 2)
    wall = np.stack(np.meshgrid(grid, np.arange(-1.0, 1.8, 0.2)), axis=-1).reshape(-1, 2)
    of_x, of_y = wall[wall[:, 0] < 30.0], wall
    surfaces = [np.column_stack([flat, np.full(len(flat), z)]) for z in (-1.0, 1.8)]
    surfaces += [np.column_stack([of_x[:, 0], np.full(len(of_x), at), of_x[:, 1]]) for at in (0.0, 32.0)]
    surfaces += [np.column_stack([np.full(len(of_y), at), of_y]) for at in (0.0, 30.0)]
    return (np.concatenate(surfaces) - [x, y, 0.0]).astype(np.float32)


def test_a_ceiling_above_a_floor_is_no_surface() -> None:
    place, query = (BirdView.of_points(_hall(*at), range_m=17.0) for at in ((14.0, 15.0), (16.5, 16.6)))
    _, shift = find_shift(query.transform(), place.transform(blur=True), cell_m=place.cell_m)
    assert np.abs(shift - [2.5, 1.6]).max() < 1.5 * place.cell_m
    from_middle = np.abs(place.centres - np.array([1.0, 1.0]))
    assert not (from_middle < [14.0, 15.0]).all(axis=1).any()


def test_a_wall_of_sparse_rings_is_a_surface() -> None:
    """Rings 4 degrees apart, as half of those of a LiDAR of 16 rings, on a wall 10 m away."""
    y, elevation = np.arange(-5.0, 5.0, 0.05), np.radians(np.arange(-15.0, 16.0, 4.0))
    distance, heights = np.hypot(10.0, y)[:, None], np.tan(elevation)
    wall = np.stack(np.broadcast_arrays(10.05, y[:, None], distance * heights), axis=-1).reshape(-1, 3)
    view = BirdView.of_points(wall.astype(np.float32), range_m=14.0)
    assert len(view.centres) >= 10.0 / view.cell_m
