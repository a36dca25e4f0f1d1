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

"""Poses form a group, survive their representations, and refuse what is no rotation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose, skew

_relaxed = settings(max_examples=50)  # the first call loads libraries, other processes take turns
_angle = st.floats(-3.1, 3.1)
_metres = st.floats(-1e3, 1e3)
_vectors = st.tuples(_metres, _metres, _metres)


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    axis = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    length = float(np.linalg.norm(axis))
    axis = axis / length if length > 1e-3 else np.array([0.0, 0.0, 1.0])
    return Pose.from_rotation_vector(axis * draw(_angle), draw(_vectors))


def _assert_same(a: Pose, b: Pose) -> None:
    np.testing.assert_allclose(a.rotation, b.rotation, atol=1e-9)
    np.testing.assert_allclose(a.translation, b.translation, atol=1e-7)


@_relaxed
@given(poses(), poses(), poses())
def test_group_laws(a: Pose, b: Pose, c: Pose) -> None:
    _assert_same((a @ b) @ c, a @ (b @ c))
    _assert_same(a @ a.inverse(), Pose.identity())
    _assert_same(a.inverse() @ a, Pose.identity())
    _assert_same(a @ Pose.identity(), a)
    _assert_same(Pose.identity() @ a, a)
    _assert_same((a @ b).inverse(), b.inverse() @ a.inverse())


@_relaxed
@given(poses(), poses(), _vectors)
def test_products_chain(map_from_base: Pose, base_from_camera: Pose, point: tuple[float, float, float]) -> None:
    direct = (map_from_base @ base_from_camera).apply(point)
    np.testing.assert_allclose(direct, map_from_base.apply(base_from_camera.apply(point)), atol=1e-7)
    np.testing.assert_allclose(
        map_from_base.matrix @ np.array([*point, 1.0]), [*map_from_base.apply(point), 1.0], atol=1e-7
    )


@_relaxed
@given(poses())
def test_representations_survive(pose: Pose) -> None:
    _assert_same(Pose.from_quaternion(pose.quaternion, pose.translation), pose)
    _assert_same(Pose.from_quaternion(-2 / 3 * pose.quaternion, pose.translation), pose)
    _assert_same(Pose.from_rotation_vector(pose.rotation_vector, pose.translation), pose)
    assert pose.quaternion[3] >= 0
    assert np.linalg.norm(pose.quaternion) == pytest.approx(1)


def test_quaternions_are_x_y_z_w() -> None:
    quarter_about_z = Pose.from_quaternion([0, 0, np.sqrt(0.5), np.sqrt(0.5)], [0, 0, 0])
    np.testing.assert_allclose(quarter_about_z.apply([1, 0, 0]), [0, 1, 0], atol=1e-12)


@_relaxed
@given(poses(), _vectors, st.tuples(*[st.floats(-1.5, 1.5)] * 3))
def test_error_is_measured_in_target_axes(truth: Pose, shift: tuple[float, ...], turn: tuple[float, ...]) -> None:
    left_turn = Pose.from_rotation_vector(turn, np.zeros(3))
    estimate = Pose((left_turn @ Pose(truth.rotation, np.zeros(3))).rotation, truth.translation + shift)
    np.testing.assert_allclose(estimate.error_to(truth), [*shift, *turn], atol=1e-7)
    distance, angle = estimate.distance_to(truth)
    assert distance == pytest.approx(np.linalg.norm(shift), abs=1e-7)
    assert angle == pytest.approx(np.linalg.norm(turn), abs=1e-7)


def test_long_chains_stay_rotations() -> None:
    step = Pose.from_rotation_vector([0.01, 0.02, -0.03], [0.1, 0, 0])
    pose = Pose.identity()
    for _ in range(5_000):
        pose = pose @ step
    assert np.abs(pose.rotation @ pose.rotation.T - np.eye(3)).max() < 1e-12


def test_products_straighten_what_rounding_skewed() -> None:
    skewed = Pose(np.eye(3) + 4e-6 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]]), np.zeros(3))
    straight = (skewed @ Pose.identity()).rotation
    assert np.abs(straight @ straight.T - np.eye(3)).max() < 1e-9


@_relaxed
@given(_vectors, _vectors)
def test_skew_is_the_cross_product(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    np.testing.assert_allclose(skew(np.array(a)) @ np.array(b), np.cross(a, b), atol=1e-6)


def test_poses_are_frozen_and_own_their_arrays() -> None:
    rotation = np.eye(3)
    pose = Pose(rotation, np.zeros(3))
    rotation[0, 0] = 5
    assert pose.rotation[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        pose.translation[0] = 1


@pytest.mark.parametrize(
    ("rotation", "translation", "reason"),
    [
        (np.eye(4), np.zeros(3), "shapes"),
        (np.eye(3), np.zeros(4), "shapes"),
        (np.eye(3) * np.nan, np.zeros(3), "not finite"),
        (np.eye(3), [0, np.inf, 0], "not finite"),
        (np.diag([1.0, 1.0, -1.0]), np.zeros(3), "not a rotation"),
        (np.eye(3) * 1.001, np.zeros(3), "not a rotation"),
    ],
)
def test_what_is_no_pose(rotation: np.ndarray, translation: np.ndarray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Pose(rotation, translation)


@pytest.mark.parametrize("quaternion", [[0, 0, 0, 0], [0, 0, 1], [0, 0, 0, np.nan], [0, 0, 3, 0]])
def test_what_is_no_quaternion(quaternion: list[float]) -> None:
    with pytest.raises(InputError, match="a quaternion"):
        Pose.from_quaternion(quaternion, [0, 0, 0])


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-6, 1e-5, 1e-3, 1.0, 3.0, 3.14, 3.1415])
def test_small_and_large_turns_are_measured_exactly(angle: float) -> None:
    vector = np.array([0.6, 0.0, -0.8]) * angle
    pose = Pose.from_rotation_vector(vector, np.zeros(3))
    np.testing.assert_allclose(pose.rotation_vector, vector, rtol=1e-7, atol=1e-15)
    assert pose.distance_to(Pose.identity())[1] == pytest.approx(angle, rel=1e-7, abs=1e-15)


def test_a_turn_by_half_a_circle() -> None:
    for axis in np.eye(3):
        pose = Pose.from_rotation_vector(axis * np.pi, np.zeros(3))
        assert pose.distance_to(Pose.identity())[1] == pytest.approx(np.pi)
        _assert_same(Pose.from_quaternion(pose.quaternion, np.zeros(3)), pose)
