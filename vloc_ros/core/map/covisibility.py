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

"""Reference keyframes, which together cover a map, and the landmarks that each observes."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import expand_ranges, sorted_unique
from vloc_ros.core.map.landmark_map import LandmarkMap

_COVERED = 0.9
_LEAST_GAIN = 0.01
_MOST_PER_LANDMARK = 10


def select_reference_keyframes(landmark_map: LandmarkMap) -> Array:
    """(R,) int64 ascending keyframes that together observe nearly all points: PRAM's virtual reference frames.

    Greedy set cover (Xue et al. 2024): of each coarse landmark the keyframe that observes most points which no selected
    one does, until 90 % are observed, one more adds less than 1 %, or ten are selected.
    """
    keyframes = landmark_map.keyframes
    keyframe, point = keyframes.keyframe_of_observation, keyframes.point_indices
    coarse = landmark_map.landmarks.parents[landmark_map.landmark_ids[point]]
    order = np.argsort(coarse, kind="stable")
    ends = np.searchsorted(coarse[order], np.arange(landmark_map.landmarks.coarse_count + 1))
    covers = [_cover(keyframe[order[a:b]], point[order[a:b]]) for a, b in pairwise(ends)]
    return sorted_unique(np.concatenate([np.zeros(0, np.int64), *covers]))


def _cover(keyframe: Array, point: Array) -> Array:
    """Keyframes that cover the points of (O,) observations of one landmark."""
    count = len(sorted_unique(point))
    left, taken = np.ones(len(point), bool), list[int]()
    while left.any() and len(taken) < _MOST_PER_LANDMARK:
        gains = np.bincount(keyframe[left])
        best = int(gains.argmax())
        if taken and gains[best] < _LEAST_GAIN * count:
            break
        taken.append(best)
        left &= ~np.isin(point, point[keyframe == best])
        if len(sorted_unique(point[left])) <= (1.0 - _COVERED) * count:
            break
    return np.array(taken, np.int64)


class LandmarkCovisibility:
    """The landmarks that each reference keyframe observes, as a descriptor of its view, and the points around them.

    An image is described by how much of each landmark it shows, and compared by the Bhattacharyya coefficient. Only
    landmarks that the image shows are looked up: the time does not grow with the map.
    """

    def __init__(self, landmark_map: LandmarkMap) -> None:
        self._map = landmark_map
        self.references = select_reference_keyframes(landmark_map)
        """(R,) keyframes."""

    @cached_property
    def _rows(self) -> tuple[Array, Array, Array]:
        """(R + 1,) offsets into the landmarks that each reference observes, and the share of its points in each."""
        offsets, landmarks, shares = [0], [], []
        for k in self.references:
            observed = self._map.landmark_ids[self._map.keyframes.visible(int(k))]
            seen, counts = np.unique(observed, return_counts=True)
            landmarks.append(seen)
            shares.append(counts / max(counts.sum(), 1))
            offsets.append(offsets[-1] + len(seen))
        return np.array(offsets), np.concatenate(landmarks), np.concatenate(shares)

    @cached_property
    def _by_landmark(self) -> tuple[Array, Array, Array]:
        """(L + 1,) offsets into the references that observe each landmark, and the root of its share in them."""
        offsets, landmarks, shares = self._rows
        row = np.repeat(np.arange(len(self.references)), np.diff(offsets))
        order = np.argsort(landmarks, kind="stable")
        counts = np.bincount(landmarks, minlength=len(self._map.landmarks))
        return np.concatenate([[0], np.cumsum(counts)]), row[order], np.sqrt(shares[order])

    @cached_property
    def _by_coarse(self) -> tuple[Array, Array]:
        """(C + 1,) offsets into the points of each coarse landmark."""
        coarse = self._map.landmarks.parents[self._map.landmark_ids]
        counts = np.bincount(coarse, minlength=self._map.landmarks.coarse_count)
        return np.concatenate([[0], np.cumsum(counts)]), np.argsort(coarse, kind="stable")

    def similarity(self, landmarks: Array, evidence: Array) -> Array:
        """(R,) similarity, 0 to 1, of each reference to an image that shows (S,) landmarks with (S,) evidence."""
        offsets, references, roots = self._by_landmark
        counts = offsets[landmarks + 1] - offsets[landmarks]
        chosen = expand_ranges(offsets[landmarks], counts)
        of_image = np.repeat(np.sqrt(evidence / max(float(evidence.sum()), 1e-9)), counts)
        return np.bincount(references[chosen], weights=roots[chosen] * of_image, minlength=len(self.references))

    def coarse_landmarks(self, reference: int, *, min_share: float) -> Array:
        """Coarse landmarks with this share of a reference's points or more; the largest in any case."""
        offsets, landmarks, shares = self._rows
        mine = slice(offsets[reference], offsets[reference + 1])
        parents = self._map.landmarks.parents[landmarks[mine]]
        held = np.bincount(parents, weights=shares[mine])
        return np.flatnonzero(held >= min(min_share, held.max()))  # always one

    def points_of(self, coarse: Array) -> Array:
        """Ascending points of coarse landmarks."""
        offsets, points = self._by_coarse
        return np.sort(np.concatenate([points[offsets[c] : offsets[c + 1]] for c in coarse]))
