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

"""Candidates by retrieval: the points that the keyframes observe which resemble the query as a whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.errors import MapError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.encoders import QueryEncoder
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary


class VladRetrieval:
    """Keyframes by VLAD of the query's keypoints over the map's own vocabulary."""

    def __init__(self, config: CandidateConfig, landmark_map: LandmarkMap) -> None:
        index = landmark_map.retrieval.get(VLAD)
        if index is None:
            count = len(landmark_map.points)
            raise MapError(
                f"the map {landmark_map.name} has no VLAD index; build it again, or search it as a whole: set "
                f"candidates.whole_map_max_points to {count}, the number of its points, or more"
            )
        self._vocabulary = Vocabulary.from_arrays(index.encoder_arrays)
        if index.encoder != self._vocabulary.hash:
            raise MapError(
                f"the map's VLAD index was made by encoder {index.encoder}, its vocabulary is {self._vocabulary.hash}; "
                "build the map again"
            )
        self._map, self._index, self._top_k = landmark_map, index, config.retrieval_top_k

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """One candidate: the union over the best keyframes for the keypoints of all views."""
        if observation.keypoint_count:
            query = self._vocabulary.encode(np.concatenate(observation.descriptors))
            yield from _observed_by(self._map, self._index.nearest_items(query[None], self._top_k), VLAD)


class ModelRetrieval:
    """Keyframes by a learned global descriptor."""

    def __init__(self, config: CandidateConfig, landmark_map: LandmarkMap, encoder: QueryEncoder) -> None:
        """Retrieval by the encoder that made an index of the map.

        Raises:
            MapError: the map has no index of a model.
            ModelError: another encoder made it, or it does not describe images.
        """
        if encoder.modality != IMAGE:
            raise ModelError(
                f"the encoder describes {encoder.modality}, expected images, which retrieve keyframes; give another one"
            )
        index = find_index_of_encoder(landmark_map, encoder)
        if index is None:
            raise MapError(
                f"the map {landmark_map.name} has the retrieval indices {', '.join(landmark_map.retrieval) or 'none'}, "
                "expected one of a model; make it with `vloc map encode`, or set candidates.retrieval to vlad"
            )
        self._map, self._encoder, self._index, self._top_k = landmark_map, encoder, index, config.retrieval_top_k

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """One candidate: the union over the keyframes most similar to any of the views; keypoints are not used."""
        query = self._encoder.encode_query(observation.query)
        if len(query):
            yield from _observed_by(self._map, self._index.nearest_items(query, self._top_k), "model")


def model_indices(landmark_map: LandmarkMap) -> list[RetrievalIndex]:
    """The retrieval indices that models made: all but VLAD."""
    return [index for name, index in landmark_map.retrieval.items() if name != VLAD]


def find_index_of_encoder(landmark_map: LandmarkMap, encoder: QueryEncoder) -> RetrievalIndex | None:
    """A map's index by an encoder; None where no model has an index of this modality.

    Raises:
        ModelError: other encoders made those that there are.
        MapError: it does not have the dimension that the encoder gives.
    """
    of_modality = [index for index in model_indices(landmark_map) if index.modality == encoder.modality]
    if not of_modality:
        return None
    index = next((one for one in of_modality if one.encoder == encoder.hash), None)
    if index is None:
        hashes = ", ".join(f"{one.encoder[:12]} ({one.name})" for one in of_modality)
        raise ModelError(
            f"the encoder has the hash {encoder.hash[:12]}, expected {hashes}, which made the retrieval index of the "
            f"map {landmark_map.name}; give that one, or encode the map by this one with `vloc map encode`"
        )
    if index.descriptors.shape[1] != encoder.dimension:
        raise MapError(
            f"the retrieval index {index.name} of the map {landmark_map.name} has descriptors of "
            f"{index.descriptors.shape[1]} values, expected {encoder.dimension}; run `vloc map encode`"
        )
    return index


def _observed_by(landmark_map: LandmarkMap, keyframes: Array, name: str) -> Iterator[Candidate]:
    """The union of what keyframes observe; nothing where no keyframe was retrieved."""
    seen = [landmark_map.keyframes.visible(int(k)) for k in keyframes]
    if seen:
        yield Candidate(f"retrieval/{name}", sorted_unique(np.concatenate(seen)).astype(np.int64))
