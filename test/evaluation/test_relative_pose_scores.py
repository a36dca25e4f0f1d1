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

"""Scores of relative poses: area under the curve of recall, errors, and which matches count as correct."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.evaluation.relative_pose_scores import (
    epipolar_precision,
    pose_auc,
    relative_pose_error_deg,
    superglue_precision,
)

CAMERA = Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))
MOTION = Pose.from_rotation_vector((0.1, 0.2, -0.05), (0.4, 0.1, 0.2))


def test_the_area_is_that_below_the_curve_and_a_refusal_counts() -> None:
    assert pose_auc(np.array([0.0, 0.0]), 5) == pytest.approx(100)
    assert pose_auc(np.array([np.inf, 7.0]), 5) == 0
    assert pose_auc(np.array([0.0, np.inf]), 10) == pytest.approx(50)
    # recall rises linearly to a half at 5 and stays
    assert pose_auc(np.array([5.0, np.inf]), 10) == pytest.approx(100 * (0.5 * 5 * 0.5 + 5 * 0.5) / 10)


def test_a_direction_counts_either_way_round_and_a_refusal_is_infinite() -> None:
    turned = Pose(MOTION.rotation, -MOTION.translation)
    assert relative_pose_error_deg(turned, MOTION) == pytest.approx(0, abs=1e-5)
    assert relative_pose_error_deg(None, MOTION) == np.inf


def test_matches_near_their_epipolar_lines_are_correct() -> None:
    points = np.random.default_rng(0).uniform((-3, -2, 3), (3, 2, 9), (200, 3))
    first, second = CAMERA.project(points), CAMERA.project(MOTION.apply(points))
    assert epipolar_precision(first, second, (CAMERA, CAMERA), MOTION) == 1
    assert epipolar_precision(first, second, (CAMERA, CAMERA), MOTION.inverse()) < 0.5
    assert superglue_precision(first, second, (CAMERA, CAMERA), MOTION) == 1
    assert superglue_precision(first[:0], second[:0], (CAMERA, CAMERA), MOTION) == 0
    assert epipolar_precision(first[:0], second[:0], (CAMERA, CAMERA), MOTION) == 0


def test_the_limit_of_superglue_is_of_squares() -> None:
    """Beside each other the lines are rows of pixels: a row apart d, the error is 2 d^2."""
    sideways = Pose(np.eye(3), np.array([1.0, 0, 0]))
    first = np.tile([320.0, 240.0], (2, 1))
    second = first + 500 * np.array([[0.1, 0.015], [0.1, 0.017]])
    assert superglue_precision(first, second, (CAMERA, CAMERA), sideways) == 0.5
    assert epipolar_precision(first, second, (CAMERA, CAMERA), sideways) == 0
