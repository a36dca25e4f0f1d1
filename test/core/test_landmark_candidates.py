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

"""Candidates by landmarks, recognised or voted for."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking, observe

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig, MatcherConfig, PoseConfig
from vloc_ros.core.errors import MapError, ModelError
from vloc_ros.core.features.extractor_config import ExtractorConfig, KeypointModelConfig, RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import WHOLE_MAP
from vloc_ros.core.localization.landmark_candidates import LandmarkRegions, LandmarkVoting, Recognition
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.reranking import CandidateReranker
from vloc_ros.core.localization.result import Status
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkTable
from vloc_ros.core.map.map_index import MapIndex

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))
KEYS = np.array([11, -3, 5, 8])


@dataclass
class Oracle:
    """Knows the room's points: a keypoint shows the wall of the point with its descriptor."""

    scene: SyntheticScene
    landmark_keys: Array
    wall_of_number: Array
    extractor: ExtractorConfig = field(default_factory=RootSiftConfig)
    max_keypoints: int = 200

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        assert rays.shape == (len(descriptors), 2)
        assert len(descriptors) <= self.max_keypoints
        nearest = (descriptors @ self.scene.descriptors.T).argmax(axis=1)
        wall = self.scene.landmark_map.landmark_ids[nearest]
        shown = (wall[:, None] == self.wall_of_number).astype(np.float32)
        return Recognition(np.zeros(len(rays), np.float32), np.arange(len(self.landmark_keys)), shown)


@pytest.fixture
def room(scene: SyntheticScene) -> SyntheticScene:
    """The room with every wall a coarse landmark of its own."""
    table = LandmarkTable(KEYS, np.arange(4, dtype=np.int32))
    return SyntheticScene(replace(scene.landmark_map, landmarks=table), scene.descriptors)


def _config(**candidates: object) -> LocalizerConfig:
    return LocalizerConfig(candidates=CandidateConfig(landmarks_min_points=0, **candidates))


def test_recognised_landmarks_are_where_the_pose_is_found(room: SyntheticScene) -> None:
    oracle = Oracle(room, KEYS, np.arange(4))
    localizer = build_localizer(_config(), room.landmark_map, recognizer=oracle)
    result = localizer.localize_features((room.features(VIEWPOINT),), room.query())
    assert (result.status, result.candidate) == (Status.OK, "landmarks/recognized")
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3


def test_a_recogniser_numbers_landmarks_in_its_own_way(room: SyntheticScene) -> None:
    """Of a map that was merged behind another, and of a part of the landmarks: keys decide, not numbers."""
    order = np.array([2, 0, 3])
    oracle = Oracle(room, KEYS[order], order)
    localizer = build_localizer(_config(retrieval="none"), room.landmark_map, recognizer=oracle)
    result = localizer.localize_features((room.features(VIEWPOINT),), room.query())
    assert result.ok
    walls = np.unique(room.landmark_map.landmark_ids[result.inlier_points])
    assert set(walls) <= set(order.tolist())


def test_a_recogniser_alone_serves_a_large_map_without_a_retrieval_index(room: SyntheticScene) -> None:
    large = replace(room.landmark_map, retrieval={})
    localizer = build_localizer(_config(whole_map_max_points=0), large, recognizer=Oracle(room, KEYS, np.arange(4)))
    assert localizer.localize_features((room.features(VIEWPOINT),), room.query()).candidate == "landmarks/recognized"
    with pytest.raises(MapError, match=f"set candidates.whole_map_max_points to {len(large.points)}"):
        build_localizer(_config(whole_map_max_points=0), large)


def test_a_recogniser_of_other_landmarks_is_refused(room: SyntheticScene) -> None:
    with pytest.raises(ModelError, match="lacks 1 of its 4 landmarks; train one on this map"):
        build_localizer(_config(), room.landmark_map, recognizer=Oracle(room, np.array([11, -3, 5, 9]), np.arange(4)))


def test_a_recogniser_of_other_keypoints_is_refused(room: SyntheticScene) -> None:
    learned = KeypointModelConfig(name="xfeat", model="xfeat", model_hash="ab" * 32)
    oracle = Oracle(room, KEYS, np.arange(4), extractor=learned)
    with pytest.raises(ModelError, match="trained on keypoints of xfeat abababababab, the map has those of rootsift"):
        build_localizer(_config(), room.landmark_map, recognizer=oracle)


def test_a_map_that_lost_points_of_a_landmark_keeps_the_recogniser(room: SyntheticScene) -> None:
    oracle = Oracle(room, KEYS, np.arange(4))
    grown = LandmarkTable(np.array([*KEYS, 99]), np.array([0, 1, 2, 3, 4], np.int32))
    build_localizer(_config(), replace(room.landmark_map, landmarks=grown), recognizer=oracle)


def test_recognition_without_a_model_is_refused(room: SyntheticScene) -> None:
    with pytest.raises(MapError, match="there is no recogniser"):
        build_localizer(_config(landmarks="recognized"), room.landmark_map)


def test_votes_need_no_training(room: SyntheticScene) -> None:
    localizer = build_localizer(_config(), room.landmark_map)
    result = localizer.localize_features((room.features(VIEWPOINT, noise_px=1.0),), room.query())
    assert (result.status, result.candidate) == (Status.OK, "landmarks/voted")
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 0.02


def test_copies_of_a_thing_share_its_votes(room: SyntheticScene) -> None:
    """A map that holds every point in four landmarks: all four places are candidates, as competitors."""
    once = room.landmark_map
    count, away = len(once.points), np.arange(4)[:, None, None] * np.array([30.0, 0.0, 0.0])
    frames = once.keyframes
    copies = Keyframes(
        names=tuple(f"{k}.png" for k in range(4 * len(frames))),
        rotations=np.tile(frames.rotations, (4, 1, 1)),
        translations=(frames.translations + away).reshape(-1, 3),
        point_offsets=np.cumsum([0, *np.tile(np.diff(frames.point_offsets), 4)]),
        point_indices=np.concatenate([frames.point_indices + i * count for i in range(4)]).astype(np.int32),
    )
    four = replace(
        once,
        scenes=(replace(once.scene(), points=range(4 * count), keyframes=range(4 * len(frames))),),
        points=(once.points + away).reshape(-1, 3).astype(np.float32),
        landmark_ids=np.repeat(np.arange(4), count).astype(np.int32),
        codes=np.tile(once.codes, (4, 1)),
        keyframes=copies,
        retrieval={},
    )
    index, features = MapIndex(four), (room.features(VIEWPOINT),)
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    reranker = CandidateReranker(matcher, PoseConfig(), PoseScorer(index))
    regions = LandmarkRegions(CandidateConfig(), index, reranker)
    first, *_ = LandmarkVoting(four, matcher, regions).generate(observe(four, features, room.query()))
    poses = (first.coarse_pose, *first.competitors)
    assert {int(pose.inlier_points[0] // count) for pose in poses} == {0, 1, 2, 3}
    assert build_localizer(_config(), four).localize_features(features, room.query()).status is Status.AMBIGUOUS


def test_small_maps_are_searched_as_a_whole(room: SyntheticScene) -> None:
    oracle = Oracle(room, KEYS, np.arange(4))
    localizer = build_localizer(LocalizerConfig(), room.landmark_map, recognizer=oracle)
    assert localizer.localize_features((room.features(VIEWPOINT),), room.query()).candidate == "whole_map"


def test_landmarks_follow_where_the_whole_of_a_small_map_has_no_pose(room: SyntheticScene) -> None:
    config = replace(_strict(), candidates=CandidateConfig())
    localizer = build_localizer(config, room.landmark_map)
    assert localizer.localize_features((room.features(VIEWPOINT),), room.query()).candidate == "whole_map"
    assert localizer.localize_features((_dim(room),), room.query()).candidate == "landmarks/voted"


def test_where_landmarks_do_not_help_the_whole_map_is_searched(room: SyntheticScene) -> None:
    wrong = Oracle(room, KEYS, np.array([2, 3, 0, 1]))  # takes every wall for another one
    localizer = build_localizer(_config(), room.landmark_map, recognizer=wrong)
    result = localizer.localize_features((room.features(VIEWPOINT),), room.query())
    assert result.ok
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3


def test_keypoints_of_another_place_are_refused(room: SyntheticScene) -> None:
    features = room.features(VIEWPOINT)
    others = np.random.default_rng(0).normal(size=features.descriptors.shape).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    localizer = build_localizer(_config(), room.landmark_map)
    result = localizer.localize_features((Features(features.xy, others, features.scores),), room.query())
    assert not result.ok


def _dim(scene: SyntheticScene) -> Features:
    """What is left by night: all descriptors are off, so that few are matched distinctly where the ratio is strict."""
    features, rng = scene.features(VIEWPOINT, noise_px=0.5), np.random.default_rng(5)
    off = rng.normal(size=features.descriptors.shape)
    off *= rng.uniform(0.3, 0.5, (len(features), 1)) / np.linalg.norm(off, axis=1, keepdims=True)
    described = features.descriptors + off
    described /= np.linalg.norm(described, axis=1, keepdims=True)
    return Features(features.xy, described.astype(np.float32), features.scores)


def _strict() -> LocalizerConfig:
    return replace(_config(), matcher=MatcherConfig(ratio=0.24))


def test_guided_matching_confirms_a_pose_of_few_distinct_matches(room: SyntheticScene) -> None:
    features, query = (_dim(room),), room.query()
    result = build_localizer(_strict(), room.landmark_map).localize_features(features, query)
    assert (result.status, result.candidate) == (Status.OK, "landmarks/voted")
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 0.02
    distinct = NearestNeighbourMatcher(_strict().matcher, MapIndex(room.landmark_map)).match(
        observe(room.landmark_map, features, query), WHOLE_MAP
    )
    assert result.inliers > 1.5 * len(distinct)
