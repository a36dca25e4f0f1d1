"""What an image shows of the points that it should show from a pose."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.scoring import KeypointGrid
from vloc_ros.core.query import Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def _all(scene: SyntheticScene) -> np.ndarray:
    return np.arange(len(scene.landmark_map.points))


def test_from_the_true_pose_all_is_confirmed(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT, noise_px=1.0)
    sight = KeypointGrid(scene.landmark_map, (features,), scene.query()).sight(VIEWPOINT, _all(scene))
    assert sight.expected.sum() == len(features)
    assert sight.confirmed.sum() >= 0.98 * len(features)
    assert (sight.confirmed <= sight.expected).all()
    assert sight.likeness[sight.expected > 0].min() > 0.8
    assert sight.likeness.max() <= 1
    assert not sight.likeness[sight.expected == 0].any()
    truth = CAMERA.project(VIEWPOINT.inverse().apply(scene.landmark_map.points))[sight.matches.point_indices]
    assert np.linalg.norm(sight.matches.xy - truth, axis=1).max() < 8.0
    assert len(np.unique(sight.matches.point_indices)) == len(sight.matches) >= 0.9 * len(features)
    assert len(np.unique(sight.matches.xy, axis=0)) == len(sight.matches)


@pytest.mark.parametrize("pose", [looking(0.5, (0.2, -0.5, 1.1)), looking(0.4, (0.6, -0.5, 1.1))])
def test_from_elsewhere_little_is_confirmed(scene: SyntheticScene, pose: Pose) -> None:
    lookout = KeypointGrid(scene.landmark_map, (scene.features(VIEWPOINT),), scene.query())
    sight = lookout.sight(pose, _all(scene))
    assert sight.confirmed.sum() < 0.2 * sight.expected.sum()


def test_what_lies_there_and_looks_different_does_not_confirm(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    strangers = np.roll(features.descriptors, 1, axis=0)
    features = Features(features.xy, strangers, features.scores)
    sight = KeypointGrid(scene.landmark_map, (features,), scene.query()).sight(VIEWPOINT, _all(scene))
    assert sight.confirmed.sum() < 0.05 * sight.expected.sum()
    assert sight.likeness[sight.expected > 0].mean() < 0.3


def test_every_view_of_a_rig_is_looked_at(scene: SyntheticScene) -> None:
    mount = Pose.from_rotation_vector([0.0, 1.5, 0.0], [0.1, 0.0, 0.05])
    image = np.zeros((480, 640), np.uint8)
    query = Query((View(image, CAMERA), View(image, CAMERA, mount)))
    features = (scene.features(VIEWPOINT), scene.features(VIEWPOINT @ mount))
    sight = KeypointGrid(scene.landmark_map, features, query).sight(VIEWPOINT, _all(scene))
    half = len(sight.expected) // 2
    assert sight.confirmed[:half].sum() >= 0.98 * len(features[0])
    assert sight.confirmed[half:].sum() >= 0.98 * len(features[1])
    assert set(sight.matches.views) == {0, 1}


def test_an_image_without_keypoints_confirms_nothing(scene: SyntheticScene) -> None:
    sight = KeypointGrid(scene.landmark_map, (Features.empty(128),), scene.query()).sight(VIEWPOINT, _all(scene))
    assert sight.expected.sum() > 100
    assert sight.confirmed.sum() == len(sight.matches) == 0
