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

"""Perceptual aliasing: of two rooms that are furnished alike the image supports the one that it shows.

Also where the map of the other one holds more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking, observe

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.scoring import PoseScorer, ScoredPose, score_margin
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.query import PosePrior

CLEAR_MARGIN = 0.08
AWAY = np.array([20.0, 0.0, 0.0])
VIEWS = [looking(yaw, (0.2, -0.3, 1.1)) for yaw in (0.4, 1.9, 3.3, 4.6)]


def _with_duplicate(scene: SyntheticScene, *, mapped: float, different: float) -> LandmarkMap:
    """The room with a part of its points, and 20 m away a duplicate with all, a part of which look different."""
    room, rng = scene.landmark_map, np.random.default_rng(3)
    count = len(room.points)
    kept = np.sort(rng.permutation(count)[: round(mapped * count)])
    codes = room.codes.copy()
    # things, not points, differ: whole stretches of the walls
    stretch = (room.points @ np.array([1.3, 0.7, 0.0]) // 0.2).astype(int)
    other = rng.random(stretch.max() - stretch.min() + 1)[stretch - stretch.min()] < different
    codes[other] = np.roll(room.codes, 7, axis=0)[other]
    number = np.full(count, -1)
    number[kept] = np.arange(len(kept))
    here = [number[room.keyframes.visible(k)] for k in range(len(room.keyframes))]
    there = [room.keyframes.visible(k) + len(kept) for k in range(len(room.keyframes))]
    visible = [*(v[v >= 0] for v in here), *there]
    return replace(
        room,
        scenes=(replace(room.scene(), points=range(len(kept) + count), keyframes=range(len(visible))),),
        points=np.concatenate([room.points[kept], room.points + AWAY]).astype(np.float32),
        landmark_ids=np.concatenate([room.landmark_ids[kept], room.landmark_ids]),
        codes=np.concatenate([room.codes[kept], codes]),
        keyframes=Keyframes(
            tuple(f"{k}.png" for k in range(len(visible))),
            np.concatenate([room.keyframes.rotations] * 2),
            np.concatenate([room.keyframes.translations, room.keyframes.translations + AWAY]),
            np.cumsum([0, *map(len, visible)]),
            np.concatenate(visible).astype(np.int32),
        ),
        retrieval={},
    )


def _in_two_scenes(landmark_map: LandmarkMap, first: int) -> LandmarkMap:
    """Each of the rooms in a scene of its own, as of maps that were merged."""
    points, keyframes = len(landmark_map.points), len(landmark_map.keyframes)
    ids = landmark_map.landmark_ids.copy()
    ids[first:] += 4
    scenes = (
        Scene("here", range(first), range(keyframes // 2)),
        Scene("there", range(first, points), range(keyframes // 2, keyframes)),
    )
    table = LandmarkTable(np.arange(8), np.repeat(np.arange(2, dtype=np.int32), 4))
    return replace(landmark_map, scenes=scenes, landmark_ids=ids, landmarks=table)


# in one scene the two rooms of this map share their landmarks
@pytest.mark.parametrize(("two_scenes", "landmarks_min_points"), [(False, 30000), (True, 30000), (True, 0)])
@pytest.mark.parametrize(
    ("mapped", "different"), [(0.7, 0.0), (0.7, 0.15), (0.7, 0.3), (0.5, 0.0), (0.5, 0.15), (0.3, 0.15)]
)
def test_the_duplicate_is_not_taken_for_the_room(
    scene: SyntheticScene, mapped: float, different: float, two_scenes: bool, landmarks_min_points: int
) -> None:
    """Where the duplicate is mapped better, in the same scene or in another one, by any kind of candidates.

    Where the room has a third of its points, most matches are with the duplicate: it is tried first, and then the room.
    """
    landmark_map = _with_duplicate(scene, mapped=mapped, different=different)
    if two_scenes:
        landmark_map = _in_two_scenes(landmark_map, len(landmark_map.points) - len(scene.landmark_map.points))
    config = LocalizerConfig(candidates=CandidateConfig(landmarks_min_points=landmarks_min_points))
    localizer = build_localizer(config, landmark_map)
    results = [localizer.localize_features((scene.features(v, noise_px=1.0),), scene.query()) for v in VIEWS]
    for view, result in zip(VIEWS, results, strict=True):
        assert result.frame_id in ("", "here", "map")
        assert not result.ok or result.map_from_rig.distance_to(view)[0] < 0.05
    accepted = sum(result.ok for result in results)
    assert accepted >= 3 if different else all(result.status is Status.AMBIGUOUS for result in results)


@pytest.mark.parametrize("position_std_m", [3.4, 12.0])
def test_a_prior_that_reaches_two_copies_decides_between_them_no_more_than_the_image(
    scene: SyntheticScene, position_std_m: float
) -> None:
    config = LocalizerConfig(candidates=CandidateConfig(prior_max_position_std_m=20.0))
    localizer = build_localizer(config, _with_duplicate(scene, mapped=0.5, different=0.0))
    between = Pose(VIEWS[0].rotation, VIEWS[0].translation + AWAY / 2)
    prior = PosePrior(between, np.diag([position_std_m**2] * 3 + [0.03**2] * 3))
    features = (scene.features(VIEWS[0], noise_px=1.0),)
    result = localizer.localize_features(features, replace(scene.query(), prior=prior))
    assert result.status is Status.AMBIGUOUS


def _score(scorer: PoseScorer, pose: Pose, points: Array, observation: Observation) -> ScoredPose:
    """A pose that guided matching of these points supports."""
    inliers = scorer.predict_visibility(pose, points, observation).matches.point_indices
    return scorer.score(pose, inliers, observation)


def _margins(scene: SyntheticScene, *, mapped: float, different: float) -> list[float]:
    landmark_map = _with_duplicate(scene, mapped=mapped, different=different)
    first = len(landmark_map.points) - len(scene.landmark_map.points)
    scorer, margins = PoseScorer(MapIndex(landmark_map)), []
    for view in VIEWS:
        observation = observe(landmark_map, (scene.features(view, noise_px=1.0),), scene.query())
        right = _score(scorer, view, np.arange(first), observation)
        there = Pose(view.rotation, view.translation + AWAY)
        wrong = _score(scorer, there, np.arange(first, len(landmark_map.points)), observation)
        assert score_margin(right, wrong) == pytest.approx(-score_margin(wrong, right))
        margins.append(score_margin(right, wrong))
    return margins


@pytest.mark.parametrize("mapped", [1.0, 0.5])
def test_the_room_that_the_image_shows_has_the_margin(scene: SyntheticScene, mapped: float) -> None:
    assert min(_margins(scene, mapped=mapped, different=0.3)) > CLEAR_MARGIN


def test_neither_of_two_copies_has_a_margin(scene: SyntheticScene) -> None:
    assert max(np.abs(_margins(scene, mapped=1.0, different=0.0))) < 0.01
    assert max(np.abs(_margins(scene, mapped=0.5, different=0.0))) < 0.01


def test_the_number_of_supporting_inliers_does_not_matter(scene: SyntheticScene) -> None:
    landmark_map = _with_duplicate(scene, mapped=1.0, different=0.0)
    count = len(scene.landmark_map.points)
    scorer = PoseScorer(MapIndex(landmark_map))
    observation = observe(landmark_map, (scene.features(VIEWS[0]),), scene.query())
    many = _score(scorer, VIEWS[0], np.arange(count), observation)
    away = Pose(VIEWS[0].rotation, VIEWS[0].translation + AWAY)
    there = _score(scorer, away, np.arange(count, 2 * count), observation)
    few = scorer.score(away, there.inlier_points[::8], observation)
    assert abs(score_margin(many, few)) < 0.02
