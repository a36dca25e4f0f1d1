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

"""Similarities between points and poses are found despite wrong pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity

_number = st.floats(-3, 3, allow_nan=False, width=32)
_vector = st.tuples(_number, _number, _number).map(np.array)
_similarity = st.builds(
    lambda scale, turn, offset: Similarity(scale, Pose.from_rotation_vector(turn, np.zeros(3)).rotation, offset),
    st.floats(0.01, 100),
    _vector,
    _vector,
)


def _points(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 3))


def _assert_close(found: Similarity, expected: Similarity, tolerance: float = 1e-6) -> None:
    points = _points(5, seed=9)
    assert found.residuals(points, expected.apply(points)).max() < tolerance * expected.scale


@settings(max_examples=25)
@given(_similarity, st.integers(3, 12))
def test_exact_points_give_the_exact_similarity(similarity: Similarity, count: int) -> None:
    source = _points(count)
    _assert_close(Similarity.fit(source, similarity.apply(source), with_scale=True), similarity)


@settings(max_examples=12)
@given(_similarity, st.sampled_from([6, 9, 25]), st.integers(0, 5))
def test_wrong_pairs_are_left_out(similarity: Similarity, count: int, seed: int) -> None:
    source = _points(count, seed)
    target = similarity.apply(source)
    wrong = max(1, int(0.3 * count)) if count > 6 else 1
    target[:wrong] += similarity.scale * (5 + np.abs(_points(wrong, seed + 1)))
    _assert_close(Similarity.fit(source, target, with_scale=True), similarity)


@settings(max_examples=12)
@given(_similarity)
def test_umeyama_takes_all_pairs_and_an_inverse_leads_back(similarity: Similarity) -> None:
    points = _points(12)
    _assert_close(Similarity.umeyama(points, similarity.apply(points), with_scale=True), similarity)
    np.testing.assert_allclose(similarity.inverse().apply(similarity.apply(points)), points, atol=1e-6)
    moved = points.copy()
    moved[0] += 1.0
    off = Similarity.umeyama(points, moved, with_scale=False).residuals(points, moved)
    assert (off > 1e-3).all(), "a wrong pair is not left out"


def test_the_same_input_gives_the_same_output() -> None:
    source, target = _points(60), _points(60) + 0.05 * _points(60, seed=1)
    first, second = (Similarity.fit(source, target, with_scale=True) for _ in range(2))
    assert first.scale == second.scale
    np.testing.assert_array_equal(first.rotation, second.rotation)


def test_scale_is_only_changed_where_requested() -> None:
    source = _points(10)
    found = Similarity.fit(source, 1.1 * source, with_scale=False)
    assert found.scale == 1.0
    np.testing.assert_allclose(found.rotation, np.eye(3), atol=1e-9)


def test_noise_averages_out() -> None:
    rng = np.random.default_rng(3)
    source = rng.normal(size=(400, 3))
    found = Similarity.fit(source, source + rng.normal(0, 0.05, source.shape), with_scale=True)
    assert abs(found.scale - 1) < 0.01
    assert np.abs(found.translation).max() < 0.01


def test_points_that_do_not_belong_together_are_refused() -> None:
    for target in (_points(8) * [1, 1, -1], _points(8, seed=1)):
        with pytest.raises(InputError, match=r"point pairs agree to \S+ only, which leaves the turn open"):
            Similarity.fit(_points(8), target, with_scale=True)


def test_mirrored_points_give_a_rotation() -> None:
    source = _points(8) * [1, 1, 0.01]
    found = Similarity.fit(source, source * [1, 1, -1], with_scale=True, max_residual=1.0)
    assert np.linalg.det(found.rotation) == pytest.approx(1)


@pytest.mark.parametrize(
    ("source", "target", "reason"),
    [
        (_points(2), _points(2), "found 2 point pairs, expected at least 3"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "found 0 point pairs"),
        (_points(4), _points(5), r"shapes \(4, 3\) and \(5, 3\)"),
        (_points(4)[:, :2], _points(4)[:, :2], r"shapes \(4, 2\)"),
        (np.full((4, 3), np.nan), _points(4), "not finite"),
        (np.outer(np.arange(6), [1, 2, 3]), _points(6), "lie on a line"),
        (_points(6), np.outer(np.arange(6), [1, 2, 3]), "lie on a line"),
        (np.ones((5, 3)), _points(5), "lie on a line"),
    ],
)
def test_what_leaves_the_similarity_open_is_refused(source: Array, target: Array, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Similarity.fit(source, target, with_scale=True)


def test_a_noisy_line_is_refused() -> None:
    rng = np.random.default_rng(0)
    source = np.outer(np.linspace(0, 50, 30), [1, 0, 0]) + rng.normal(0, 0.001, (30, 3))
    with pytest.raises(InputError, match="nearly on a line"):
        Similarity.fit(source, source + rng.normal(0, 0.05, (30, 3)), with_scale=True)


def test_pairs_that_do_not_agree_within_a_limit_are_refused() -> None:
    with pytest.raises(InputError, match=r"pairs agree within 0\.001, expected at least 3"):
        Similarity.fit(_points(8), _points(8, seed=1), with_scale=True, max_residual=0.001)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="expected a positive one"):
        Similarity(scale, np.eye(3), np.zeros(3))


def _line_of_poses(count: int) -> list[Pose]:
    return [Pose.from_rotation_vector([0.1, 0.2, 0.01 * i], [0.5 * i, 0.0, 0.0]) for i in range(count)]


@settings(max_examples=12)
@given(_similarity)
def test_poses_on_a_line_give_the_similarity(similarity: Similarity) -> None:
    source = [Pose.from_rotation_vector([0.1, 0.2, 0.3], [0.5 * i, 0.0, 0.0]) for i in range(8)]
    target = [similarity.apply_to_pose(pose) for pose in source]
    _assert_close(Similarity.fit_poses(source, target, with_scale=True), similarity)


def test_orientations_that_are_all_off_do_not_turn_a_street() -> None:
    """As where the principal point is: each camera is turned by 4 mrad, about an axis that moves with it."""
    rng = np.random.default_rng(0)
    along = [np.array([x, 0.0, 0.0]) for x in np.linspace(0.0, 100.0, 40)]
    turns = rng.normal([0.0, 0.0, 4e-3], 1e-4, (40, 3))
    target = [Pose.from_rotation_vector(turn, at) for turn, at in zip(turns, along, strict=True)]
    source = [Pose(np.eye(3), at + rng.normal(0.0, 1e-3, 3)) for at in along]
    fitted = Similarity.fit_poses(source, target, with_scale=False)
    assert fitted.residuals(np.array(along), np.array(along)).max() < 0.01


def test_a_pose_at_a_wrong_place_is_left_out() -> None:
    source = _line_of_poses(12)
    target = [Pose(pose.rotation, pose.translation + np.array([0, 0, 4.0 * (i == 5)])) for i, pose in enumerate(source)]
    _assert_close(Similarity.fit_poses(source, target, with_scale=True), Similarity(1.0, np.eye(3), np.zeros(3)))


@settings(max_examples=25)
@given(_similarity, st.booleans(), st.sampled_from([5.0, 1000.0]), st.integers(0, 5))
def test_just_under_half_of_the_poses_may_be_wrong(
    similarity: Similarity, with_scale: bool, off: float, seed: int
) -> None:
    """8 of 20, on a way of 10 m with noise of 1 cm; by plain least squares these are not told from the others."""
    rng = np.random.default_rng(seed)
    if not with_scale:
        similarity = Similarity(1.0, similarity.rotation, similarity.translation)
    ways = np.stack([np.linspace(0, 10, 20), rng.normal(0, 1, 20), rng.normal(0, 0.1, 20)], axis=1)
    source = [Pose.from_rotation_vector(rng.normal(0, 0.5, 3), at) for at in ways]
    noisy = [Pose.from_rotation_vector(rng.normal(0, 1e-3, 3), rng.normal(0, 0.01, 3)) for _ in source]
    target = [similarity.apply_to_pose(pose @ noise) for pose, noise in zip(source, noisy, strict=True)]
    for i in rng.choice(20, 8, replace=False):
        away = similarity.scale * off * rng.normal(size=3)
        target[i] = Pose(Pose.from_rotation_vector(rng.normal(0, 1, 3), away).rotation, target[i].translation + away)
    fitted = Similarity.fit_poses(source, target, with_scale=with_scale)
    assert fitted.residuals(ways, similarity.apply(ways)).max() < 0.05 * similarity.scale


def test_one_pose_will_do_without_scale_only() -> None:
    similarity = Similarity(1.0, Pose.from_rotation_vector([1, 0, 1], np.zeros(3)).rotation, np.array([1.0, 2, 3]))
    source = _line_of_poses(1)
    target = [similarity.apply_to_pose(pose) for pose in source]
    _assert_close(Similarity.fit_poses(source, target, with_scale=False), similarity)
    with pytest.raises(InputError, match="at one place, which leaves the scale open"):
        Similarity.fit_poses(source, target, with_scale=True)


def test_poses_that_cannot_be_compared_are_refused() -> None:
    poses = _line_of_poses(4)
    with pytest.raises(InputError, match="found 4 poses and 3 in the target frame"):
        Similarity.fit_poses(poses, poses[:3], with_scale=False)
    with pytest.raises(InputError, match="found 0 poses"):
        Similarity.fit_poses([], [], with_scale=False)
    backwards = [Pose(pose.rotation, -pose.translation) for pose in poses]
    with pytest.raises(InputError, match="contradict each other"):
        Similarity.fit_poses(poses, backwards, with_scale=True)
