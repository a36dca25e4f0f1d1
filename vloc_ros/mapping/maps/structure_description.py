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

"""A structure as a map: its points described and grouped into landmarks, its keyframes indexed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_distances import measure_descriptor_statistics
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary, sample_descriptors
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import define_landmarks
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors


def describe_structure(
    structure: Structure,
    images: Sequence[ExtractedImage],
    keyframes: Keyframes,
    keypoint_model: KeypointModel | None,
    *,
    name: str,
    frame_id: str,
    config: MappingConfig,
) -> LandmarkMap:
    """The map of a structure and its keyframes: describe the points, group them into landmarks, index the keyframes."""
    descriptors = mean_descriptors(structure, [image.features.descriptors for image in images])
    codec = DescriptorCodec.fit(descriptors, config.descriptor_dimension)
    codes = codec.encode(descriptors)
    landmark_ids, landmarks = define_landmarks(structure.points, keyframes, config)
    recorded = config.extractor.recorded_statistics
    return LandmarkMap(
        name=name,
        scenes=(Scene(frame_id, range(len(structure.points)), range(len(images))),),
        points=structure.points.astype(np.float32),
        landmark_ids=landmark_ids,
        landmarks=landmarks,
        codes=codes,
        codec=codec,
        keyframes=keyframes,
        extractor=config.extractor,
        descriptor_statistics=recorded or _measure_statistics(structure, images, codec, codec.decode(codes)),
        retrieval={VLAD: _vlad_index(images, codec, config)},
        provenance=_provenance(structure),
        keypoint_model=keypoint_model,
    )


def _measure_statistics(
    structure: Structure, images: Sequence[ExtractedImage], codec: DescriptorCodec, descriptors: Array
) -> DescriptorStatistics:
    observed, points = [], []
    for number, image in enumerate(images):
        mine = structure.track_images == number
        observed.append(codec.project(image.features.descriptors[structure.track_keypoints[mine]]))
        points.append(structure.track_points[mine])
    return measure_descriptor_statistics(observed, points, descriptors)


def _vlad_index(images: Sequence[ExtractedImage], codec: DescriptorCodec, config: MappingConfig) -> RetrievalIndex:
    described = [image.features.descriptors for image in images]
    sample = sample_descriptors(map(codec.project, described), sum(map(len, described)))
    vocabulary = Vocabulary.fit(sample, config.vocabulary_words)
    rows = np.stack([vocabulary.encode(codec.project(descriptors)) for descriptors in described])
    return vocabulary.index(rows)


def _provenance(structure: Structure) -> dict[str, Any]:
    return {
        "images": len(structure.poses),
        "mean_reprojection_error_px": round(structure.mean_reprojection_error_px, 4),
        "mean_track_length": round(len(structure.track_points) / len(structure.points), 3),
    }
