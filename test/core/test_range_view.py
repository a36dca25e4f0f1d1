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

"""Range views: where a point appears, which one is in front, and what the channels hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.clouds.range_view import RangeView
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

VIEW = RangeView(8, 16, math.radians(80.0), math.radians(-20.0), math.radians(20.0), 50.0)


def _at(distance: float, azimuth: float, elevation: float) -> Array:
    level = math.cos(elevation)
    return distance * np.array([level * math.cos(azimuth), level * math.sin(azimuth), math.sin(elevation)])


@given(row=st.integers(0, 7), column=st.integers(0, 15), heading=st.floats(-7.0, 7.0))
def test_a_point_appears_at_its_direction(row: int, column: int, heading: float) -> None:
    azimuth = VIEW.field_of_view_rad * (0.5 - (column + 0.5) / 16) + heading
    elevation = VIEW.highest_rad - math.radians(40.0) * (row + 0.5) / 8
    view = VIEW.render(_at(10.0, azimuth, elevation)[None], heading_rad=heading)
    assert np.argwhere(view[0]).tolist() == [[row, column]]
    assert view[0, row, column] == pytest.approx(1 - math.log(11) / math.log(51), abs=1e-6)


def test_the_nearest_point_hides_the_others_and_left_is_left() -> None:
    left = [_at(distance, 0.3, 0.01) for distance in (30.0, 5.0, 20.0)]
    view = VIEW.render(np.array([*left, _at(60.0, -0.3, 0.01)]), np.array([1.0, 2.0, 3.0, 4.0]))
    ((row, column),) = np.argwhere(view[0])
    assert column < 8  # the one that is out of range is not there
    assert view[0, row, column] == pytest.approx(1 - math.log(6) / math.log(51), abs=1e-6)
    assert view[2, row, column] == pytest.approx(2.0 / np.quantile([1, 2, 3, 4], 0.95), abs=1e-6)


def test_heights_are_above_the_ground_and_intensity_may_be_missing() -> None:
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(4, 20, (500, 2)) * [1, 0], np.full(500, -1.7)])
    view = VIEW.render(np.concatenate([ground, [[10.0, 0.0, 1.3]]]))
    assert view[1].max() == pytest.approx(0.3, abs=0.01)
    assert not view[2].any()


def test_views_around_share_the_points_of_a_turn() -> None:
    points = np.random.default_rng(1).uniform(-20, 20, (400, 3))
    around = VIEW.render_around(points, headings=4)
    turned = points @ np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(around[1], VIEW.render(turned), atol=1e-5)
    assert not VIEW.render(np.array([[-5.0, 0.0, 0.0], [0.0, 0.0, 0.0]])).any()


def test_manifests_are_read_without_defaults() -> None:
    assert RangeView.from_manifest(VIEW.to_manifest()) == VIEW
    for wrong in ({}, {**VIEW.to_manifest(), "width": "16"}, {**VIEW.to_manifest(), "height": 0}):
        with pytest.raises(InputError):
            RangeView.from_manifest(wrong)
