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

"""Observations of landmarks: which landmark the keypoints of images with known poses show, and are classified as."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.landmark_candidates import LandmarkRecognizer, landmark_numbers
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.mapping.maps.guided_matching import NONE, label_keypoints

# (N,) landmark that each of an image's N keypoints is classified as, -1 for none
LandmarkClassifier = Callable[[Features, Camera], Array]
# inverted lists searched for the nearest point of a keypoint
_BREADTH = 16


@dataclass(frozen=True, slots=True, eq=False)
class LandmarkObservations:
    """Keypoints of images with known poses that show a landmark.

    Attributes:
        images: (N,) int64 number of the image of each.
        shown: (N,) int64 landmark that it shows by ground truth.
        classified: (N,) int64 landmark that it was classified as, -1 for none.
    """

    images: Array
    shown: Array
    classified: Array

    def __len__(self) -> int:
        return len(self.shown)


@dataclass(frozen=True, slots=True, eq=False)
class PosedFeatures:
    """The keypoints of an image with known pose.

    Attributes:
        features: the keypoints.
        camera: of the image.
        map_from_camera: its pose.
    """

    features: Features
    camera: Camera
    map_from_camera: Pose


def observe_landmarks(
    landmark_map: LandmarkMap,
    images: Iterable[PosedFeatures],
    classifier: LandmarkClassifier,
    *,
    frame_id: str = "",
    keypoints: int,
) -> LandmarkObservations:
    """Landmarks that the strongest keypoints of images show, and that they are classified as.

    Args:
        landmark_map: the map.
        images: of one of its scenes.
        classifier: `classify_by_nearest_point` or `classify_by_recognizer`.
        frame_id: the scene; empty where there is one.
        keypoints: of each image.

    Raises:
        InputError: no image shows anything of the map.
    """
    scene = landmark_map.scene(frame_id)
    points, found = np.arange(scene.points.start, scene.points.stop), []
    for number, image in enumerate(images):
        strongest = image.features.strongest(keypoints)
        pose = scene.scene_from(image.map_from_camera)
        seen = label_keypoints(landmark_map, points, strongest, image.camera, pose)
        known = np.flatnonzero(seen != NONE)
        if len(known):
            classified = classifier(strongest, image.camera)[known]
            found.append((np.full(len(known), number), landmark_map.landmark_ids[seen[known]], classified))
    if not found:
        raise InputError("no keypoint shows a point of the map; expected poses map_from_camera in the map's frame")
    return LandmarkObservations(*(np.concatenate(part).astype(np.int64) for part in zip(*found, strict=True)))


def classify_by_nearest_point(map_index: MapIndex) -> LandmarkClassifier:
    """A keypoint is classified as the landmark of its nearest map point in descriptor space."""
    landmark_map = map_index.map

    def classify(features: Features, _: Camera) -> Array:
        projected = landmark_map.codec.project(features.descriptors)
        nearest = map_index.point_search.nearest(projected, 1, breadth=_BREADTH)[1][:, 0]
        return np.where(nearest >= 0, landmark_map.landmark_ids[nearest], NONE).astype(np.int64)

    return classify


def classify_by_recognizer(landmark_map: LandmarkMap, recognizer: LandmarkRecognizer) -> LandmarkClassifier:
    """A keypoint is classified by a trained model.

    Raises:
        ModelError: the recogniser was trained on landmarks that the map does not hold.
    """
    numbers = landmark_numbers(landmark_map, recognizer.landmark_keys)

    def classify(features: Features, camera: Camera) -> Array:
        classified = np.full(len(features), NONE, np.int64)
        strongest = features.strongest(recognizer.max_keypoints)
        if not len(strongest):
            return classified
        rays = camera.unproject(strongest.xy)[:, :2].astype(np.float32)
        shown = recognizer.recognize(rays, strongest.descriptors)
        best = numbers[shown.landmarks[shown.probabilities.argmax(axis=1)]]
        classified[: len(strongest)] = np.where(shown.background > 0.5, NONE, best)
        return classified

    return classify
