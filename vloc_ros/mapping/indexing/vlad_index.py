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

"""The VLAD index of a map from its points alone: keyframes are described by the points that they observe."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.vlad import MAX_SAMPLES, VLAD, Vocabulary
from vloc_ros.mapping.config import MappingConfig

# by default; in a larger map candidates are retrieved first
MAX_SEARCHED_WHOLE = CandidateConfig().whole_map_max_points


def ensure_searchable(landmark_map: LandmarkMap, config: MappingConfig) -> LandmarkMap:
    """A map that is too large to be searched as a whole with a VLAD index; any other unchanged.

    Maps that were small enough when they were compressed have none, and may have grown since.
    """
    if VLAD in landmark_map.retrieval or len(landmark_map.points) <= MAX_SEARCHED_WHOLE:
        return landmark_map
    return build_vlad_index(landmark_map, config)


def build_vlad_index(landmark_map: LandmarkMap, config: MappingConfig) -> LandmarkMap:
    """The map with a VLAD index over a vocabulary of its own points."""
    count = len(landmark_map.points)
    # before they are decoded, which takes memory
    sample = landmark_map.descriptors_of(np.arange(0, count, max(1, count // MAX_SAMPLES)))
    return _encode_keyframes(landmark_map, Vocabulary.fit(sample, config.vocabulary_words))


def rebuild_vlad_index(landmark_map: LandmarkMap) -> LandmarkMap:
    """The map with new VLAD descriptors of all keyframes over its vocabulary.

    All are made from points: rows from the keypoints of images, which some keyframes of joined maps have, are less
    similar to these than to each other.
    """
    return _encode_keyframes(landmark_map, Vocabulary.from_arrays(landmark_map.retrieval[VLAD].encoder_arrays))


def _encode_keyframes(landmark_map: LandmarkMap, vocabulary: Vocabulary) -> LandmarkMap:
    keyframes = landmark_map.keyframes
    observed = (landmark_map.descriptors_of(keyframes.visible(k)) for k in range(len(keyframes)))
    rows = np.stack([vocabulary.encode(descriptors) for descriptors in observed])
    return landmark_map.with_retrieval(vocabulary.index(rows))
