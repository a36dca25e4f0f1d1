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

"""Scores of poses: what an image shows of the points that a pose predicts, and which of two it supports more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking, observe

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.scoring import PoseScorer, PredictedVisibility, ScoredPose, score_margin
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.query import Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))
NO_MATCHES = Matches(np.zeros(0, np.int32), np.zeros((0, 2), np.float32), np.zeros(0, np.int64), np.zeros((0, 3)))


def _predict(
    scene: SyntheticScene, features: Sequence[Features], pose: Pose = VIEWPOINT, query: Query | None = None
) -> PredictedVisibility:
    """What the features show of all points of the map, if they were seen from a pose."""
    observation = observe(scene.landmark_map, features, query or scene.query())
    points = np.arange(len(scene.landmark_map.points))
    return PoseScorer(MapIndex(scene.landmark_map)).predict_visibility(pose, points, observation)


def test_from_the_true_pose_all_is_confirmed(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT, noise_px=1.0)
    shown = _predict(scene, (features,))
    assert shown.expected.sum() == len(features)
    assert shown.confirmed.sum() >= 0.98 * len(features)
    assert (shown.confirmed <= shown.expected).all()
    assert shown.similarity[shown.expected > 0].min() > 0.8
    assert shown.similarity.max() <= 1
    assert not shown.similarity[shown.expected == 0].any()
    truth = CAMERA.project(VIEWPOINT.inverse().apply(scene.landmark_map.points))[shown.matches.point_indices]
    assert np.linalg.norm(shown.matches.xy - truth, axis=1).max() < 8.0
    assert len(np.unique(shown.matches.point_indices)) == len(shown.matches) >= 0.9 * len(features)
    assert len(np.unique(shown.matches.xy, axis=0)) == len(shown.matches)


@pytest.mark.parametrize("pose", [looking(0.5, (0.2, -0.5, 1.1)), looking(0.4, (0.6, -0.5, 1.1))])
def test_from_another_pose_little_is_confirmed(scene: SyntheticScene, pose: Pose) -> None:
    shown = _predict(scene, (scene.features(VIEWPOINT),), pose)
    assert shown.confirmed.sum() < 0.2 * shown.expected.sum()


def test_a_keypoint_that_looks_different_does_not_confirm(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    others = np.roll(features.descriptors, 1, axis=0)
    shown = _predict(scene, (Features(features.xy, others, features.scores),))
    assert shown.confirmed.sum() < 0.05 * shown.expected.sum()
    assert shown.similarity[shown.expected > 0].mean() < 0.3


def test_every_view_of_a_rig_counts(scene: SyntheticScene) -> None:
    mount = Pose.from_rotation_vector([0.0, 1.5, 0.0], [0.1, 0.0, 0.05])
    image = np.zeros((480, 640), np.uint8)
    query = Query((View(image, CAMERA), View(image, CAMERA, mount)))
    features = (scene.features(VIEWPOINT), scene.features(VIEWPOINT @ mount))
    shown = _predict(scene, features, query=query)
    assert shown.confirmed[0].sum() >= 0.98 * len(features[0])
    assert shown.confirmed[1].sum() >= 0.98 * len(features[1])
    assert set(shown.matches.views) == {0, 1}


def test_an_image_without_keypoints_confirms_nothing(scene: SyntheticScene) -> None:
    shown = _predict(scene, (Features.empty(128),))
    assert shown.expected.sum() > 100
    assert shown.confirmed.sum() == len(shown.matches) == 0


def _scored(expected: list[int], similarity: list[float]) -> ScoredPose:
    """What a pose predicts in four regions of each view, and how similar the image is there."""
    counts, similar = np.zeros((len(expected) // 4, 64), int), np.zeros((len(expected) // 4, 64))
    counts[:, :4], similar[:, :4] = np.reshape(expected, (-1, 4)), np.reshape(similarity, (-1, 4))
    visibility = PredictedVisibility(counts, counts, similar, counts, NO_MATCHES)
    return ScoredPose(Scene("map", range(0), range(0)), Pose.identity(), np.zeros(0, np.int64), visibility)


def test_a_bare_wall_counts_as_much_as_a_full_shelf() -> None:
    shelf_and_wall = [400, 300, 2, 1]
    right, wrong = _scored(shelf_and_wall, [0.7, 0.7, 0.9, 0.8]), _scored(shelf_and_wall, [0.75, 0.7, 0.1, 0.2])
    assert score_margin(right, wrong) == pytest.approx(((-(0.05**2) + 0.8**2 + 0.6**2) / 4) ** 0.5)
    blind = _scored([400, 300, 0, 1], [0.7, 0.7, 0, 0.2])
    assert score_margin(right, blind) == pytest.approx((0.6**2 / 3) ** 0.5)


def test_one_region_in_common_does_not_decide() -> None:
    wide, narrow = _scored([30, 30, 30, 30], [0.3, 0.8, 0.8, 0.8]), _scored([1, 0, 0, 0], [0.5, 0, 0, 0])
    assert score_margin(wide, narrow) > 0.3
    assert score_margin(narrow, wide) == pytest.approx(-score_margin(wide, narrow))
    assert score_margin(wide, _scored([0] * 4, [0.0] * 4)) > 0


def test_a_view_has_one_vote_however_much_it_shows() -> None:
    right = _scored([9, 9, 9, 9, 0, 9, 0, 0, 9, 0, 0, 0], [0.1] * 4 + [0, 0.9, 0, 0] + [0.9, 0, 0, 0])
    wrong = _scored([9, 9, 9, 9, 0, 9, 0, 0, 9, 0, 0, 0], [0.9] * 4 + [0, 0.1, 0, 0] + [0.1, 0, 0, 0])
    assert score_margin(right, wrong) == pytest.approx(0.8 / 3**0.5)


@pytest.mark.parametrize("covered", [1, 3])
def test_a_covered_camera_has_no_vote(covered: int) -> None:
    expected, dark = [9] * 4 * (1 + covered), [0.0] * 4 * covered
    right, wrong = _scored(expected, [0.9, 0.8, 0.7, 0.6, *dark]), _scored(expected, [0.8, 0.7, 0.6, 0.5, *dark])
    keypoints = np.concatenate([np.full((1, 64), 5), np.zeros((covered, 64), int)])
    first, second = (replace(pose, visibility=replace(pose.visibility, keypoints=keypoints)) for pose in (right, wrong))
    assert score_margin(first, second) == pytest.approx(0.1)
