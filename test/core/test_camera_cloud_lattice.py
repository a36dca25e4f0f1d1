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

"""Positions that a camera's cloud is compared at: within the reach of the places, and the best of them."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.localization import camera_cloud_lattice
from vloc_ros.core.localization.camera_cloud_lattice import make_lattice


@pytest.mark.parametrize(("cell_m", "reach_up_m"), [(0.1, 0.0), (0.1, 0.5), (0.1, 0.7), (0.4, 0.5), (0.4, 2.0)])
def test_heights_within_reach_have_a_position_within_half_a_step(cell_m: float, reach_up_m: float) -> None:
    centre = np.array([[3.0, -2.0, 1.7]])
    heights = np.unique(make_lattice(centre, reach_m=1.0, reach_up_m=reach_up_m, cell_m=cell_m)[:, 2]) * cell_m
    step_m = 2 * cell_m
    for height in (1.7 - reach_up_m, 1.7, 1.7 + reach_up_m):
        # the place itself is up to half a step off the lattice
        assert np.abs(heights - height).min() <= step_m + 1e-9
    assert heights.max() - heights.min() <= 2 * max(reach_up_m + step_m / 2, step_m) + 1e-9


def test_a_vertical_reach_that_is_too_large_is_refused() -> None:
    with pytest.raises(InputError, match="positions"):
        make_lattice(np.zeros((1, 3)), reach_m=10.0, reach_up_m=100.0, cell_m=0.1)


def test_the_best_scores_are_those_of_a_whole_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_cloud_lattice, "_CONSIDERED", 50)
    scores = np.random.default_rng(0).integers(0, 9, (6, 40)).astype(np.uint16)
    expected = np.argsort(-scores.astype(float), axis=None, kind="stable")[:50]
    np.testing.assert_array_equal(camera_cloud_lattice._choose_best(scores), expected)
    few = scores[:1, :10]
    assert len(camera_cloud_lattice._choose_best(few)) == 10
