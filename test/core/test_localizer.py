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

"""The way of an image on a synthetic map with exact truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import Status
from vloc_ros.core.query import PosePrior, Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


@pytest.fixture(scope="module")
def localizer(scene: SyntheticScene):
    return build_localizer(LocalizerConfig(), scene.landmark_map)


def test_exact_features_give_the_exact_pose(scene: SyntheticScene, localizer) -> None:
    result = localizer.localize_features((scene.features(VIEWPOINT),), scene.query())
    assert result.status is Status.OK
    assert result.map_from_rig.distance_to(VIEWPOINT) == pytest.approx((0.0, 0.0), abs=1e-4)
    assert result.candidate == "whole_map"
    assert result.inliers == len(result.inlier_points) > 100
    assert list(result.times_ms) == ["candidates", "matching", "pose", "verification"]


def test_the_same_query_gives_the_same_result(scene: SyntheticScene, localizer) -> None:
    features = (scene.features(VIEWPOINT, noise_px=1.0),)
    first, second = (localizer.localize_features(features, scene.query()) for _ in range(2))
    assert np.array_equal(first.map_from_rig.matrix, second.map_from_rig.matrix)


def test_large_maps_are_searched_by_retrieval(scene: SyntheticScene) -> None:
    config = LocalizerConfig(candidates=CandidateConfig(whole_map_max_points=100, retrieval_top_k=4))
    result = build_localizer(config, scene.landmark_map).localize_features((scene.features(VIEWPOINT),), scene.query())
    assert result.candidate == "retrieval/vlad"
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3


def test_a_map_that_nothing_would_search_is_refused(scene: SyntheticScene) -> None:
    config = LocalizerConfig(candidates=CandidateConfig(whole_map_max_points=100, retrieval="none"))
    with pytest.raises(MapError, match="nothing would be searched"):
        build_localizer(config, scene.landmark_map)


def test_a_good_prior_is_tried_first_and_a_wrong_one_falls_back(scene: SyntheticScene, localizer) -> None:
    features = (scene.features(VIEWPOINT),)
    covariance = np.diag([0.01] * 3 + [0.001] * 3)
    good = replace(scene.query(), prior=PosePrior(VIEWPOINT, covariance))
    assert localizer.localize_features(features, good).candidate == "prior"
    wrong = replace(scene.query(), prior=PosePrior(looking(3.4, (0.0, 0.0, 1.0)), covariance))
    result = localizer.localize_features(features, wrong)
    assert result.candidate == "whole_map"
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3


def test_a_rig_is_localized_by_views_that_alone_are_not_enough(scene: SyntheticScene, localizer) -> None:
    map_from_rig = looking(0.0, (0.1, 0.1, 1.0))
    mounts = [Pose.identity(), Pose.from_rotation_vector([0.0, 1.5, 0.0], [0.1, 0.0, 0.05])]
    image = np.zeros((480, 640), np.uint8)
    query = Query(tuple(View(image, CAMERA, mount) for mount in mounts))
    features = tuple(_first(scene.features(map_from_rig @ mount), 40) for mount in mounts)
    result = localizer.localize_features(features, query)
    assert result.ok, result.reason
    assert result.map_from_rig.distance_to(map_from_rig) == pytest.approx((0.0, 0.0), abs=1e-3)
    assert set(result.inlier_views) == {0, 1}


def _first(features: Features, count: int) -> Features:
    return Features(features.xy[:count], features.descriptors[:count], features.scores[:count])


def test_every_refusal_has_its_reason(scene: SyntheticScene, localizer) -> None:
    rng = np.random.default_rng(0)
    nothing = localizer.localize_features((Features.empty(128),), scene.query())
    assert (nothing.status, nothing.keypoints) == (Status.NO_FEATURES, 0)
    features = scene.features(VIEWPOINT)
    few = localizer.localize_features((_first(features, 8),), scene.query())
    assert few.status is Status.TOO_FEW_MATCHES
    scattered = Features(
        rng.uniform(0, 480, features.xy.shape).astype(np.float32), features.descriptors, features.scores
    )
    rejected = localizer.localize_features((scattered,), scene.query())
    assert rejected.status is Status.POSE_REJECTED
    assert all(r.map_from_rig is None and r.covariance is None and r.reason for r in (nothing, few, rejected))


def test_a_poster_that_also_hangs_in_another_place_is_refused(scene: SyntheticScene, localizer) -> None:
    features = scene.features(VIEWPOINT)
    on_poster = np.all(np.abs(features.xy - features.xy.mean(axis=0)) < 70, axis=1)
    others = np.random.default_rng(1).normal(size=features.descriptors.shape).astype(np.float32)
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    descriptors = np.where(on_poster[:, None], features.descriptors, others)
    result = localizer.localize_features((Features(features.xy, descriptors, features.scores),), scene.query())
    assert result.status is not Status.OK


@pytest.mark.parametrize("image", [np.zeros((480, 640), np.uint8), np.zeros((8, 8), np.uint8)])
def test_images_that_show_nothing(localizer, image) -> None:
    height, width = image.shape
    assert localizer.localize(Query.single(image, CAMERA.scaled(width, height))).status is Status.NO_FEATURES


def test_noise_is_refused(localizer) -> None:
    image = np.random.default_rng(0).integers(0, 255, (480, 640), np.uint8)
    assert not localizer.localize(Query.single(image, CAMERA)).ok
