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

"""Candidates for a learned matcher: the keyframes that observe most of what the query's keypoints resemble."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from vloc_ros.core.config import MatcherConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import ITERATIVE, WHOLE_MAP, Candidate
from vloc_ros.core.localization.iterative_solver import order_by_observers
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.map.map_index import MapIndex

# keyframes that share points with a candidate's, whose points it has too
_COVISIBLE = 4
# of a keyframe's points, what others before it may have had
_MOST_KNOWN = 0.5


class KeyframeCandidates:
    """Keyframes by the votes of keypoints, each for those that observe the nearest point; different ones.

    A keyframe's votes count by the root of its number of points, as in a cosine similarity.
    """

    def __init__(
        self,
        config: MatcherConfig,
        map_index: MapIndex,
        matcher: NearestNeighbourMatcher,
        *,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` gives the time in seconds."""
        self._index, self._matcher, self._now = map_index, matcher, now
        self._most, self._time_s = config.last_pass_keyframes, config.last_pass_s

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """One candidate a keyframe, best first; none begins when the time since the search of the whole map is over."""
        if not observation.keypoint_count:
            return
        with observation.clock.stage("matching"):
            neighbours = self._matcher.neighbours(observation, WHOLE_MAP)
        until = self._now() + self._time_s
        nearest = neighbours.point_indices[:, 0]
        for keyframe, points in self._different_keyframes(nearest[nearest >= 0]):
            if self._now() > until:
                return
            yield Candidate(
                ITERATIVE,
                order_by_observers(self._index, points),
                neighbours=neighbours,
                kind=ITERATIVE,
                keyframe=keyframe,
            )

    def _different_keyframes(self, nearest: Array) -> Iterator[tuple[int, Array]]:
        """Keyframes and the points that they and covisible ones observe, by the votes for (N,) points."""
        keyframes = self._index.map.keyframes
        votes = self._index.count_observed(nearest) / np.sqrt(np.diff(keyframes.point_offsets) + 1.0)
        known = np.zeros(len(self._index.map.points), bool)
        found = 0
        for keyframe in np.argsort(-votes, kind="stable"):
            if found == self._most or not votes[keyframe]:
                return
            own = keyframes.visible(int(keyframe))
            if known[own].mean() > _MOST_KNOWN:
                continue
            found += 1
            points = self._index.covisible_points(own.astype(np.int64), keyframes=_COVISIBLE)
            known[points] = True
            yield int(keyframe), points
