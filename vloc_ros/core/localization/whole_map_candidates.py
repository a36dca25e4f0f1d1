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

"""Candidates of the whole map at once: the default while the map is small."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import WHOLE_MAP, Candidate, with_sample
from vloc_ros.core.localization.matches import DescriptorNeighbours
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation


class WholeMapCandidates:
    """The whole map for a sample of the keypoints, then for all; it is searched once for each keypoint."""

    def __init__(self, matcher: NearestNeighbourMatcher) -> None:
        self._matcher = matcher

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """Two candidates of one image with many keypoints, one of a rig or of few keypoints, none without any."""
        if not observation.keypoint_count:
            return
        first, *everything = with_sample(WHOLE_MAP, observation)
        if not everything:
            yield first
            return
        sampled = np.arange(observation.keypoint_count) % first.every == 0
        sample = self._search(observation, sampled, breadth=self._matcher.sample_breadth)
        yield replace(first, neighbours=sample)
        others = self._search(observation, ~sampled)
        yield replace(WHOLE_MAP, neighbours=_interleave(sampled, sample, others))

    def _search(self, observation: Observation, some: Array, *, breadth: int | None = None) -> DescriptorNeighbours:
        with observation.clock.stage("matching"):
            return self._matcher.neighbours(observation, WHOLE_MAP, keypoints=some, breadth=breadth)


def _interleave(sampled: Array, first: DescriptorNeighbours, second: DescriptorNeighbours) -> DescriptorNeighbours:
    """The neighbours of all keypoints of one view, from those of the sampled ones and those of the others."""
    rows = np.argsort(np.concatenate([np.flatnonzero(sampled), np.flatnonzero(~sampled)]))
    return DescriptorNeighbours(
        np.concatenate([first.views, second.views])[rows],
        np.concatenate([first.xy, second.xy])[rows],
        np.concatenate([first.point_indices, second.point_indices])[rows],
        np.concatenate([first.distances, second.distances])[rows],
    )
