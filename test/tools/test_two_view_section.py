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

"""Scores of pairs of images: area under the curve of recall, and errors of relative poses."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.tables.matching import last_pass
from benchmarks.two_view import _by_magsac, _by_poselib, _error_deg, _precision, auc

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))
MOTION = Pose.from_rotation_vector((0.1, 0.2, -0.05), (0.4, 0.1, 0.2))


def test_the_area_is_that_below_the_curve_and_a_refusal_counts() -> None:
    assert auc(np.array([0.0, 0.0]), 5) == pytest.approx(100)
    assert auc(np.array([np.inf, 7.0]), 5) == 0
    assert auc(np.array([0.0, np.inf]), 10) == pytest.approx(50)
    # recall rises linearly to a half at 5 and stays
    assert auc(np.array([5.0, np.inf]), 10) == pytest.approx(100 * (0.5 * 5 * 0.5 + 5 * 0.5) / 10)


@pytest.mark.parametrize("estimate", [_by_poselib, _by_magsac])
def test_both_estimators_find_an_exact_motion(estimate) -> None:
    points = np.random.default_rng(0).uniform((-3, -2, 3), (3, 2, 9), (200, 3))
    first, second = CAMERA.project(points), CAMERA.project(MOTION.apply(points))
    assert _error_deg(estimate(first, second, CAMERA, 0), MOTION) < 0.1
    assert _precision(first, second, CAMERA, MOTION) == 1
    assert _precision(first, second, CAMERA, MOTION.inverse()) < 0.5
    assert estimate(first[:3], second[:3], CAMERA, 0) is None


def test_a_direction_counts_either_way_round_and_a_refusal_is_infinite() -> None:
    turned = Pose(MOTION.rotation, -MOTION.translation)
    assert _error_deg(turned, MOTION) == pytest.approx(0, abs=1e-5)
    assert _error_deg(None, MOTION) == np.inf


def test_the_last_pass_has_a_row_of_each_condition() -> None:
    row = {
        "queries": 80,
        "nearest": {"right": 72, "refused": 8},
        "last_pass": {"right": 77, "imprecise": 1},
        "cpu_ms_decided": 73.2,
        "cpu_ms_last_pass": None,
    }
    table = last_pass({"last_pass_xfeat": {"rows": {"night": row}}})
    assert table.rows == [["xfeat", "night", "80", "72, 0 wrong", "77, 1 less precise, 0 wrong", "73", ""]]
