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

"""Relative pose of two views on exact geometry, and motions that determine none."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.two_view import TwoViewStatus, estimate_relative_pose

CAMERA = Camera("OPENCV", 640, 480, (500.0, 500.0, 320.0, 240.0, -0.05, 0.01, 0.0, 0.0))
FISHEYE = Camera("OPENCV_FISHEYE", 640, 480, (300.0, 300.0, 320.0, 240.0, 0.01, 0.0, 0.0, 0.0))
MOTION = Pose.from_rotation_vector((0.1, 0.2, -0.05), (0.4, 0.1, 0.2))


def matches(second_from_first: Pose, *, cameras=(CAMERA, CAMERA), noise_px=0.2, wrong=0.25, seed=0):
    """Pixels of points in both views, a part of the second at random."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((-3, -2, 3), (3, 2, 9), (400, 3))
    first, second = cameras[0].project(points), cameras[1].project(second_from_first.apply(points))
    seen = cameras[0].contains(first) & cameras[1].contains(second)
    first, second = (xy[seen] + rng.normal(0, noise_px, (seen.sum(), 2)) for xy in (first, second))
    count = int(wrong * len(second))
    second[:count] = rng.uniform((0, 0), (640, 480), (count, 2))
    return first, second


@pytest.mark.parametrize("cameras", [(CAMERA, CAMERA), (CAMERA, FISHEYE)])
@pytest.mark.parametrize("seed", range(3))
def test_a_motion_is_found_among_wrong_matches(cameras, seed: int) -> None:
    found = estimate_relative_pose(*matches(MOTION, cameras=cameras, seed=seed), cameras)
    assert found.status is TwoViewStatus.OK
    assert np.degrees(found.second_from_first.distance_to(MOTION)[1]) < 0.3
    direction = MOTION.translation / np.linalg.norm(MOTION.translation)
    assert found.second_from_first.translation @ direction > 0.999


def test_driving_straight_ahead_has_parallax() -> None:
    ahead = Pose.from_rotation_vector((0, 0, 0), (0, 0, -1.0))
    found = estimate_relative_pose(*matches(ahead), (CAMERA, CAMERA))
    assert found.second_from_first.translation[2] < -0.999


def test_a_pure_rotation_has_a_rotation_and_no_pose() -> None:
    turn = Pose.from_rotation_vector((0, 0.2, 0), (0, 0, 0))
    found = estimate_relative_pose(*matches(turn), (CAMERA, CAMERA))
    assert found.status is TwoViewStatus.PURE_ROTATION
    assert found.second_from_first is None
    assert Pose(found.rotation, np.zeros(3)).distance_to(turn)[1] < 2e-3
    assert found.inliers.mean() > 0.7


def test_identical_views_have_no_motion() -> None:
    first, _ = matches(Pose.identity())
    found = estimate_relative_pose(first, first.copy(), (CAMERA, CAMERA))
    assert found.status is TwoViewStatus.NO_MOTION
    assert found.inliers.all()


def test_without_calibration_or_with_few_or_wrong_matches_there_is_no_pose() -> None:
    first, second = matches(MOTION)
    assert estimate_relative_pose(first, second, None).status is TwoViewStatus.NOT_CALIBRATED
    for count in (0, 1, 7):
        found = estimate_relative_pose(first[:count], second[:count], (CAMERA, CAMERA))
        assert (found.status, len(found.inliers)) == (TwoViewStatus.TOO_FEW_MATCHES, count)
    noise = np.random.default_rng(0).uniform(0, 480, (2, 20, 2))
    assert estimate_relative_pose(*noise, (CAMERA, CAMERA)).status is TwoViewStatus.NO_POSE


@pytest.mark.parametrize("count", [400, 1000, 1500])
@pytest.mark.parametrize("max_error_px", [1.0, 4.0])
def test_matches_at_random_have_no_pose(count: int, max_error_px: float) -> None:
    for seed in range(4):
        pixels = np.random.default_rng(seed).uniform((0, 0), (640, 480), (2, count, 2))
        found = estimate_relative_pose(*pixels, (CAMERA, CAMERA), max_error_px=max_error_px, seed=seed)
        assert (found.status, found.inliers.any()) == (TwoViewStatus.NO_POSE, False)


@pytest.mark.parametrize("seed", range(3))
def test_a_motion_is_found_where_30_percent_of_the_matches_are_right(seed: int) -> None:
    found = estimate_relative_pose(*matches(MOTION, wrong=0.7, seed=seed), (CAMERA, CAMERA))
    assert np.degrees(found.second_from_first.distance_to(MOTION)[1]) < 1.0


def test_matches_of_one_point_have_no_rotation() -> None:
    rng = np.random.default_rng(0)
    near, there = (value + rng.uniform(0, 0.1, (40, 2)) for value in (100, 300))
    spread = matches(MOTION)[0][:40]
    for first, second in ((near, there), (near.round(), there.round()), (spread, there), (near, spread)):
        found = estimate_relative_pose(first, second, (CAMERA, CAMERA))
        assert (found.status, found.rotation) == (TwoViewStatus.NO_POSE, None)


def test_a_camera_that_stands_still_has_not_moved_whatever_its_calibrations() -> None:
    again = Camera("OPENCV", 640, 480, (500.0 + 1e-6, *CAMERA.parameters[1:]))
    first, second = matches(Pose.identity(), cameras=(CAMERA, FISHEYE))
    assert estimate_relative_pose(first, first, (CAMERA, again)).status is TwoViewStatus.NO_MOTION
    assert estimate_relative_pose(first, second, (CAMERA, FISHEYE)).status is TwoViewStatus.NO_MOTION


def test_pixels_that_are_not_finite_or_not_paired_are_refused() -> None:
    first, second = matches(MOTION)
    with pytest.raises(InputError, match="NaN"):
        estimate_relative_pose(np.full_like(first, np.nan), second, (CAMERA, CAMERA))
    with pytest.raises(InputError, match="expected"):
        estimate_relative_pose(first[:5], second, (CAMERA, CAMERA))
