"""Recognition of landmarks: which of them each keypoint shows, and where in the map that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vloc_ros.core.config import ExtractorConfig, ProposalConfig
from vloc_ros.core.covisibility import ReferencePlaces
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features import Features
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.matching import NearestNeighbourMatcher
from vloc_ros.core.pose import Array
from vloc_ros.core.proposals import Proposal
from vloc_ros.core.query import Query

_REFERENCES_ASKED = 64
# so many keypoints, the strongest, vote
_VOTERS = 700
# so many find a pose, if there is one
_KEYPOINTS = 512
# references that are about as likely as the first of a place add what they see to it
_OF_ONE_PLACE = 0.85
# what a place sees less of is of the place beside it
_LEAST_SHARE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """Probabilities over the landmarks that an image is likely to show.

    Attributes:
        background: (N,) float32 probability that a keypoint shows no landmark.
        landmarks: (S,) int64 numbers of landmarks in the recogniser's own order, each once.
        probabilities: (N, S) float32 that a keypoint shows each of them.
    """

    background: Array
    landmarks: Array
    probabilities: Array


class Recognizer(Protocol):
    """Says of keypoints which landmark they show. Made by training on one map; serves every map that extends it."""

    @property
    def landmark_keys(self) -> Array:
        """(L,) int64 key of each landmark in the recogniser's own order, see `LandmarkTable`."""
        ...

    @property
    def extractor(self) -> ExtractorConfig:
        """What found the keypoints that it was trained on."""
        ...

    @property
    def max_keypoints(self) -> int:
        """It is given so many, the strongest, at most."""
        ...

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        """What (N, 2) float32 rays (x/z, y/z in the camera's frame) with (N, D) float32 descriptors show, N >= 1."""
        ...


class NearestLandmarks:
    """Needs no training: a keypoint shows the landmark of the map's point that looks most like it."""

    def __init__(self, landmark_map: LandmarkMap, matcher: NearestNeighbourMatcher) -> None:
        self._map, self._matcher = landmark_map, matcher
        self.landmark_keys, self.extractor = landmark_map.landmarks.keys, landmark_map.extractor
        self.max_keypoints = _VOTERS

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        """One landmark with certainty per keypoint."""
        landmark = self._map.landmark_ids[self._matcher.nearest(descriptors)]
        shown, number = np.unique(landmark, return_inverse=True)
        probabilities = np.zeros((len(rays), len(shown)), np.float32)
        probabilities[np.arange(len(rays)), number] = 1.0
        return Recognition(np.zeros(len(rays), np.float32), shown.astype(np.int64), probabilities)


class RecognizedLandmarks:
    """The places where the landmarks that an image shows are seen together.

    PRAM (Xue et al. 2024) matches landmark by landmark; together they say more: all that are recognised at once
    describe the image, and are compared with what each reference keyframe sees.
    """

    def __init__(
        self,
        config: ProposalConfig,
        landmark_map: LandmarkMap,
        recognizer: Recognizer,
        *,
        name: str,
        places: ReferencePlaces,
    ) -> None:
        """Places of a map by a recogniser that knows its landmarks.

        Raises:
            ModelError: the recogniser was trained on landmarks that the map does not hold, or on other keypoints.
        """
        self._config, self._recognizer, self._name, self._places = config, recognizer, name, places
        self._number = _numbers(recognizer.landmark_keys, landmark_map)
        trained_on, used = recognizer.extractor.name, landmark_map.extractor.name
        if trained_on != used:
            raise ModelError(f"the recogniser was trained on keypoints of {trained_on}, the map has those of {used}")

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Proposal]:
        """The likeliest place with its rivals, and then one by one those that are less likely."""
        landmarks, evidence = self._evidence(features, query)
        if not len(landmarks):
            return
        likeness = self._places.likeness(landmarks, evidence)
        places = list(self._distinct(likeness))
        if not places:
            return
        least = self._config.rival_likeness * places[0][0]
        rivals = [place for likely, place in places if likely >= least]
        yield replace(rivals[0], rivals=tuple(rivals[1:]))
        yield from (place for likely, place in places if likely < least)

    def _evidence(self, features: Sequence[Features], query: Query) -> tuple[Array, Array]:
        """Landmarks that the views show, and by how many keypoints each, in probability."""
        evidence = np.zeros(len(self._number))
        for view, found in zip(query.views, features, strict=True):
            if not len(found):
                continue
            strongest = slice(self._recognizer.max_keypoints)  # they come in this order
            rays = view.camera.unproject(found.xy[strongest])[:, :2].astype(np.float32)
            shown = self._recognizer.recognize(rays, found.descriptors[strongest])
            evidence[shown.landmarks] += shown.probabilities.sum(axis=0)
        shown_at_all = np.flatnonzero(evidence > 0)
        return self._number[shown_at_all], evidence[shown_at_all]

    def _distinct(self, likeness: Array) -> Iterator[tuple[float, Proposal]]:
        """Places in the order of their likeness: references that share landmarks make one."""
        places: list[tuple[float, set[int]]] = []
        for reference in np.argsort(-likeness, kind="stable")[:_REFERENCES_ASKED]:
            likely = float(likeness[reference])
            coarse = set(self._places.coarse_seen(int(reference), least_share=_LEAST_SHARE).tolist())
            home = next((place for place in places if place[1] & coarse), None)
            if home is None and likely > 0 and len(places) < self._config.landmark_places:
                places.append((likely, coarse))
            elif home is not None and likely >= _OF_ONE_PLACE * home[0]:
                home[1].update(coarse)
        for likely, coarse in places:
            yield likely, Proposal(self._name, self._places.points_of(np.array(sorted(coarse))), keypoints=_KEYPOINTS)


def _numbers(keys: Array, landmark_map: LandmarkMap) -> Array:
    """(L,) int64 number in the map of each landmark of a recogniser."""
    own = landmark_map.landmarks.keys
    order = np.argsort(own)
    place = np.minimum(np.searchsorted(own[order], keys), len(own) - 1)
    missing = int((own[order[place]] != keys).sum())
    if missing:
        raise ModelError(
            f"the recogniser was trained on another landmark set: the map {landmark_map.name} lacks {missing} of its "
            f"{len(keys)} landmarks; train one on this map, or on one that this map extends"
        )
    return order[place].astype(np.int64)
