"""Which poses pass verification, and why others do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking, observe

from vloc_ros.core.config import MatcherConfig, PoseConfig, VerificationConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.hypotheses import Hypothesis, NearestNeighbourPoseSolver
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.localization.verification import Consistency, HypothesisVerifier
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def _hypothesis(scene: SyntheticScene, observation: Observation) -> Hypothesis:
    index = MapIndex(scene.landmark_map)
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    solver = NearestNeighbourPoseSolver(scene.landmark_map, matcher=matcher, pose=PoseConfig())
    (hypothesis,) = solver.solve(observation, Candidate("whole_map"))
    return hypothesis


def _verifier(scene: SyntheticScene, config: VerificationConfig) -> HypothesisVerifier:
    index = MapIndex(scene.landmark_map)
    return HypothesisVerifier(config, index, pose=PoseConfig(), scorer=PoseScorer(index))


def _consistency(scene: SyntheticScene, features: tuple[Features, ...], query: Query) -> Consistency:
    observation = observe(scene.landmark_map, features, query)
    hypothesis, verifier = _hypothesis(scene, observation), _verifier(scene, VerificationConfig())
    assert hypothesis.estimate is not None
    return verifier._consistency(hypothesis.matches, hypothesis.estimate, observation)


def _verified(scene: SyntheticScene, features: Features, config: VerificationConfig) -> LocalizationResult:
    observation = observe(scene.landmark_map, (features,), scene.query())
    return _verifier(scene, config).verify(_hypothesis(scene, observation), observation).result


def _only(features: Features, kept: np.ndarray) -> Features:
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])


def test_all_of_the_map_agrees_with_a_true_pose(scene: SyntheticScene) -> None:
    found = _consistency(scene, (scene.features(VIEWPOINT),), scene.query())
    assert found.support > 0.9
    assert found.coverage == pytest.approx(1.0, abs=0.05)
    assert found.explained == pytest.approx(1.0, abs=0.02)
    assert found.spread > 0.6


def test_inliers_in_one_corner_neither_cover_nor_span_nor_explain(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    corner = (features.xy < (320, 240)).all(axis=1)
    rng = np.random.default_rng(0)
    others = rng.normal(size=features.descriptors.shape).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    mixed = Features(features.xy, np.where(corner[:, None], features.descriptors, others), features.scores)
    found = _consistency(scene, (mixed,), scene.query())
    assert found.coverage < 0.5
    assert found.explained < 0.5
    assert found.spread < 0.3


def test_a_camera_of_a_rig_that_shows_nothing_of_the_map_does_not_contradict_it(scene: SyntheticScene) -> None:
    image = np.zeros((480, 640), np.uint8)
    query = Query((View(image, CAMERA), View(image, CAMERA, Pose.from_rotation_vector([0, 3.1, 0], [0, 0, 0]))))
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(300, 128)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    other = Features(rng.uniform(0, 480, (300, 2)).astype(np.float32), noise, np.ones(300, np.float32))
    found = _consistency(scene, (scene.features(VIEWPOINT), other), query)
    assert found.explained > 0.9
    assert found.spread > 0.6


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("min_inliers", 10_000, "inliers"),
        ("min_support", 1.0, "expected points"),
        ("max_position_std_m", 0.001, "uncertain"),
    ],
)
def test_each_limit_refuses_with_its_reason(scene: SyntheticScene, name: str, value: float, reason: str) -> None:
    features = _only(scene.features(VIEWPOINT, noise_px=2.0), np.arange(0, 200, 2))
    assert _verified(scene, features, VerificationConfig()).ok
    refused = _verified(scene, features, replace(VerificationConfig(), **{name: value}))
    assert refused.status is Status.POSE_REJECTED
    assert reason in refused.reason
    assert refused.map_from_rig is None


def test_a_wide_angle_camera_spans_its_own_image(scene: SyntheticScene) -> None:
    camera = Camera("PINHOLE", 1280, 960, (1050.0, 1050.0, 640.0, 480.0))
    features = scene.features(VIEWPOINT)
    doubled = Features(features.xy * 2, features.descriptors, features.scores)
    query = Query((View(np.zeros((960, 1280), np.uint8), camera),))
    assert _consistency(scene, (doubled,), query).spread > 0.6
