"""Recognition of landmarks: which of them each keypoint shows, and where in the map that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vloc_ros.core.config import CandidateConfig, ExtractorConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import Candidate, DescriptorNeighbours
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.map.covisibility import LandmarkCovisibility
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query

_REFERENCES_ASKED = 64
# so many keypoints, the strongest, vote
VOTERS = 500
# so many find a pose, if there is one
_KEYPOINTS = 320
# squared distances up to so many times the smallest
_AS_ALIKE = 1.25
# lists looked through for a vote, fewer than for a match: one that goes astray is one of hundreds
_BREADTH = 4
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


class LandmarkRecognizer(Protocol):
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


class LandmarkRegions:
    """The places where landmarks that an image shows are seen together.

    PRAM (Xue et al. 2024) matches landmark by landmark; together they say more: all that are recognised at once
    describe the image, and are compared with what each reference keyframe sees.
    """

    def __init__(self, config: CandidateConfig, places: LandmarkCovisibility) -> None:
        self._config, self._places = config, places

    def proposals(
        self, landmarks: Array, evidence: Array, *, name: str, neighbours: DescriptorNeighbours | None
    ) -> Iterator[Candidate]:
        """The likeliest place with its rivals, and then one by one those that are less likely.

        Args:
            landmarks: (S,) that the image shows,
            evidence: (S,) and how much of them.
            name: of the proposals.
            neighbours: what the keypoints look like in the whole map, where that is known.
        """
        if not len(landmarks):
            return
        found = list(self._distinct(self._places.likeness(landmarks, evidence)))
        if not found:
            return
        places = [(likely, Candidate(name, points, keypoints=_KEYPOINTS, neighbours=neighbours))
                  for likely, points in found]  # fmt: skip
        least = self._config.rival_likeness * places[0][0]
        rivals = [place for likely, place in places if likely >= least]
        yield replace(rivals[0], rivals=tuple(rivals[1:]))
        yield from (place for likely, place in places if likely < least)

    def _distinct(self, likeness: Array) -> Iterator[tuple[float, Array]]:
        """Points of places in the order of their likeness: references that share landmarks make one."""
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
            yield likely, self._places.points_of(np.array(sorted(coarse)))


class LandmarkVoting:
    """Needs no training: every keypoint votes for the landmarks of the map's points that look most like it."""

    def __init__(self, landmark_map: LandmarkMap, matcher: NearestNeighbourMatcher, places: LandmarkRegions) -> None:
        self._map, self._matcher, self._places = landmark_map, matcher, places

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """Places by votes, see `LandmarkPlaces`."""
        neighbours = self._matcher.neighbours(
            [found.strongest(VOTERS) for found in features], Candidate(""), breadth=_BREADTH
        )
        # a vote is shared by all that look about as much alike: which copy of a thing is found first is chance
        alike = (neighbours.distances <= _AS_ALIKE * neighbours.distances[:, :1]) & (neighbours.point_indices >= 0)
        sharing = alike.sum(axis=1)
        landmarks, which = np.unique(self._map.landmark_ids[neighbours.point_indices[alike]], return_inverse=True)
        votes = np.bincount(which, weights=np.repeat(1.0 / np.maximum(sharing, 1), sharing))
        yield from self._places.proposals(landmarks, votes, name="landmarks/voted", neighbours=neighbours)


class LandmarkRecognition:
    """A trained network says which landmark each keypoint shows."""

    def __init__(self, landmark_map: LandmarkMap, recognizer: LandmarkRecognizer, places: LandmarkRegions) -> None:
        """Places of a map by a recogniser that knows its landmarks.

        Raises:
            ModelError: the recogniser was trained on landmarks that the map does not hold, or on other keypoints.
        """
        self._recognizer, self._places = recognizer, places
        self._number = landmark_numbers(landmark_map, recognizer.landmark_keys)
        trained_on, used = recognizer.extractor.name, landmark_map.extractor.name
        if trained_on != used:
            raise ModelError(f"the recogniser was trained on keypoints of {trained_on}, the map has those of {used}")

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """Places by recognition, see `LandmarkPlaces`."""
        evidence = np.zeros(len(self._number))
        for view, found in zip(query.views, features, strict=True):
            if not len(found):
                continue
            strongest = found.strongest(self._recognizer.max_keypoints)
            rays = view.camera.unproject(strongest.xy)[:, :2].astype(np.float32)
            shown = self._recognizer.recognize(rays, strongest.descriptors)
            evidence[shown.landmarks] += shown.probabilities.sum(axis=0)
        seen = np.flatnonzero(evidence > 0)
        yield from self._places.proposals(
            self._number[seen], evidence[seen], name="landmarks/recognized", neighbours=None
        )


def landmark_numbers(landmark_map: LandmarkMap, keys: Array) -> Array:
    """(L,) int64 number in the map of each of a recogniser's landmarks.

    Raises:
        ModelError: the map lacks some of them.
    """
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
