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

"""The evidence for poses, and which of them no evidence could save."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking, observe

from vloc_ros.core.config import MatcherConfig, PoseConfig, VerificationConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.acceptance import ADDITIVE, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.evidence import KeypointEvidence
from vloc_ros.core.localization.hypotheses import Hypothesis, NearestNeighbourPoseSolver
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.localization.verification import HypothesisVerifier
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query, View

NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))
NEUTRAL = AcceptanceModel(
    "test", 9.0, dict.fromkeys(ADDITIVE, NOTHING), NOTHING, 0, np.ones(1), np.full(1, -9.0), negatives=1
)
VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def _hypothesis(scene: SyntheticScene, observation: Observation) -> Hypothesis:
    index = MapIndex(scene.landmark_map)
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    solver = NearestNeighbourPoseSolver(scene.landmark_map, matcher=matcher, pose=PoseConfig())
    (hypothesis,) = solver.solve(observation, Candidate("whole_map"))
    return hypothesis


def _verifier(scene: SyntheticScene, config: VerificationConfig) -> HypothesisVerifier:
    index = MapIndex(scene.landmark_map)
    return HypothesisVerifier(config, index, pose=PoseConfig(), scorer=PoseScorer(index), model=NEUTRAL)


def _evidence(scene: SyntheticScene, features: tuple[Features, ...], query: Query) -> KeypointEvidence:
    observation = observe(scene.landmark_map, features, query)
    verified = _verifier(scene, VerificationConfig()).verify(_hypothesis(scene, observation), observation)
    assert verified.evidence is not None
    return verified.evidence


def _verified(scene: SyntheticScene, features: Features, config: VerificationConfig) -> LocalizationResult:
    observation = observe(scene.landmark_map, (features,), scene.query())
    return _verifier(scene, config).verify(_hypothesis(scene, observation), observation).result


def _only(features: Features, kept: np.ndarray) -> Features:
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])


def test_all_of_the_map_agrees_with_a_true_pose(scene: SyntheticScene) -> None:
    found = _evidence(scene, (scene.features(VIEWPOINT),), scene.query())
    assert found.support > 0.9
    assert found.coverage == pytest.approx(1.0, abs=0.05)
    assert found.explained > 0.85
    assert found.evenness > 0.9
    assert found.spread > 0.6


def test_inliers_in_one_corner_neither_cover_nor_span_nor_explain(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    corner = (features.xy < (320, 240)).all(axis=1)
    rng = np.random.default_rng(0)
    others = rng.normal(size=features.descriptors.shape).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    mixed = Features(features.xy, np.where(corner[:, None], features.descriptors, others), features.scores)
    found = _evidence(scene, (mixed,), scene.query())
    assert found.coverage < 0.5
    assert found.explained < 0.5
    assert found.evenness < 0.5
    assert found.spread < 0.3


def test_a_small_poster_is_confirmed_unevenly(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    poster = ((features.xy > (240, 180)) & (features.xy < (400, 300))).all(axis=1)
    rng = np.random.default_rng(0)
    others = rng.normal(size=features.descriptors.shape).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    mixed = Features(features.xy, np.where(poster[:, None], features.descriptors, others), features.scores)
    assert _evidence(scene, (mixed,), scene.query()).evenness < 0.25


def test_evenness_is_unknown_where_few_regions_are_expected(scene: SyntheticScene) -> None:
    near = looking(0.4, (0.2, -0.5, 1.1))
    features = scene.features(near)
    corner = (features.xy < (140, 110)).all(axis=1)
    visible = features.xy[corner]
    assert len(visible) >= 12
    found = _evidence(scene, (_only(features, corner),), scene.query())
    assert found.evenness < 0.5


def test_a_pose_is_refined_only_by_matches_of_its_scene(scene: SyntheticScene) -> None:
    observation = observe(scene.landmark_map, (scene.features(VIEWPOINT),), scene.query())
    hypothesis, verifier = _hypothesis(scene, observation), _verifier(scene, VerificationConfig())
    scored = verifier.verify(hypothesis, observation).scored
    assert scored is not None
    assert verifier.refine(scored, [hypothesis], observation) is not None
    elsewhere = replace(scored, scene=replace(scored.scene, frame_id="elsewhere"))
    assert verifier.refine(elsewhere, [hypothesis], observation) is None


def test_a_pose_without_matches_of_its_own_is_not_refined(scene: SyntheticScene) -> None:
    observation = observe(scene.landmark_map, (scene.features(VIEWPOINT),), scene.query())
    hypothesis, verifier = _hypothesis(scene, observation), _verifier(scene, VerificationConfig())
    scored = verifier.verify(hypothesis, observation).scored
    assert scored is not None
    matches = hypothesis.matches
    scrambled = replace(matches, xy=matches.xy[::-1].copy())
    assert verifier.refine(scored, [replace(hypothesis, matches=scrambled)], observation) is None


def test_a_camera_of_a_rig_that_shows_nothing_of_the_map_does_not_contradict_it(scene: SyntheticScene) -> None:
    image = np.zeros((480, 640), np.uint8)
    query = Query((View(image, CAMERA), View(image, CAMERA, Pose.from_rotation_vector([0, 3.1, 0], [0, 0, 0]))))
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(300, 128)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    other = Features(rng.uniform(0, 480, (300, 2)).astype(np.float32), noise, np.ones(300, np.float32))
    found = _evidence(scene, (scene.features(VIEWPOINT), other), query)
    assert found.explained > 0.85
    assert found.spread > 0.6
    assert found.inlier_ratio > 0.9
    assert found.support > 0.9


@pytest.mark.parametrize(
    ("name", "value", "status", "reason"),
    [
        ("min_matches", 10_000, Status.TOO_FEW_MATCHES, "matches"),
        ("max_position_std_m", 0.001, Status.POSE_REJECTED, "uncertain"),
    ],
)
def test_each_limit_refuses_with_its_reason(
    scene: SyntheticScene, name: str, value: float, status: Status, reason: str
) -> None:
    features = _only(scene.features(VIEWPOINT, noise_px=2.0), np.arange(0, 200, 2))
    assert _verified(scene, features, VerificationConfig()).ok
    refused = _verified(scene, features, replace(VerificationConfig(), **{name: value}))
    assert refused.status is status
    assert reason in refused.reason
    assert refused.map_from_rig is None


def test_a_wide_angle_camera_spans_its_own_image(scene: SyntheticScene) -> None:
    camera = Camera("PINHOLE", 1280, 960, (1050.0, 1050.0, 640.0, 480.0))
    features = scene.features(VIEWPOINT)
    doubled = Features(features.xy * 2, features.descriptors, features.scores)
    query = Query((View(np.zeros((960, 1280), np.uint8), camera),))
    assert _evidence(scene, (doubled,), query).spread > 0.6


def test_an_accepted_pose_is_refined_to_all_matches_that_it_guides(scene: SyntheticScene) -> None:
    """Half of the keypoints are too unlike their points to be matched in the whole map."""
    errors_m = []
    for seed in range(5):
        features = scene.features(VIEWPOINT, noise_px=1.0, seed=seed)
        rng, weak = np.random.default_rng(seed), np.arange(len(features)) % 2 == 1
        unlike = features.descriptors + weak[:, None] * rng.normal(0, 0.03, features.descriptors.shape)
        features = replace(features, descriptors=unlike.astype(np.float32))
        observation = observe(scene.landmark_map, (features,), scene.query())
        verifier = _verifier(scene, VerificationConfig())
        verified = verifier.verify(_hypothesis(scene, observation), observation)
        refined = verifier.refine_accepted(verified, observation)
        errors_m.append([one.map_from_rig.distance_to(VIEWPOINT)[0] for one in (verified.result, refined)])
        np.testing.assert_array_equal(refined.covariance, verified.result.covariance)
    before_m, after_m = np.median(errors_m, axis=0)
    assert after_m <= before_m


def test_a_pose_that_guides_fewer_matches_than_it_has_stays(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT, noise_px=1.0)
    observation = observe(scene.landmark_map, (features,), scene.query())
    verifier = _verifier(scene, VerificationConfig())
    verified = verifier.verify(_hypothesis(scene, observation), observation)
    scored = verified.scored
    assert scored is not None
    few = scored.visibility.matches.select(np.arange(10))
    verified = replace(verified, scored=replace(scored, visibility=replace(scored.visibility, matches=few)))
    assert verifier.refine_accepted(verified, observation) is verified.result
