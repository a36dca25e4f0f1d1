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

"""The covariance is consistent where the noise is known, and follows the lever arm."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.covariance import (
    CovarianceCalibration,
    FrameUncertainty,
    apply_calibration,
    carry_covariance,
    fit_calibration,
    is_covariance,
    squared_mahalanobis_distances,
)
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.pose_estimation import estimate_pose_with_covariance, pose_covariance

TRUTH = looking(0.4, (0.2, -0.5, 1.1))


def _matches(scene: SyntheticScene, noise_px: float, seed: int) -> Matches:
    points = scene.landmark_map.points
    pixels = CAMERA.project(TRUTH.inverse().apply(points))
    seen = np.flatnonzero(CAMERA.contains(pixels))
    xy = pixels[seen] + np.random.default_rng(seed).normal(0, noise_px, (len(seen), 2))
    return Matches(np.zeros(len(seen), np.int32), xy, seen, points[seen].astype(np.float64))


def test_errors_under_known_noise_are_as_large_as_the_covariance_says(scene: SyntheticScene) -> None:
    errors, covariances = [], []
    for seed in range(200):
        estimate = estimate_pose_with_covariance(PoseConfig(), _matches(scene, 1.0, seed), scene.query())
        errors.append(estimate.scene_from_rig.error_to(TRUTH))
        covariances.append(estimate.covariance)
    nees = squared_mahalanobis_distances(np.stack(errors), np.stack(covariances)).mean() / 6
    # the Cauchy loss of the refinement costs a little efficiency; a wrong sign or unit costs a factor of many
    assert 0.8 < nees < 1.4


def test_too_little_information_is_an_infinite_covariance(scene: SyntheticScene) -> None:
    point = np.repeat(_matches(scene, 0.0, 0).points[:1], 10, axis=0)
    covariance = pose_covariance(scene.query(), TRUTH, point, np.zeros(10, int), np.zeros((10, 2)))
    assert np.isinf(np.diag(covariance)).all()


def test_carrying_a_covariance_matches_sampling() -> None:
    rng = np.random.default_rng(3)
    root = rng.normal(size=(6, 6)) * 0.01
    covariance = root @ root.T
    map_from_rig = Pose.from_rotation_vector([0.3, -0.2, 1.0], [1.0, 2.0, 3.0])
    rig_from_body = Pose.from_rotation_vector([0.0, 0.5, 0.0], [0.5, -0.3, 1.0])
    truth = map_from_rig @ rig_from_body
    errors = []
    for error in rng.multivariate_normal(np.zeros(6), covariance, 20000):
        turned = Pose.from_rotation_vector(error[3:], np.zeros(3)).rotation @ map_from_rig.rotation
        disturbed = Pose(turned, map_from_rig.translation + error[:3])
        errors.append((disturbed @ rig_from_body).error_to(truth))
    carried = carry_covariance(covariance, map_from_rig, rig_from_body)
    assert np.cov(np.array(errors).T) == pytest.approx(carried, abs=0.06 * np.abs(carried).max())


def _frame_uncertainty(seed: int = 4) -> FrameUncertainty:
    root = np.random.default_rng(seed).normal(size=(7, 7)) * np.array([0.02] * 3 + [0.005] * 3 + [0.004])[:, None]
    return FrameUncertainty(root @ root.T, np.array([3.0, -2.0, 1.0]), np.array([0.01, 0.02, 0.03, 0.0, 0.0, 0.0]) ** 2)


def test_an_uncertain_frame_matches_sampling() -> None:
    """A map that is shifted, turned and scaled about the centre of its frame's uncertainty, again and again."""
    frame, truth, errors = _frame_uncertainty(), Pose.from_rotation_vector([0.3, -0.2, 1.0], [8.0, 1.0, -4.0]), []
    rng = np.random.default_rng(3)
    for error in rng.multivariate_normal(np.zeros(7), frame.covariance, 20000):
        turn = Pose.from_rotation_vector(error[3:6], np.zeros(3)).rotation
        bent = rng.normal(0.0, np.sqrt(frame.bending[:3]))
        moved = frame.centre + error[:3] + bent + (1.0 + error[6]) * turn @ (truth.translation - frame.centre)
        errors.append(Pose(turn @ truth.rotation, moved).error_to(truth))
    expected = frame.at(truth.translation)
    assert np.cov(np.array(errors).T) == pytest.approx(expected, abs=0.03 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("matrix", "is_one"),
    [
        (np.diag([1e6, 1e-9]), True),
        (np.array([[1e6, 0.9e-2], [0.9e-2, 1e-10]]), True),
        (np.array([[1e6, 1.1e-2], [1.1e-2, 1e-10]]), False),
        (np.array([[1.0, 0.5], [0.4, 1.0]]), False),
        (np.diag([1.0, -1e-12]), False),
        (np.zeros((2, 2)), True),
        (np.array([[0.0, 0.1], [0.1, 1.0]]), False),
    ],
)
def test_a_covariance_is_told_whatever_its_units(matrix: np.ndarray, is_one: bool) -> None:
    assert is_covariance(matrix) is is_one


def test_calibration_finds_the_scale_and_floor_that_made_the_errors() -> None:
    rng = np.random.default_rng(5)
    truth = CovarianceCalibration(2.0, np.repeat([0.01**2, 0.002**2], 3))
    roots = rng.normal(size=(600, 6, 6)) * np.array([0.01, 0.01, 0.01, 0.003, 0.003, 0.003])[:, None]
    raw = roots @ roots.transpose(0, 2, 1)
    errors = np.stack([rng.multivariate_normal(np.zeros(6), apply_calibration(c, truth)) for c in raw])
    found = fit_calibration(errors, raw)
    assert found.samples == 600
    assert found.scale == pytest.approx(2.0, rel=0.15)
    widened = np.stack([apply_calibration(c, found) for c in raw])
    assert squared_mahalanobis_distances(errors, widened).mean() / 6 == pytest.approx(1.0, abs=0.1)


def test_one_wrong_fix_does_not_spoil_the_calibration() -> None:
    rng = np.random.default_rng(6)
    raw = np.repeat(np.diag([1e-4] * 3 + [1e-6] * 3)[None], 100, axis=0)
    errors = rng.multivariate_normal(np.zeros(6), raw[0], 100)
    errors[0] *= 50
    assert fit_calibration(errors, raw).scale < 1.3


def test_no_left_out_queries_is_no_calibration() -> None:
    assert fit_calibration(np.zeros((0, 6)), np.zeros((0, 6, 6))).samples == 0
