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

"""Examples from a map and its images: keypoints of augmented versions, and the landmarks that they show."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from training.data.image_augmentation import ImageVersion, augment_image, keep_image
from training.data.localized_images import TrainingImage
from training.landmark_recognizer.config import RecognizerConfig
from training.landmark_recognizer.keypoints import BACKGROUND, Example
from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.maps.guided_matching import NONE, label_keypoints


def make_examples(
    images: Sequence[TrainingImage], landmark_map: LandmarkMap, config: RecognizerConfig, *, progress: Progress
) -> list[list[Example]]:
    """All versions of all images, in order; the first version is the original image."""
    of_thread = threading.local()  # extractors are not thread-safe, and loading a network takes longer than using it

    def make_versions(index: int) -> list[Example]:
        if not hasattr(of_thread, "extractor"):
            of_thread.extractor = build_map_extractor(landmark_map, inference=InferenceConfig(threads=1))
        return _make_versions(images[index], index, of_thread.extractor, landmark_map, config)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        made: Iterable[list[Example]] = pool.map(make_versions, range(len(images)))
        return list(progress(made, description="examples", total=len(images)))


def _make_versions(
    image: TrainingImage, index: int, extractor: Extractor, landmark_map: LandmarkMap, config: RecognizerConfig
) -> list[Example]:
    pixels = image.load()
    if pixels.shape[:2] != (image.camera.height, image.camera.width):
        raise InputError(
            f"{image.name} is {pixels.shape[1]}x{pixels.shape[0]}, its camera calibration is for "
            f"{image.camera.width}x{image.camera.height}; give the images that the map was built from"
        )
    versions = [keep_image(pixels)]
    for number in range(1, config.images.versions):
        rng = np.random.default_rng([config.fit.seed, index, number])
        versions.append(augment_image(pixels, image.camera, config.images, rng))
    most = config.fit.kept_keypoints
    return [make_example(extractor.extract(v.image), v, image, landmark_map).select(slice(most)) for v in versions]


def make_example(found: Features, version: ImageVersion, image: TrainingImage, landmark_map: LandmarkMap) -> Example:
    """The keypoints of a version that lie in the original image and have a ray, with their landmarks."""
    original = version.to_original(found.xy)
    rays = image.camera.unproject(found.xy)[:, :2]
    inside = np.flatnonzero(image.camera.contains(original) & np.isfinite(rays).all(axis=1))
    there = Features(original[inside].astype(np.float32), found.descriptors[inside], found.scores[inside])
    points = label_keypoints(landmark_map, image.points, there, image.camera, image.scene_from_camera)
    return Example(
        rays[inside].astype(np.float32),
        found.descriptors[inside].astype(np.float16),
        np.where(points != NONE, landmark_map.landmark_ids[points], BACKGROUND).astype(np.int32),
    )
