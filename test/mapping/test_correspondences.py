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

"""2D-2D matches and their check against known poses."""

from __future__ import annotations

import numpy as np
import pytest
from posed_points import CAMERA, make_posed_points, unit

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.mapping.sfm.correspondences import (
    VerifiedPair,
    choose_by_measured_motions,
    epipolar_inliers,
    estimate_relative_pose,
    match_pairs,
    mutual_matches,
    parallax,
    verify_pairs,
)


def test_matches_show_the_same_point() -> None:
    scene = make_posed_points(images=2)
    found = mutual_matches(scene.features[0], scene.features[1], 0.8)
    first, second = scene.point_of_keypoint
    assert len(found) == len(np.intersect1d(first, second))
    np.testing.assert_array_equal(first[found[:, 0]], second[found[:, 1]])


def test_what_has_two_alike_partners_is_not_matched() -> None:
    rng = np.random.default_rng(1)
    descriptors = unit(rng.normal(size=(20, 128)))
    seen_again = unit(descriptors + rng.normal(0, 0.02, descriptors.shape))
    duplicates = unit(seen_again[:5] + rng.normal(0, 1e-4, (5, 128)))
    found = mutual_matches(_features(descriptors), _features(np.concatenate([seen_again, duplicates])), 0.9)
    assert found[:, 0].tolist() == list(range(5, 20))


def test_of_equal_descriptors_the_first_is_matched() -> None:
    descriptors = unit(np.random.default_rng(2).normal(size=(20, 128)))
    repeated = _features(np.concatenate([descriptors, descriptors[:5]]))
    found = mutual_matches(repeated, _features(descriptors), 0.9)
    assert found.tolist() == [[i, i] for i in range(20)]


def test_many_pairs_give_what_each_gives_alone_in_their_order() -> None:
    scene = make_posed_points(images=5)
    pairs = [(0, 3), (2, 4), (0, 1), (1, 2)]
    found = list(match_pairs(scene.features, pairs, ratio=0.8))
    assert [pair for pair, _ in found] == pairs
    for (i, j), matches in found:
        np.testing.assert_array_equal(matches, mutual_matches(scene.features[i], scene.features[j], 0.8))


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_keypoints_give_no_match(count: int) -> None:
    scene = make_posed_points(images=1)
    few = _features(scene.features[0].descriptors[:count])
    assert mutual_matches(few, scene.features[0], 0.9).shape == (0, 2)
    assert mutual_matches(scene.features[0], few, 0.9).shape == (0, 2)


def test_epipolar_check_keeps_true_matches_and_drops_wrong_ones() -> None:
    scene = make_posed_points(images=2, points=2000)
    found = scene.true_matches()[0, 1]
    rays = [CAMERA.unproject(features.xy) for features in scene.features]
    right = _inliers(rays[0][found[:, 0]], rays[1][found[:, 1]], scene.poses)
    wrong = _inliers(rays[0][found[:, 0]], rays[1][np.roll(found[:, 1], 7)], scene.poses)
    assert right.mean() > 0.99
    assert wrong.mean() < 0.1


def test_one_relative_pose_explains_the_true_matches_and_few_wrong_ones() -> None:
    scene = make_posed_points(images=2, points=2000)
    found = scene.true_matches()[0, 1]
    rays = [CAMERA.unproject(features.xy) for features in scene.features]
    is_wrong = np.arange(len(found)) % 2 == 1
    first, second = rays[0][found[:, 0]], rays[1][found[:, 1]].copy()
    second[is_wrong] = np.roll(second[is_wrong], 7, axis=0)
    pose, inliers = estimate_relative_pose((first, second), (CAMERA, CAMERA), max_error_px=2.0)
    truth = scene.poses[0].inverse() @ scene.poses[1]
    assert pose.distance_to(truth)[1] < 0.01
    assert pose.translation @ truth.translation > 0.99 * np.linalg.norm(truth.translation)
    assert inliers[~is_wrong].mean() > 0.95
    assert inliers[is_wrong].mean() < 0.1


@pytest.mark.parametrize("count", [0, 4])
def test_too_few_matches_have_no_relative_pose(count: int) -> None:
    rays = np.tile([0.1, 0.2, 1.0], (count, 1))
    assert not estimate_relative_pose((rays, rays), (CAMERA, CAMERA), max_error_px=2.0)[1].any()


def test_consistent_matches_are_of_the_pairs_they_were_asked_for() -> None:
    scene = make_posed_points(images=4)
    matches = scene.true_matches()
    rays = [CAMERA.unproject(features.xy) for features in scene.features]
    found = dict(verify_pairs(matches, rays, [CAMERA] * 4, max_error_px=2.0))
    assert list(found) == list(matches)
    for pair, kept in found.items():
        assert len(kept.matches) > 0.9 * len(matches[pair])
        assert {tuple(row) for row in kept.matches} <= {tuple(row) for row in matches[pair]}


def _chosen(points: np.ndarray, true: Pose, measured: Pose, seed: int, noise_px: float = 0.8) -> tuple[Pose, Pose]:
    """Return first_from_second of two images of points, by the images alone and as the measured motion chooses it."""
    rng = np.random.default_rng(seed)
    seen = [CAMERA.project(one.inverse().apply(points)) for one in (Pose.identity(), true)]
    rays = [CAMERA.unproject(one + rng.normal(0.0, noise_px, one.shape)) for one in seen]
    matches = {(0, 1): np.repeat(np.arange(len(points)), 2).reshape(-1, 2)}
    alone = dict(verify_pairs(matches, rays, [CAMERA] * 2, max_error_px=2.0))
    chosen = choose_by_measured_motions(alone, {(0, 1): measured}, rays, [CAMERA] * 2, max_error_px=2.0)
    assert len(chosen[0, 1].matches) > 0.8 * len(points)
    return alone[0, 1].first_from_second, chosen[0, 1].first_from_second


def test_a_measured_motion_tells_a_step_along_a_wall_from_a_turn() -> None:
    """Of a picture on a wall many relative poses explain all matches, and the best often takes a step for a turn."""
    turned = np.zeros(2, int)
    for seed in range(6):
        rng = np.random.default_rng(100 + seed)
        true = Pose.from_rotation_vector(rng.normal(0.0, 0.01, 3), [0.16, 0.01, 0.0])
        measured = true @ Pose.from_rotation_vector(rng.normal(0.0, 0.005, 3), rng.normal(0.0, 0.01, 3))
        picture = np.column_stack([rng.uniform(-0.3, 0.3, (150, 2)), np.full(150, 2.0)])
        turned += [found.distance_to(true)[1] > 0.02 for found in _chosen(picture, true, measured, seed)]
    assert turned[0] >= 3
    assert turned[1] == 0


def test_a_keypoint_that_the_camera_drives_towards_is_no_trouble() -> None:
    ahead = Pose(np.eye(3), [0.0, 0.0, 0.3])
    points = np.column_stack([np.random.default_rng(0).uniform(-1.0, 1.0, (150, 2)), np.full(150, 2.0)])
    points[0] = [0.0, 0.0, 2.0]
    rays = [points / points[:, 2:], (points - ahead.translation) / (points - ahead.translation)[:, 2:]]
    pairs = {
        (0, 1): VerifiedPair(
            np.repeat(np.arange(150), 2).reshape(-1, 2), Pose.from_rotation_vector([0.1, 0, 0], [0, 0, 1]), 0.1
        )
    }
    chosen = choose_by_measured_motions(pairs, {(0, 1): ahead}, rays, [CAMERA] * 2, max_error_px=2.0)
    assert chosen[0, 1].first_from_second.distance_to(Pose(np.eye(3), [0.0, 0.0, 1.0]))[1] < 1e-3


@pytest.mark.parametrize(("true_x", "measured_x"), [(0.2, -0.2), (-0.4, 1.6)], ids=["backwards", "places alike"])
def test_a_measured_motion_that_the_images_contradict_chooses_nothing(true_x: float, measured_x: float) -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        true = Pose.from_rotation_vector(rng.normal(0.0, 0.01, 3), [true_x, 0.02, 0.0])
        measured = Pose.from_rotation_vector(rng.normal(0.0, 0.02, 3), [measured_x, 0.0, 0.0])
        for depth_m in (rng.uniform(1.5, 4.0, 150), np.full(150, 2.0)):
            points = np.column_stack([rng.uniform(-1.0, 1.0, (150, 2)), depth_m])
            alone, chosen = _chosen(points, true, measured, seed)
            assert chosen is alone


def test_parallax_is_the_angle_between_rays_to_one_point() -> None:
    rays = (np.array([[0.0, 0.0, 1.0]]), np.array([[np.tan(0.1), 0.0, 1.0]]))
    assert parallax(*rays) == pytest.approx(0.1)
    assert parallax(rays[0][:0], rays[1][:0]) == 0.0


def test_epipolar_error_is_in_pixels() -> None:
    poses = (Pose.identity(), Pose(np.eye(3), np.array([1.0, 0.0, 0.0])))
    first = np.array([[0.1, 0.0, 1.0]])
    off_px = np.array([2.0, 6.0])
    second = np.column_stack([[-0.1, -0.1], off_px / 525.0, [1.0, 1.0]])
    # Sampson shares an error that either image may have: the distance is off / sqrt(2)
    assert _inliers(np.repeat(first, 2, axis=0), second, poses).tolist() == [True, False]


def test_images_at_one_place_and_rays_that_do_not_exist_agree_with_nothing() -> None:
    ray = np.array([[0.1, 0.2, 1.0]])
    assert not _inliers(ray, ray, (Pose.identity(), Pose.identity())).any()
    moved = Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))
    assert not _inliers(ray, np.full((1, 3), np.nan), (Pose.identity(), moved)).any()


def _inliers(first: np.ndarray, second: np.ndarray, poses: tuple[Pose, Pose]) -> np.ndarray:
    return epipolar_inliers((first, second), (poses[0], poses[1]), (CAMERA, CAMERA), max_error_px=3.0)


def _features(descriptors: np.ndarray) -> Features:
    count = len(descriptors)
    return Features(np.zeros((count, 2), np.float32), descriptors, np.ones(count, np.float32))
