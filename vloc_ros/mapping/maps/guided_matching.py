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

"""Guided matching of images with known poses: which point of the map each keypoint shows."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.guided_matching import MAX_ERROR_PX, GuidedPairs, KeypointGrid, pair_at_projections
from vloc_ros.core.map.landmark_map import LandmarkMap

NONE = -1
# largest reprojection error of a ground truth label
_LABEL_ERROR_PX = 3.0


def match_by_pose(landmark_map: LandmarkMap, features: Features, camera: Camera, scene_from_camera: Pose) -> Array:
    """(K,) int64 point of a map of one scene that each keypoint shows, -1 for none; each point once.

    Points are matched with the keypoints within 8 px of their projections; keypoint and point are mutually nearest in
    descriptor space.
    """
    points = np.arange(len(landmark_map.points))
    pairs, points = _pairs(landmark_map, points, features, camera, scene_from_camera)
    mutual = pairs.within(landmark_map.descriptor_limit(DescriptorLimit.STRICT)).mutual()
    return _of_keypoints(len(features), mutual, points)


def label_keypoints(
    landmark_map: LandmarkMap, points: Array, features: Features, camera: Camera, scene_from_camera: Pose
) -> Array:
    """(K,) int64 point that each keypoint shows by ground truth, -1 for none.

    Of the similar points within 3 px the one that is projected nearest; several keypoints may show one point.

    Args:
        landmark_map: the map.
        points: (N,) indices of its points that the image may show, of one scene.
        features: of the image.
        camera: of the image.
        scene_from_camera: ground truth pose.
    """
    pairs, points = _pairs(landmark_map, points, features, camera, scene_from_camera, max_error_px=_LABEL_ERROR_PX)
    similar = pairs.within(landmark_map.descriptor_limit(DescriptorLimit.LABEL))
    by_error = similar.select(np.argsort(similar.errors_px, kind="stable"))
    first = np.unique(by_error.keypoints, return_index=True)[1]
    return _of_keypoints(len(features), by_error.select(first), points)


def _pairs(
    landmark_map: LandmarkMap,
    points: Array,
    features: Features,
    camera: Camera,
    scene_from_camera: Pose,
    *,
    max_error_px: float = MAX_ERROR_PX,
) -> tuple[GuidedPairs, Array]:
    """Pairs of keypoints and projected points, and the points that are projected into the image."""
    pixels = camera.project(scene_from_camera.inverse().apply(landmark_map.points[points]))
    inside = camera.contains(pixels)
    pixels, points = pixels[inside], points[inside]
    grid = KeypointGrid(features.xy, landmark_map.codec.project(features.descriptors), camera)
    return pair_at_projections(landmark_map, points, pixels, grid, max_error_px=max_error_px), points


def _of_keypoints(count: int, pairs: GuidedPairs, points: Array) -> Array:
    shown = np.full(count, NONE, np.int64)
    shown[pairs.keypoints] = points[pairs.rows]
    return shown
