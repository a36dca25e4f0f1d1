"""Places by the keyframes that look most like the query's images, as a whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.errors import MapError, ModelError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.map.landmark_map import LandmarkMap, RetrievalIndex
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import Vocabulary

# names of place indices of a map
VLAD, MODEL = "vlad", "student"


class GlobalDescriptorEncoder(Protocol):
    """Describes images as a whole, so that those of one place are alike."""

    @property
    def hash(self) -> str:
        """Names the encoder in the place indices that it makes."""
        ...

    @property
    def dimension(self) -> int:
        """D, values of a descriptor."""
        ...

    @property
    def images_at_once(self) -> int:
        """How many images it is best given at a time, where there are many."""
        ...

    def encode(self, images: Sequence[Array]) -> Array:
        """(N, D) float32 L2-normalised descriptors of N >= 1 images, (H, W) uint8 grey or (H, W, 3) uint8 BGR."""
        ...


class VladRetrieval:
    """The points seen by the keyframes that look most alike (VLAD over the map's own vocabulary)."""

    def __init__(self, config: CandidateConfig, landmark_map: LandmarkMap) -> None:
        place = landmark_map.places.get(VLAD)
        if place is None:
            count = len(landmark_map.points)
            raise MapError(
                f"the map {landmark_map.name} has no VLAD place index; build it again, or search it as a whole: set "
                f"proposals.whole_map_max_points to {count}, the number of its points, or more"
            )
        self._vocabulary = Vocabulary.from_arrays(place.encoder_arrays)
        if place.encoder != self._vocabulary.hash:
            raise MapError(
                f"the map's VLAD index was made by encoder {place.encoder}, its vocabulary is "
                f"{self._vocabulary.hash}; build the map again"
            )
        self._map, self._search, self._top_k = landmark_map, place.search, config.places_top_k

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """One proposal: the union over the best keyframes for the keypoints of all views."""
        descriptors = np.concatenate([f.descriptors for f in features])
        if not len(descriptors):
            return
        described = self._vocabulary.encode(self._map.codec.project(descriptors))
        yield from _seen_by(self._map, self._search.best(described[None], self._top_k), f"places/{VLAD}")


class ModelRetrieval:
    """The points seen by the keyframes that a learned encoder finds most alike."""

    def __init__(self, config: CandidateConfig, landmark_map: LandmarkMap, encoder: GlobalDescriptorEncoder) -> None:
        """Places of a map by the encoder that made its index.

        Raises:
            MapError: the map has no index of an encoder.
            ModelError: another encoder made it.
        """
        place = find_index_of_encoder(landmark_map, encoder)
        if place is None:
            raise MapError(
                f"the map {landmark_map.name} has the place indices {', '.join(landmark_map.places) or 'none'}, "
                f"expected {MODEL} to ask an encoder; make it with `vloc map encode`, or set proposals.places to vlad"
            )
        self._map, self._encoder, self._search, self._top_k = landmark_map, encoder, place.search, config.places_top_k

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """One proposal: the union over the keyframes most like any of the views; the features do not matter."""
        described = self._encoder.encode([view.image for view in query.views])
        yield from _seen_by(self._map, self._search.best(described, self._top_k), f"places/{MODEL}")


def find_index_of_encoder(landmark_map: LandmarkMap, encoder: GlobalDescriptorEncoder) -> RetrievalIndex | None:
    """A map's index for the images of an encoder; None where nobody has encoded it.

    Raises:
        ModelError: another encoder made it.
        MapError: it does not have the shape that the encoder gives.
    """
    place = landmark_map.places.get(MODEL)
    if place is None:
        return None
    if place.encoder != encoder.hash:
        raise ModelError(
            f"the encoder has the hash {encoder.hash[:12]}, expected {place.encoder[:12]}, which made the place index "
            f"of the map {landmark_map.name}; give that one, or encode the map by this one with `vloc map encode`"
        )
    expected = (len(landmark_map.keyframes), encoder.dimension)
    if place.descriptors.shape != expected:
        raise MapError(
            f"the place index of the map {landmark_map.name} has the shape {place.descriptors.shape}, expected "
            f"{expected}; run `vloc map encode`"
        )
    return place


def _seen_by(landmark_map: LandmarkMap, keyframes: Array, name: str) -> Iterator[Candidate]:
    """The union of what keyframes saw; nothing where none was found."""
    seen = [landmark_map.keyframes.visible(int(k)) for k in keyframes]
    if seen:
        yield Candidate(name, sorted_unique(np.concatenate(seen)).astype(np.int64))
