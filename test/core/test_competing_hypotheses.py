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

"""The same room twice in one map: an image of it shows where the camera is only as far as the copies differ."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking, observe

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig, MatcherConfig, PoseConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.candidates import WHOLE_MAP
from vloc_ros.core.localization.competing_hypotheses import CompetingHypotheses, _iterations, _Pairs
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import PosePrior

AWAY = np.array([20.0, 0.0, 0.0])
VIEWS = [looking(yaw, (0.2, -0.3, 1.1)) for yaw in (0.4, 1.9, 3.3, 4.6)]


def _twice(scene: SyntheticScene, here: float, there: float, *, away: Array = AWAY) -> LandmarkMap:
    """The room and a copy elsewhere, 20 m away unless told otherwise, each with a part of its points."""
    room, rng = scene.landmark_map, np.random.default_rng(1)
    kept = [np.sort(rng.permutation(len(room.points))[: round(part * len(room.points))]) for part in (here, there)]
    chosen, first = np.concatenate(kept), len(kept[0])
    points = room.points[chosen]
    points[first:] += away
    visible = [*_visible(room, kept[0], 0), *_visible(room, kept[1], first)]
    keyframes = room.keyframes
    return replace(
        room,
        scenes=(replace(room.scene(), points=range(len(chosen)), keyframes=range(len(visible))),),
        points=points.astype(np.float32),
        landmark_ids=room.landmark_ids[chosen],
        codes=room.codes[chosen],
        keyframes=Keyframes(
            names=tuple(f"{k}.png" for k in range(len(visible))),
            rotations=np.concatenate([keyframes.rotations] * 2),
            translations=np.concatenate([keyframes.translations, keyframes.translations + away]),
            point_offsets=np.cumsum([0, *map(len, visible)]),
            point_indices=np.concatenate(visible).astype(np.int32),
        ),
        retrieval={},
    )


def _visible(room: LandmarkMap, kept: Array, first: int) -> list[Array]:
    number = np.full(len(room.points), -1)
    number[kept] = np.arange(len(kept)) + first
    seen = [number[room.keyframes.visible(k)] for k in range(len(room.keyframes))]
    return [s[s >= 0] for s in seen]


@pytest.mark.parametrize(("here", "there"), [(0.7, 0.7), (0.8, 0.6), (0.6, 0.8)])
def test_an_image_that_fits_two_poses_is_ambiguous(scene: SyntheticScene, here: float, there: float) -> None:
    localizer = build_localizer(LocalizerConfig(), _twice(scene, here, there))
    for view in VIEWS:
        result = localizer.localize_features((scene.features(view),), scene.query())
        assert result.status is Status.AMBIGUOUS
        assert result.map_from_rig is None
        assert "a competing pose 20.0 m away explains the image about as well" in result.reason


def test_a_few_duplicate_things_in_another_place_do_not_matter(scene: SyntheticScene) -> None:
    localizer = build_localizer(LocalizerConfig(), _twice(scene, 1.0, 0.2))
    for view in VIEWS:
        result = localizer.localize_features((scene.features(view),), scene.query())
        assert result.status is Status.OK
        assert result.map_from_rig.distance_to(view)[0] < 1e-3


def test_a_copy_of_which_less_is_mapped_may_be_where_the_camera_is(scene: SyntheticScene) -> None:
    """No evidence contradicts it: it holds two fifths of the points, and no others."""
    localizer = build_localizer(LocalizerConfig(), _twice(scene, 1.0, 0.4))
    for view in VIEWS:
        result = localizer.localize_features((scene.features(view),), scene.query())
        assert result.status is Status.AMBIGUOUS


def _competing_in(landmark_map: LandmarkMap) -> tuple[NearestNeighbourMatcher, CompetingHypotheses]:
    index = MapIndex(landmark_map)
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    return matcher, CompetingHypotheses(index, matcher=matcher, pose=PoseConfig(), scorer=PoseScorer(index))


def test_known_competing_poses_are_not_searched_for_again(scene: SyntheticScene) -> None:
    landmark_map, view = _twice(scene, 1.0, 0.9), VIEWS[0]
    _, competing = _competing_in(landmark_map)
    observation = observe(landmark_map, (scene.features(view),), scene.query())
    found = list(competing.find(landmark_map.scene(), view, [], None, observation))
    assert len(found) == 1
    assert found[0].scene_from_rig.distance_to(Pose(view.rotation, view.translation + AWAY))[0] < 1e-3
    assert not list(competing.find(landmark_map.scene(), view, found, None, observation))


def test_points_outside_of_their_windows_are_no_neighbours(scene: SyntheticScene) -> None:
    landmark_map, view = _twice(scene, 1.0, 0.9), VIEWS[0]
    matcher, competing = _competing_in(landmark_map)
    observation = observe(landmark_map, (scene.features(view),), scene.query())
    neighbours = matcher.neighbours(observation, WHOLE_MAP)
    outside = replace(neighbours, distances=np.full_like(neighbours.distances, np.inf))
    assert list(competing.find(landmark_map.scene(), view, [], neighbours, observation))
    assert not list(competing.find(landmark_map.scene(), view, [], outside, observation))


def test_the_search_is_bounded_where_few_inliers_would_suffice() -> None:
    assert _iterations(0.5) < _iterations(0.3) < _iterations(0.1) == _iterations(1e-6) == 1000


def test_a_prior_resolves_the_ambiguity(scene: SyntheticScene) -> None:
    localizer = build_localizer(LocalizerConfig(), _twice(scene, 0.7, 0.7))
    prior = PosePrior(VIEWS[0], np.diag([0.01] * 3 + [0.001] * 3))
    result = localizer.localize_features((scene.features(VIEWS[0]),), replace(scene.query(), prior=prior))
    assert (result.status, result.candidate) == (Status.OK, "prior")
    assert result.map_from_rig.distance_to(VIEWS[0])[0] < 1e-3


def test_places_compete_within_a_prior_of_metres(scene: SyntheticScene) -> None:
    localizer = build_localizer(LocalizerConfig(), _twice(scene, 0.7, 0.7, away=np.array([1.5, 0.0, 0.0])))
    prior = PosePrior(VIEWS[0], np.diag([0.25] * 3 + [0.01] * 3))
    result = localizer.localize_features((scene.features(VIEWS[0]),), replace(scene.query(), prior=prior))
    assert (result.status, result.candidate) == (Status.AMBIGUOUS, "prior")
    assert "a competing pose 1.5 m away" in result.reason


def test_of_each_keypoint_the_nearest_point_of_the_scene_is_kept(scene: SyntheticScene) -> None:
    landmark_map = _twice(scene, 0.8, 0.7)
    matcher, _ = _competing_in(landmark_map)
    observation = observe(landmark_map, (scene.features(VIEWS[0]),), scene.query())
    neighbours = matcher.neighbours(observation, WHOLE_MAP)
    pairs = _Pairs.in_scene(landmark_map.scene(), neighbours, MapIndex(landmark_map))
    some = pairs.select(np.random.default_rng(3).random(len(pairs)) < 0.6)
    nearest = some.nearest()
    assert some.count_keypoints() == len(nearest) == len(np.unique(some.keypoints))
    for keypoint, distance in zip(nearest.keypoints, nearest.distances, strict=True):
        assert distance == some.distances[some.keypoints == keypoint].min()
