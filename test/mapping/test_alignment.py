"""Maps move as one: what a camera sees stays where it is in the image; similarities are found despite wrong pairs."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import CovarianceCalibration, LandmarkMap
from vloc_ros.mapping.maps.alignment import gravity_alignment, transform_map

sys.path.append(str(Path(__file__).parents[1] / "core"))
from synthetic import CAMERA, make_scene

_number = st.floats(-3, 3, allow_nan=False, width=32)
_vector = st.tuples(_number, _number, _number).map(np.array)
_similarity = st.builds(
    lambda scale, turn, offset: Similarity(scale, Pose.from_rotation_vector(turn, np.zeros(3)).rotation, offset),
    st.floats(0.01, 100),
    _vector,
    _vector,
)


@pytest.fixture(scope="module")
def landmark_map() -> LandmarkMap:
    return make_scene().landmark_map


def _points(count: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 3))


def _assert_close(found: Similarity, expected: Similarity, tolerance: float = 1e-6) -> None:
    points = _points(5, seed=9)
    assert found.residuals(points, expected.apply(points)).max() < tolerance * expected.scale


@settings(max_examples=25, deadline=None)
@given(_similarity, st.integers(3, 12))
def test_exact_points_give_the_exact_similarity(similarity: Similarity, count: int) -> None:
    source = _points(count)
    _assert_close(Similarity.fit(source, similarity.apply(source), with_scale=True), similarity)


@settings(max_examples=12, deadline=None)
@given(_similarity, st.sampled_from([6, 9, 25]), st.integers(0, 5))
def test_wrong_pairs_are_left_out(similarity: Similarity, count: int, seed: int) -> None:
    source = _points(count, seed)
    target = similarity.apply(source)
    wrong = max(1, int(0.3 * count)) if count > 6 else 1
    target[:wrong] += similarity.scale * (5 + np.abs(_points(wrong, seed + 1)))
    _assert_close(Similarity.fit(source, target, with_scale=True), similarity)


def test_the_same_input_gives_the_same_output() -> None:
    source, target = _points(60), _points(60) + 0.05 * _points(60, seed=1)
    first, second = (Similarity.fit(source, target, with_scale=True) for _ in range(2))
    assert first.scale == second.scale
    np.testing.assert_array_equal(first.rotation, second.rotation)


def test_scale_is_only_changed_where_asked() -> None:
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


def test_pairs_that_do_not_agree_within_what_is_asked_are_refused() -> None:
    with pytest.raises(InputError, match=r"pairs agree within 0\.001, expected at least 3"):
        Similarity.fit(_points(8), _points(8, seed=1), with_scale=True, max_residual=0.001)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_that_is_none_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match="expected a positive one"):
        Similarity(scale, np.eye(3), np.zeros(3))


def _line_of_poses(count: int) -> list[Pose]:
    return [Pose.from_rotation_vector([0.1, 0.2, 0.01 * i], [0.5 * i, 0.0, 0.0]) for i in range(count)]


@settings(max_examples=12, deadline=None)
@given(_similarity)
def test_poses_on_a_line_give_the_similarity(similarity: Similarity) -> None:
    source = [Pose.from_rotation_vector([0.1, 0.2, 0.3], [0.5 * i, 0.0, 0.0]) for i in range(8)]
    target = [similarity.apply_to_pose(pose) for pose in source]
    _assert_close(Similarity.fit_poses(source, target, with_scale=True), similarity)


def test_a_pose_at_a_wrong_place_is_left_out() -> None:
    source = _line_of_poses(12)
    target = [Pose(pose.rotation, pose.translation + np.array([0, 0, 4.0 * (i == 5)])) for i, pose in enumerate(source)]
    _assert_close(Similarity.fit_poses(source, target, with_scale=True), Similarity(1.0, np.eye(3), np.zeros(3)))


def test_one_pose_will_do_without_scale_only() -> None:
    similarity = Similarity(1.0, Pose.from_rotation_vector([1, 0, 1], np.zeros(3)).rotation, np.array([1.0, 2, 3]))
    source = _line_of_poses(1)
    target = [similarity.apply_to_pose(pose) for pose in source]
    _assert_close(Similarity.fit_poses(source, target, with_scale=False), similarity)
    with pytest.raises(InputError, match="at one place, which tells no scale"):
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


@settings(max_examples=10, deadline=None)
@given(similarity=_similarity)
def test_a_moved_map_looks_the_same_from_its_keyframes(landmark_map: LandmarkMap, similarity: Similarity) -> None:
    other = transform_map(landmark_map, similarity, frame_id="site")
    for k in range(0, len(landmark_map.keyframes), 7):
        seen = landmark_map.keyframes.visible(k)
        before = CAMERA.project(landmark_map.keyframes.pose(k).inverse().apply(landmark_map.points[seen]))
        after = CAMERA.project(other.keyframes.pose(k).inverse().apply(other.points[seen]))
        np.testing.assert_allclose(before, after, atol=0.5)
    assert (other.frame_ids, other.metric) == (("site",), landmark_map.metric)
    assert other.points.dtype == np.float32


def test_the_calibration_moves_along(landmark_map: LandmarkMap) -> None:
    floor = np.array([1.0, 4.0, 9.0, 0.1, 0.2, 0.3])
    calibrated = landmark_map.with_calibration(CovarianceCalibration(1.5, floor, 40))
    quarter_turn = Similarity(2.0, Pose.from_rotation_vector([0, 0, np.pi / 2], np.zeros(3)).rotation, np.zeros(3))
    calibration = transform_map(calibrated, quarter_turn, metric=False).scene().calibration
    np.testing.assert_allclose(calibration.floor, [16.0, 4.0, 36.0, 0.2, 0.1, 0.3])
    assert (calibration.scale, calibration.samples) == (1.5, 40)


def test_the_metric_flag_is_what_is_said(landmark_map: LandmarkMap) -> None:
    identity = Similarity(1.0, np.eye(3), np.zeros(3))
    unknown = replace(landmark_map, metric=False)
    assert [transform_map(unknown, identity, metric=metric).metric for metric in (None, True)] == [False, True]


def test_coordinates_that_lose_the_centimetres_are_refused(landmark_map: LandmarkMap) -> None:
    utm = Similarity(1.0, np.eye(3), np.array([5e5, 5.4e6, 0.0]))
    with pytest.raises(InputError, match=r"up to 54\d* m, expected at most 100000 m; subtract a local origin"):
        transform_map(landmark_map, utm)


def _up_after(tilted: LandmarkMap) -> Array:
    """Where the true up axis of a map that was tilted by `_TILT` points after its gravity alignment."""
    return gravity_alignment(tilted).rotation @ _TILT.rotation @ [0.0, 0.0, 1.0]


_TILT = Similarity(1.0, Pose.from_rotation_vector([0.9, -0.4, 0.0], np.zeros(3)).rotation, np.zeros(3))


def _pitched(landmark_map: LandmarkMap, angle: float, keep: slice) -> LandmarkMap:
    """The map with every camera nodding by `angle` radians, seen by some of its keyframes only."""
    nod = Pose.from_rotation_vector([angle, 0, 0], np.zeros(3)).rotation
    keyframes = landmark_map.keyframes
    kept = range(len(keyframes))[keep]
    visible = [keyframes.visible(k) for k in kept]
    fewer = type(keyframes)(
        names=tuple(keyframes.names[k] for k in kept),
        rotations=keyframes.rotations[keep] @ nod,
        translations=keyframes.translations[keep],
        point_offsets=np.cumsum([0, *map(len, visible)]),
        point_indices=np.concatenate(visible),
    )
    scene = replace(landmark_map.scene(), keyframes=range(len(fewer)))
    return replace(landmark_map, keyframes=fewer, scenes=(scene,))


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.4])
def test_up_is_found_when_all_cameras_look_down_or_up(landmark_map: LandmarkMap, angle: float) -> None:
    """A robot's camera is mounted at an angle; it turns, so the horizontal x axes tell."""
    quarter = slice(0, 6)
    up = _up_after(transform_map(_pitched(landmark_map, angle, quarter), _TILT))
    assert np.degrees(np.arccos(up[2])) < (1e-3 if angle == 0.0 else 2.0)


def test_cameras_that_all_look_the_same_way_are_taken_as_level(landmark_map: LandmarkMap) -> None:
    assert _up_after(transform_map(_pitched(landmark_map, 0.0, slice(3, 4)), _TILT))[2] == pytest.approx(1, abs=1e-9)


def test_gravity_keeps_the_heading(landmark_map: LandmarkMap) -> None:
    np.testing.assert_allclose(gravity_alignment(landmark_map).rotation, np.eye(3), atol=1e-6)
    turned = transform_map(
        landmark_map, Similarity(1.0, Pose.from_rotation_vector([0, 0, 1], [0, 0, 0]).rotation, np.zeros(3))
    )
    np.testing.assert_allclose(gravity_alignment(turned).rotation, np.eye(3), atol=1e-6)


@pytest.mark.parametrize("axis", [[np.pi, 0, 0], [0, np.pi, 0]])
def test_a_map_upside_down_is_turned_over(landmark_map: LandmarkMap, axis: list[float]) -> None:
    over = Similarity(1.0, Pose.from_rotation_vector(axis, [0, 0, 0]).rotation, np.zeros(3))
    again = gravity_alignment(transform_map(landmark_map, over)).rotation @ over.rotation
    assert again[2, 2] == pytest.approx(1)


def test_cameras_held_in_all_ways_tell_no_gravity(landmark_map: LandmarkMap) -> None:
    rolled = landmark_map.keyframes.rotations.copy()
    rolled[::2] = rolled[::2] @ np.diag([-1.0, -1.0, 1.0])
    with pytest.raises(InputError, match="not held upright"):
        gravity_alignment(replace(landmark_map, keyframes=replace(landmark_map.keyframes, rotations=rolled)))
