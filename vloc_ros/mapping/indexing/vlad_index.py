"""The place index of a map, from its points alone: what keyframes saw describes them, no image is needed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.map.landmark_map import LandmarkMap, RetrievalIndex
from vloc_ros.core.retrieval.vlad import Vocabulary
from vloc_ros.mapping.config import MappingConfig

# by default; a larger map is asked for places first
MOST_SEARCHED_WHOLE = CandidateConfig().whole_map_max_points
_MOST_SAMPLES = 50_000


def ensure_searchable(landmark_map: LandmarkMap, config: MappingConfig) -> LandmarkMap:
    """A map that is too large to be searched as a whole with a place index; any other as it is.

    Maps that were small enough when they were compressed have none, and may have grown since.
    """
    if "vlad" in landmark_map.places or len(landmark_map.points) <= MOST_SEARCHED_WHOLE:
        return landmark_map
    return build_vlad_index(landmark_map, config)


def build_vlad_index(landmark_map: LandmarkMap, config: MappingConfig) -> LandmarkMap:
    """The map with a place index over a vocabulary of its own points."""
    count = len(landmark_map.points)
    sample = landmark_map.descriptors_of(np.arange(0, count, max(1, count // _MOST_SAMPLES)))
    return _with_places(landmark_map, Vocabulary.fit(sample, config.vocabulary_words))


def rebuild_vlad_index(landmark_map: LandmarkMap) -> LandmarkMap:
    """The map with place descriptors of all keyframes by the vocabulary that it has.

    Those of the images' own keypoints, which some keyframes have and others cannot be given, are not alike.
    """
    return _with_places(landmark_map, Vocabulary.from_arrays(landmark_map.places["vlad"].encoder_arrays))


def _with_places(landmark_map: LandmarkMap, vocabulary: Vocabulary) -> LandmarkMap:
    keyframes = landmark_map.keyframes
    seen = (landmark_map.descriptors_of(keyframes.visible(k)) for k in range(len(keyframes)))
    descriptors = np.stack([vocabulary.encode(described) for described in seen])
    index = RetrievalIndex(vocabulary.hash, descriptors, vocabulary.arrays)
    return replace(landmark_map, places={**landmark_map.places, "vlad": index})
