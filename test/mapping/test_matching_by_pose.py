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

"""Keypoints of images with known poses and the points that they show, against a comparison of all with all."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.guided_matching import label_keypoints, match_by_pose

sys.path.append(str(Path(__file__).parents[1] / "core"))
from synthetic import CAMERA, looking, make_scene

POSE = looking(0.4, (0.2, -0.1, 1.2))


@pytest.fixture(scope="module")
def landmark_map() -> LandmarkMap:
    """A room whose points have descriptors of a dozen kinds, so that many resemble a neighbour."""
    room = make_scene().landmark_map
    rng = np.random.default_rng(1)
    noise = rng.integers(-3, 4, room.codes.shape)
    codes = np.clip(room.codes[rng.integers(0, 12, len(room.points))] + noise, 0, 255)
    return replace(room, codes=codes.astype(np.uint8))


@pytest.fixture(scope="module")
def features(landmark_map: LandmarkMap) -> Features:
    """Keypoints near projections and anywhere, with descriptors of points and of nothing."""
    rng = np.random.default_rng(2)
    pixels = _pixels(landmark_map, POSE)
    shown = np.repeat(np.flatnonzero(CAMERA.contains(pixels)), 3)
    xy = pixels[shown] + rng.normal(0, 3.0, (len(shown), 2))
    other = rng.integers(0, len(pixels), 200)
    xy = np.concatenate([xy, rng.uniform(0, (CAMERA.width, CAMERA.height), (200, 2))]).astype(np.float32)
    descriptors = landmark_map.codec.restore(landmark_map.descriptors_of(np.concatenate([shown, other])))
    descriptors += rng.normal(0, 1, descriptors.shape) * rng.uniform(0, 0.09, (len(descriptors), 1))
    inside = CAMERA.contains(xy)
    return Features(xy[inside], descriptors[inside].astype(np.float32), np.ones(inside.sum(), np.float32))


def _pixels(landmark_map: LandmarkMap, pose: Pose) -> Array:
    return CAMERA.project(pose.inverse().apply(landmark_map.points))


def _compare(landmark_map: LandmarkMap, features: Features, max_error_px: float, limit: DescriptorLimit):
    """(P, K) descriptor distances and reprojection errors of all pairs; infinite beyond a limit."""
    pixels = _pixels(landmark_map, POSE)
    errors = np.linalg.norm(pixels[:, None] - features.xy[None], axis=2)
    described = landmark_map.descriptors_of(np.arange(len(pixels)))
    distances = np.linalg.norm(described[:, None] - landmark_map.codec.project(features.descriptors)[None], axis=2)
    similar = distances < landmark_map.descriptor_limit(limit)
    fits = CAMERA.contains(pixels)[:, None] & (errors < max_error_px) & similar
    return np.where(fits, distances, np.inf), np.where(fits, errors, np.inf)


def test_a_match_is_mutually_nearest_in_descriptor_space(landmark_map: LandmarkMap, features: Features) -> None:
    distances, _ = _compare(landmark_map, features, 8.0, DescriptorLimit.STRICT)
    point_of, keypoint_of = distances.argmin(axis=0), distances.argmin(axis=1)
    mutual = np.isfinite(distances.min(axis=0)) & (keypoint_of[point_of] == np.arange(len(features)))
    found = match_by_pose(landmark_map, features, CAMERA, POSE)
    assert 50 < mutual.sum() < 0.5 * len(features)
    np.testing.assert_array_equal(found, np.where(mutual, point_of, -1))


def test_a_label_is_the_similar_point_that_is_projected_nearest(landmark_map: LandmarkMap, features: Features) -> None:
    _, errors = _compare(landmark_map, features, 3.0, DescriptorLimit.LABEL)
    some = np.arange(0, len(landmark_map.points), 2)
    for points in (np.arange(len(landmark_map.points)), some):
        best = points[errors[points].argmin(axis=0)]
        expected = np.where(np.isfinite(errors[points].min(axis=0)), best, -1)
        np.testing.assert_array_equal(label_keypoints(landmark_map, points, features, CAMERA, POSE), expected)
        assert 50 < (expected >= 0).sum() < 0.8 * len(features)


def test_nothing_is_shown_from_where_no_point_is_visible(landmark_map: LandmarkMap, features: Features) -> None:
    away = looking(0.4, (100.0, 0.0, 1.2))
    assert (match_by_pose(landmark_map, features, CAMERA, away) == -1).all()
    none = match_by_pose(landmark_map, Features.empty(128), CAMERA, POSE)
    assert none.shape == (0,)
