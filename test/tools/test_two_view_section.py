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

"""The sections about learned matchers: estimators of relative poses, and tables."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.tables.matching import last_pass, two_view
from benchmarks.two_view import _by_magsac, _by_poselib

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.relative_pose_scores import relative_pose_error_deg

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))
MOTION = Pose.from_rotation_vector((0.1, 0.2, -0.05), (0.4, 0.1, 0.2))


@pytest.mark.parametrize("estimate", [_by_poselib, _by_magsac])
def test_both_estimators_find_an_exact_motion(estimate) -> None:
    points = np.random.default_rng(0).uniform((-3, -2, 3), (3, 2, 9), (200, 3))
    first, second = CAMERA.project(points), CAMERA.project(MOTION.apply(points))
    assert relative_pose_error_deg(estimate(first, second, CAMERA, 0), MOTION) < 0.1
    assert estimate(first[:3], second[:3], CAMERA, 0) is None


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


def test_pairs_of_images_have_a_row_of_each_method() -> None:
    row = {"matches": 99.6, "precision": 0.5, "matching_score": 0.25, "cpu_ms": 12.3}
    row |= {"poselib": [10.0, 20.4, 30.0], "magsac": [1.0, 2.0, 3.0]}
    table = two_view({"two_view": {"rows": {"castle": {"pairs": 40, "methods": {"xfeat, mutual": row}}}}})
    assert table.rows == [["castle", "xfeat, mutual", "100", "50%", "25%", "12", "10 / 20 / 30", "1 / 2 / 3"]]
