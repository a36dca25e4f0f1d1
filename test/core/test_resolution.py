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

"""Images of more pixels than the map's are compared with it in the map's resolution."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.resolution import MapResolution
from vloc_ros.core.query import Query, View

VIEW = poses(6, seed=1)[2]


@pytest.fixture(scope="module")
def scene() -> PlaneScene:
    scene = make_plane_scene()
    keyframes = scene.landmark_map.keyframes
    known = replace(keyframes, cameras=(CAMERA,) * len(keyframes))
    return replace(scene, landmark_map=replace(scene.landmark_map, keyframes=known))


@pytest.fixture(scope="module")
def localizer(scene: PlaneScene) -> Localizer:
    return build_localizer(LocalizerConfig(), scene.landmark_map)


def _enlarged(scene: PlaneScene, factor: float) -> Query:
    image = cv2.resize(scene.image(VIEW), None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    return Query.single(image, CAMERA.scaled(image.shape[1], image.shape[0]))


def test_an_image_of_many_pixels_gives_the_same_pose_in_its_own_pixels(scene: PlaneScene, localizer: Localizer) -> None:
    query = _enlarged(scene, 4.0)
    own, large = localizer.localize(_enlarged(scene, 1.0)), localizer.localize(query)
    assert own.ok
    assert large.ok, large.reason
    assert large.map_from_rig.distance_to(VIEW)[0] < 0.01
    assert large.keypoints == pytest.approx(own.keypoints, rel=0.2)
    points = scene.landmark_map.points[large.inlier_points]
    projected = query.views[0].camera.project(VIEW.inverse().apply(points))
    assert np.median(np.linalg.norm(projected - large.inlier_xy, axis=1)) < 4.0  # a pixel of the map's images


def test_features_extracted_before_give_the_same_result(scene: PlaneScene, localizer: Localizer) -> None:
    query = _enlarged(scene, 4.0)
    features = localizer.extract(query)
    assert features[0].xy.max() > 2 * CAMERA.width
    at_once, in_two = localizer.localize(query), localizer.localize_features(features, query)
    assert in_two.map_from_rig.distance_to(at_once.map_from_rig) == pytest.approx((0.0, 0.0), abs=1e-5)


def test_images_of_the_maps_resolution_are_left_alone(scene: PlaneScene, localizer: Localizer) -> None:
    resolution = MapResolution(scene.landmark_map, localizer.extractor)
    for factor in (0.5, 1.0, 1.2):
        query = _enlarged(scene, factor)
        assert resolution.reduce(query) is query


def test_a_longer_lens_farther_away_shows_the_map_in_the_maps_own_pixels(
    scene: PlaneScene, localizer: Localizer
) -> None:
    fx, fy, cx, cy = CAMERA.parameters
    long = replace(CAMERA, parameters=(4 * fx, 4 * fy, cx, cy))
    viewpoint = replace(VIEW, translation=VIEW.translation * (1.0, 1.0, 4.0))
    query = Query.single(scene.image(viewpoint, long), long)
    assert MapResolution(scene.landmark_map, localizer.extractor).reduce(query) is query
    result = localizer.localize(query)
    assert result.ok, result.reason
    assert result.map_from_rig.distance_to(viewpoint)[0] < 0.02  # 4.4 m away


def test_a_longer_lens_of_more_pixels_is_reduced_to_as_many_as_the_maps(
    scene: PlaneScene, localizer: Localizer
) -> None:
    width, height = 2 * CAMERA.width, 2 * CAMERA.height
    fx, fy, *_ = CAMERA.parameters
    long = Camera("PINHOLE", width, height, (4 * fx, 4 * fy, width / 2, height / 2))
    query = Query.single(np.zeros((height, width), np.uint8), long)
    reduced = MapResolution(scene.landmark_map, localizer.extractor).reduce(query).views[0].camera
    assert (reduced.width, reduced.height) == (CAMERA.width, CAMERA.height)


def test_every_view_of_a_rig_has_a_size_of_its_own(scene: PlaneScene, localizer: Localizer) -> None:
    small, large = _enlarged(scene, 1.0).views[0], _enlarged(scene, 2.0).views[0]
    mount = Pose(np.eye(3), np.array([0.1, 0.0, 0.0]))
    rig = Query((small, View(large.image, large.camera, mount)))
    reduced = MapResolution(scene.landmark_map, localizer.extractor).reduce(rig)
    assert reduced.views[0] is small
    assert (reduced.views[1].camera.width, reduced.views[1].rig_from_camera) == (CAMERA.width, mount)


def test_a_map_that_knows_no_cameras_limits_nothing(scene: PlaneScene, localizer: Localizer) -> None:
    unknown = replace(scene.landmark_map, keyframes=replace(scene.landmark_map.keyframes, cameras=()))
    query = _enlarged(scene, 1.5)
    assert MapResolution(unknown, localizer.extractor).reduce(query) is query
