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

"""Candidates by landmarks: which of them the keypoints show, and the regions of the map where these are observed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.extractor_config import ExtractorConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import WHOLE_MAP, Candidate
from vloc_ros.core.localization.matches import DescriptorNeighbours
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.reranking import CandidateReranker
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex

_REFERENCES = 64
# keypoints that vote, the strongest
VOTERS = 500
# a vote is shared by points with squared distances up to so many times the smallest
_SHARED_VOTE_RATIO = 1.25
# inverted lists searched for a vote, fewer than for a match: a wrong one is one of hundreds
_BREADTH = 4
# references about as similar as the first of a region add their landmarks to it
_SAME_REGION_RATIO = 0.85
# a smaller share of a reference's points belongs to the region beside it
_MIN_SHARE = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Recognition:
    """Probabilities over the landmarks that an image is likely to show.

    Attributes:
        background: (N,) float32 probability that a keypoint shows no landmark.
        landmarks: (S,) int64 landmarks in the recogniser's own order, each once.
        probabilities: (N, S) float32 that a keypoint shows each of them.
    """

    background: Array
    landmarks: Array
    probabilities: Array


class LandmarkRecognizer(Protocol):
    """Classifies keypoints by landmark. Trained on one map; serves every map that extends it."""

    @property
    def landmark_keys(self) -> Array:
        """(L,) int64 key of each landmark in the recogniser's own order, see `LandmarkTable`."""
        ...

    @property
    def extractor(self) -> ExtractorConfig:
        """Of the keypoints that it was trained on."""
        ...

    @property
    def max_keypoints(self) -> int:
        """Keypoints that it takes at most, the strongest."""
        ...

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        """What (N, 2) float32 rays (x/z, y/z in the camera's frame) with (N, D) float32 descriptors show, N >= 1."""
        ...


class LandmarkRegions:
    """The regions of the map where landmarks that an image shows are observed together.

    PRAM (Xue et al. 2024) matches landmark by landmark. Together they are stronger evidence: all that are recognised at
    once describe the image, and are compared with what each reference keyframe observes.
    """

    def __init__(self, config: CandidateConfig, map_index: MapIndex, reranker: CandidateReranker) -> None:
        self._config, self._index, self._reranker = config, map_index, reranker

    def candidates(
        self,
        landmarks: Array,
        evidence: Array,
        observation: Observation,
        *,
        name: str,
        neighbours: DescriptorNeighbours | None,
    ) -> Iterator[Candidate]:
        """The best two of the most similar regions, re-ranked together, then one by one those that are less similar.

        Args:
            landmarks: (S,) that the image shows.
            evidence: (S,) for each of them.
            observation: of the query.
            name: of the candidates.
            neighbours: the nearest points of the keypoints in the whole map, where they are known.
        """
        if not len(landmarks):
            return
        similarity = self._index.covisibility.similarity(landmarks, evidence)
        regions = list(self._group_regions(similarity))
        if not regions:
            return
        least = self._config.competitor_similarity * regions[0][0]
        candidates = [Candidate(name, points, neighbours=neighbours) for _, points in regions]
        together = sum(similar >= least for similar, _ in regions)
        yield from self._reranker.rerank(candidates[:together], observation)
        for candidate in candidates[together:]:
            yield from self._reranker.rerank([candidate], observation)

    def _group_regions(self, similarity: Array) -> Iterator[tuple[float, Array]]:
        """Similarity and points of regions, best first: references that share coarse landmarks are grouped."""
        covisibility = self._index.covisibility
        regions: list[tuple[float, set[int]]] = []
        for reference in np.argsort(-similarity, kind="stable")[:_REFERENCES]:
            similar = float(similarity[reference])
            coarse = set(covisibility.coarse_landmarks(int(reference), min_share=_MIN_SHARE).tolist())
            home = next((region for region in regions if region[1] & coarse), None)
            if home is None and similar > 0 and len(regions) < self._config.landmark_regions:
                regions.append((similar, coarse))
            elif home is not None and similar >= _SAME_REGION_RATIO * home[0]:
                home[1].update(coarse)
        for similar, coarse in regions:
            yield similar, covisibility.points_of(np.array(sorted(coarse)))


class LandmarkVoting:
    """Needs no training: every keypoint votes for the landmarks of its nearest map points."""

    def __init__(self, landmark_map: LandmarkMap, matcher: NearestNeighbourMatcher, regions: LandmarkRegions) -> None:
        self._map, self._matcher, self._regions = landmark_map, matcher, regions

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """Regions by votes, see `LandmarkRegions`."""
        if not observation.keypoint_count:
            return
        neighbours = self._matcher.neighbours(observation, WHOLE_MAP, keypoints=slice(VOTERS), breadth=_BREADTH)
        # a vote is shared by all points about as near: which copy of a thing is nearest is chance
        distances, points = neighbours.distances, neighbours.point_indices
        shared = (distances <= _SHARED_VOTE_RATIO * distances[:, :1]) & (points >= 0)
        counts = shared.sum(axis=1)
        landmarks, row = np.unique(self._map.landmark_ids[points[shared]], return_inverse=True)
        votes = np.bincount(row, weights=np.repeat(1.0 / np.maximum(counts, 1), counts))
        yield from self._regions.candidates(
            landmarks, votes, observation, name="landmarks/voted", neighbours=neighbours
        )


class LandmarkRecognition:
    """A trained network classifies each keypoint."""

    def __init__(self, landmark_map: LandmarkMap, recognizer: LandmarkRecognizer, regions: LandmarkRegions) -> None:
        """Regions of a map by a recogniser that knows its landmarks.

        Raises:
            ModelError: the recogniser was trained on landmarks that the map does not hold, or on other keypoints.
        """
        self._recognizer, self._regions = recognizer, regions
        self._number = landmark_numbers(landmark_map, recognizer.landmark_keys)
        trained_on, used = recognizer.extractor, landmark_map.extractor
        if not used.covers(trained_on):
            raise ModelError(
                f"the recogniser was trained on keypoints of {trained_on.describe()}, the map has those of "
                f"{used.describe()}; train one on this map"
            )

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """Regions by recognition, see `LandmarkRegions`."""
        evidence = np.zeros(len(self._number))
        for view, found in zip(observation.query.views, observation.features, strict=True):
            if not len(found):
                continue
            strongest = found.strongest(self._recognizer.max_keypoints)
            rays = view.camera.unproject(strongest.xy)[:, :2].astype(np.float32)
            shown = self._recognizer.recognize(rays, strongest.descriptors)
            evidence[shown.landmarks] += shown.probabilities.sum(axis=0)
        seen = np.flatnonzero(evidence > 0)
        yield from self._regions.candidates(
            self._number[seen], evidence[seen], observation, name="landmarks/recognized", neighbours=None
        )


def landmark_numbers(landmark_map: LandmarkMap, keys: Array) -> Array:
    """(L,) int64 number in the map of each of a recogniser's landmarks.

    Raises:
        ModelError: the map lacks some of them.
    """
    own = landmark_map.landmarks.keys
    order = np.argsort(own)
    rank = np.minimum(np.searchsorted(own[order], keys), len(own) - 1)
    missing = int((own[order[rank]] != keys).sum())
    if missing:
        raise ModelError(
            f"the recogniser was trained on another landmark set: the map {landmark_map.name} lacks {missing} of its "
            f"{len(keys)} landmarks; train one on this map, or on one that this map extends"
        )
    return order[rank].astype(np.int64)
