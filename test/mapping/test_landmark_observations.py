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

"""Landmarks that the keypoints of images with known poses show, and are classified as."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plane_scene import CAMERA, PIXELS_PER_METRE, make_plane_scene, poses
from posed_points import UTM

from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.localization.landmark_candidates import Recognition
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.mapping.landmarks.observations import (
    PosedFeatures,
    classify_by_nearest_point,
    classify_by_recognizer,
    observe_landmarks,
)
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.guided_matching import label_keypoints

SCENE = make_plane_scene()
WALL = SCENE.landmark_map


def seen_from(pose: Pose) -> PosedFeatures:
    return PosedFeatures(build_map_extractor(WALL).extract(SCENE.image(pose)), CAMERA, pose)


def metres_along(image: PosedFeatures, xy: Array) -> Array:
    """(N,) x on the wall that pixels show."""
    rays = CAMERA.unproject(xy) @ image.map_from_camera.rotation.T
    start = image.map_from_camera.translation
    return start[0] - rays[:, 0] * (start[2] / rays[:, 2])


def classify_none(features: Features, _: Camera) -> Array:
    return np.full(len(features), -1, np.int64)


class ByRay:
    """Recognises the landmark of every keypoint by its ray: 0 to the left, the last one to the right."""

    extractor = RootSiftConfig()
    max_keypoints = 50

    def __init__(self, keys: Array) -> None:
        self.landmark_keys = keys

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        assert len(rays) == len(descriptors) <= self.max_keypoints
        right = rays[:, 0] > 0
        background = (rays[:, 1] > 0).astype(np.float32)
        return Recognition(background, np.array([2, 0]), np.column_stack([~right, right]).astype(np.float32))


def test_labels_are_the_points_on_the_keypoints_rays() -> None:
    image = seen_from(poses(3)[1])
    found = image.features
    shown = label_keypoints(WALL, np.arange(len(WALL.points)), found, CAMERA, image.map_from_camera)
    known = shown >= 0
    assert known.mean() > 0.4
    away_px = np.abs(metres_along(image, found.xy[known]) - WALL.points[shown[known], 0]) * PIXELS_PER_METRE
    assert away_px.max() < 3


def test_the_nearest_point_classifies_what_is_shown() -> None:
    images = [seen_from(pose) for pose in poses(4)]
    classifier = classify_by_nearest_point(MapIndex(WALL))
    found = observe_landmarks(WALL, images, classifier, keypoints=300)
    assert set(found.images) == {0, 1, 2, 3}
    assert (found.classified == found.shown).mean() > 0.9
    mixed = replace(WALL, landmark_ids=np.random.default_rng(0).permutation(WALL.landmark_ids))
    assert (observe_landmarks(mixed, images, classifier, keypoints=300).classified != found.shown).mean() < 0.1


def test_poses_of_images_are_in_the_map_frame() -> None:
    """The points of a map far from zero are relative to its origin."""
    far = transform_map(WALL, Similarity(1.0, np.eye(3), UTM))
    image = seen_from(poses(4)[1])
    there = replace(
        image, map_from_camera=Pose(image.map_from_camera.rotation, image.map_from_camera.translation + UTM)
    )
    near, found = (
        observe_landmarks(landmark_map, [one], classify_none, keypoints=300)
        for landmark_map, one in ((WALL, image), (far, there))
    )
    assert len(near) > 50
    np.testing.assert_array_equal(found.shown, near.shown)


def test_only_the_strongest_are_classified() -> None:
    image = seen_from(poses(3)[1])
    few, many = (observe_landmarks(WALL, [image], classify_none, keypoints=count) for count in (40, 400))
    assert 0 < len(few) <= 40 < len(many)
    assert (many.classified == -1).all()


def test_images_of_another_place_are_refused() -> None:
    image = seen_from(poses(3)[1])
    away = replace(image, map_from_camera=Pose(np.eye(3), np.array([50.0, 0.0, -1.0])))
    with pytest.raises(InputError, match="no keypoint shows a point of the map"):
        observe_landmarks(WALL, [away], classify_none, keypoints=100)


def test_a_recogniser_classifies_in_its_own_order() -> None:
    image = seen_from(poses(3)[1])
    own = np.array([4, 3, 1])  # its first landmark is the map's fifth
    classified = classify_by_recognizer(WALL, ByRay(WALL.landmarks.keys[own]))(image.features, CAMERA)
    rays = CAMERA.unproject(image.features.xy)
    expected = np.where(rays[:, 1] > 0, -1, np.where(rays[:, 0] > 0, 4, 1))
    expected[ByRay.max_keypoints :] = -1
    np.testing.assert_array_equal(classified, expected)


def test_a_recogniser_of_another_map_is_refused() -> None:
    with pytest.raises(ModelError, match="lacks 1 of its 2 landmarks"):
        classify_by_recognizer(WALL, ByRay(np.array([WALL.landmarks.keys[0], 123456789])))
