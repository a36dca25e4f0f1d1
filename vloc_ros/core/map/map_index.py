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

"""Everything that is derived from a map, built once and shared by all who search it."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import expand_ranges, sorted_unique
from vloc_ros.core.map.covisibility import LandmarkCovisibility
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.point_search import PointSearch


class MapIndex:
    """The search structures of one map, each built when it is first used."""

    def __init__(self, landmark_map: LandmarkMap) -> None:
        self.map = landmark_map

    @cached_property
    def point_offsets(self) -> Array:
        """(P + 1,) int64 offsets of each point into `observers`."""
        counts = np.bincount(self.map.keyframes.point_indices, minlength=len(self.map.points))
        return np.concatenate([[0], np.cumsum(counts)])

    @cached_property
    def observation_order(self) -> Array:
        """(O,) int64 order of the keyframes' observations by point, see `point_offsets`."""
        return np.argsort(self.map.keyframes.point_indices, kind="stable")

    @cached_property
    def observers(self) -> Array:
        """(O,) int32 keyframes that observe point p: `observers[point_offsets[p]:point_offsets[p + 1]]`."""
        return np.asarray(self.map.keyframes.keyframe_of_observation[self.observation_order])

    def observation_counts(self, points: Array) -> Array:
        """(N,) int64 how many keyframes observe each of (N,) points."""
        return np.asarray(self.point_offsets[points + 1] - self.point_offsets[points])

    def count_observed(self, points: Array) -> Array:
        """(K,) int64 how many of (N,) points each keyframe observes; a repeated point counts repeatedly.

        Takes time by the number of points, not by the size of the map.
        """
        rows = expand_ranges(self.point_offsets[points], self.observation_counts(points))
        return np.bincount(self.observers[rows], minlength=len(self.map.keyframes))

    def covisible_points(self, points: Array, *, keyframes: int) -> Array:
        """(N,) ascending points that covisible keyframes observe: those which share most of some points.

        Args:
            points: (M,) of one scene, each once, M >= 1.
            keyframes: how many, at most.
        """
        own = self.map.scene_of(points).keyframes
        shared = self.count_observed(points)[own.start : own.stop]
        sharing = np.flatnonzero(shared)
        best = own.start + sharing[np.argsort(-shared[sharing], kind="stable")[:keyframes]]
        seen = [self.map.keyframes.visible(int(k)) for k in best]
        return sorted_unique(np.concatenate([points[:0], *seen]))

    @cached_property
    def descriptors(self) -> Array:
        """(P, d) float32 decoded descriptors of all points: four times the memory of the codes."""
        return self.map.codec.decode(self.map.codes)

    @cached_property
    def point_search(self) -> PointSearch:
        """The search among all points; a map too large to be searched as a whole needs it for a last pass alone."""
        return PointSearch(self.map)

    @cached_property
    def covisibility(self) -> LandmarkCovisibility:
        """The landmarks that reference keyframes observe together."""
        return LandmarkCovisibility(self.map)
