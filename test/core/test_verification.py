"""What convinces of a pose, and what does not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking

from vloc_ros.core.config import MatcherConfig, PoseConfig, VerificationConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.pose_estimation import estimate_pose_with_covariance
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.verification import Consistency, Verifier, expected_points
from vloc_ros.core.query import Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def _consistency(scene: SyntheticScene, features: tuple[Features, ...], query: Query) -> Consistency:
    matches = NearestNeighbourMatcher(MatcherConfig(), scene.landmark_map).match(features, Candidate("whole_map"))
    estimate = estimate_pose_with_covariance(PoseConfig(), matches, query)
    assert estimate is not None
    return Verifier(VerificationConfig(), scene.landmark_map, pose=PoseConfig()).consistency(
        estimate, matches, features, query
    )


def _verified(scene: SyntheticScene, features: Features, config: VerificationConfig) -> LocalizationResult:
    query = scene.query()
    matches = NearestNeighbourMatcher(MatcherConfig(), scene.landmark_map).match((features,), Candidate("whole_map"))
    estimate = estimate_pose_with_covariance(PoseConfig(), matches, query)
    return Verifier(config, scene.landmark_map, pose=PoseConfig()).verify(
        estimate, matches, (features,), query, "whole_map"
    )


def _only(features: Features, kept: np.ndarray) -> Features:
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])


def test_all_of_the_map_agrees_with_a_true_pose(scene: SyntheticScene) -> None:
    found = _consistency(scene, (scene.features(VIEWPOINT),), scene.query())
    assert found.support > 0.9
    assert found.coverage == pytest.approx(1.0, abs=0.05)
    assert found.explained == pytest.approx(1.0, abs=0.02)
    assert found.spread > 0.6


def test_nothing_is_expected_of_keyframes_that_share_no_point_with_the_inliers(scene: SyntheticScene) -> None:
    landmark_map = scene.landmark_map
    keyframes = landmark_map.keyframes
    some = keyframes.visible(0)[:5]
    sharing = np.flatnonzero(landmark_map.seen_by(some))
    expected = expected_points(landmark_map, some, keyframes=len(keyframes))
    assert len(sharing) < len(keyframes)
    assert set(expected) == {int(point) for k in sharing for point in keyframes.visible(int(k))}


def test_inliers_in_one_corner_neither_cover_nor_span_nor_explain(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    corner = (features.xy < (320, 240)).all(axis=1)
    rng = np.random.default_rng(0)
    strangers = rng.normal(size=features.descriptors.shape).astype(np.float32)
    strangers /= np.linalg.norm(strangers, axis=1, keepdims=True)
    mixed = Features(features.xy, np.where(corner[:, None], features.descriptors, strangers), features.scores)
    found = _consistency(scene, (mixed,), scene.query())
    assert found.coverage < 0.5
    assert found.explained < 0.5
    assert found.spread < 0.3


def test_a_camera_of_a_rig_that_sees_nothing_of_the_map_says_nothing_against_it(scene: SyntheticScene) -> None:
    image = np.zeros((480, 640), np.uint8)
    query = Query((View(image, CAMERA), View(image, CAMERA, Pose.from_rotation_vector([0, 3.1, 0], [0, 0, 0]))))
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(300, 128)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    elsewhere = Features(rng.uniform(0, 480, (300, 2)).astype(np.float32), noise, np.ones(300, np.float32))
    found = _consistency(scene, (scene.features(VIEWPOINT), elsewhere), query)
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
