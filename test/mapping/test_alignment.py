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

"""Maps move as one: what a camera observes stays where it is in the image, also far from zero."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lidar_places import LIDAR, add_places, assert_places
from posed_points import UTM

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.covariance import CovarianceCalibration, FrameUncertainty
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
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


@settings(max_examples=10)
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
    scene = replace(landmark_map.scene(), calibration=CovarianceCalibration(1.5, floor, 40))
    calibrated = replace(landmark_map, scenes=(scene,))
    quarter_turn = Similarity(2.0, Pose.from_rotation_vector([0, 0, np.pi / 2], np.zeros(3)).rotation, np.zeros(3))
    calibration = transform_map(calibrated, quarter_turn, metric=False).scene().calibration
    np.testing.assert_allclose(calibration.floor, [16.0, 4.0, 36.0, 0.2, 0.1, 0.3])
    assert (calibration.scale, calibration.samples) == (1.5, 40)


def test_the_uncertainty_of_the_frame_moves_along(landmark_map: LandmarkMap) -> None:
    frame = FrameUncertainty(np.diag([1.0, 2.0, 3.0, 0.1, 0.2, 0.3, 0.01]), np.array([1.0, 2.0, 3.0]), np.full(6, 0.5))
    uncertain = replace(landmark_map, scenes=(replace(landmark_map.scene(), frame_uncertainty=frame),))
    turn = Pose.from_rotation_vector([0.4, -0.3, 1.2], np.zeros(3)).rotation
    similarity = Similarity(2.0, turn, np.array([10.0, 20.0, 30.0]))
    moved = transform_map(uncertain, similarity, metric=False).scene().frame_uncertainty
    position, axes = np.array([4.0, -1.0, 2.0]), np.zeros((6, 6))
    axes[:3, :3], axes[3:, 3:] = 2.0 * turn, turn
    assert moved.at(similarity.apply(position)) == pytest.approx(axes @ frame.at(position) @ axes.T)


def test_the_metric_flag_is_what_is_given(landmark_map: LandmarkMap) -> None:
    identity = Similarity(1.0, np.eye(3), np.zeros(3))
    unknown = replace(landmark_map, metric=False)
    assert [transform_map(unknown, identity, metric=metric).metric for metric in (None, True)] == [False, True]


def test_coordinates_that_lose_the_centimetres_are_refused(landmark_map: LandmarkMap) -> None:
    with pytest.raises(InputError, match=r"up to \d{6} m from the map's origin, expected at most 100000 m"):
        transform_map(landmark_map, Similarity(1e5, np.eye(3), np.zeros(3)))


@settings(max_examples=10)
@given(similarity=_similarity)
def test_a_map_moved_far_away_and_back_is_the_same(landmark_map: LandmarkMap, similarity: Similarity) -> None:
    away = Similarity(similarity.scale, similarity.rotation, similarity.translation + UTM)
    back = Similarity(1 / away.scale, away.rotation.T, -away.rotation.T @ away.translation / away.scale)
    far = transform_map(landmark_map, away)
    assert far.scene().origin.any()
    assert np.abs(far.points).max() < 1e3
    again = transform_map(far, back)
    assert not again.scene().origin.any()
    np.testing.assert_allclose(again.points, landmark_map.points, atol=1e-4)
    np.testing.assert_allclose(again.keyframes.translations, landmark_map.keyframes.translations, atol=1e-5)
    np.testing.assert_allclose(again.keyframes.rotations, landmark_map.keyframes.rotations, atol=1e-9)


def test_poses_in_the_map_frame_are_those_of_the_similarity(landmark_map: LandmarkMap) -> None:
    away = Similarity(2.0, Pose.from_rotation_vector([0, 0, 0.3], np.zeros(3)).rotation, UTM)
    moved = transform_map(landmark_map, away)
    for k in (0, 7):
        expected = away.apply_to_pose(landmark_map.keyframes.pose(k))
        distance_m, angle_rad = moved.scene().map_from(moved.keyframes.pose(k)).distance_to(expected)
        assert max(distance_m, angle_rad) < 1e-6


def test_places_move_along(landmark_map: LandmarkMap) -> None:
    away = Similarity(2.0, Pose.from_rotation_vector([0, 0, 0.3], np.zeros(3)).rotation, UTM)
    moved = transform_map(add_places(landmark_map, 4), away)
    assert_places(moved, [(4, k, "map") for k in range(3)])
    places = moved.places[LIDAR]
    for k in range(3):  # they stand at the first keyframes
        distance_m, angle_rad = places.pose(k).distance_to(moved.keyframes.pose(k))
        assert max(distance_m, angle_rad) < 1e-7
    np.testing.assert_allclose(places.extents, np.tile([8.0, 6.0, 4.0], (3, 1)))


def _up_after(tilted: LandmarkMap) -> Array:
    """Where the true up axis of a map that was tilted by `_TILT` points after its gravity alignment."""
    return gravity_alignment(tilted).rotation @ _TILT.rotation @ [0.0, 0.0, 1.0]


_TILT = Similarity(1.0, Pose.from_rotation_vector([0.9, -0.4, 0.0], np.zeros(3)).rotation, np.zeros(3))


def _pitched(landmark_map: LandmarkMap, angle: float, keep: slice) -> LandmarkMap:
    """The map with every camera pitched by `angle` radians, with some of its keyframes only."""
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
    return replace(landmark_map, keyframes=fewer, scenes=(scene,), retrieval={})


@pytest.mark.parametrize("angle", [0.0, 0.4, -0.4])
def test_up_is_found_when_all_cameras_look_down_or_up(landmark_map: LandmarkMap, angle: float) -> None:
    """A robot's camera is mounted at an angle; the robot turns, so the horizontal x axes determine up."""
    quarter = slice(0, 6)
    up = _up_after(transform_map(_pitched(landmark_map, angle, quarter), _TILT))
    assert np.degrees(np.arctan2(np.hypot(up[0], up[1]), up[2])) < (1e-3 if angle == 0.0 else 2.0)


def test_cameras_that_all_look_the_same_way_are_taken_as_level(landmark_map: LandmarkMap) -> None:
    assert _up_after(transform_map(_pitched(landmark_map, 0.0, slice(3, 4)), _TILT))[2] == pytest.approx(1, abs=1e-9)


def test_gravity_keeps_the_heading(landmark_map: LandmarkMap) -> None:
    np.testing.assert_allclose(gravity_alignment(landmark_map).rotation, np.eye(3), atol=1e-6)
    turned = transform_map(
        landmark_map, Similarity(1.0, Pose.from_rotation_vector([0, 0, 1], [0, 0, 0]).rotation, np.zeros(3))
    )
    np.testing.assert_allclose(gravity_alignment(turned).rotation, np.eye(3), atol=1e-6)


def test_gravity_turns_a_map_far_from_zero_about_its_origin(landmark_map: LandmarkMap) -> None:
    far = transform_map(landmark_map, Similarity(1.0, _TILT.rotation, UTM))
    level = transform_map(far, gravity_alignment(far))
    np.testing.assert_allclose(level.scene().origin, far.scene().origin, atol=1)
    assert np.linalg.norm(gravity_alignment(level).rotation - np.eye(3)) < 1e-6
    assert np.abs(level.points).max() < 10


@pytest.mark.parametrize("axis", [[np.pi, 0, 0], [0, np.pi, 0]])
def test_a_map_upside_down_is_turned_over(landmark_map: LandmarkMap, axis: list[float]) -> None:
    over = Similarity(1.0, Pose.from_rotation_vector(axis, [0, 0, 0]).rotation, np.zeros(3))
    again = gravity_alignment(transform_map(landmark_map, over)).rotation @ over.rotation
    assert again[2, 2] == pytest.approx(1)


def test_cameras_held_in_all_ways_leave_gravity_open(landmark_map: LandmarkMap) -> None:
    rolled = landmark_map.keyframes.rotations.copy()
    rolled[::2] = rolled[::2] @ np.diag([-1.0, -1.0, 1.0])
    with pytest.raises(InputError, match="not held upright"):
        gravity_alignment(replace(landmark_map, keyframes=replace(landmark_map.keyframes, rotations=rolled)))
