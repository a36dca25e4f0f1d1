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

"""2D-3D matches, and the nearest map points that they were selected from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap


@dataclass(frozen=True, slots=True, eq=False)
class DescriptorNeighbours:
    """The map points nearest to each keypoint in descriptor space, matched or not.

    Attributes:
        views: (K,) int32 index of the query's view, of all keypoints of all views.
        xy: (K, 2) float32 pixels.
        point_indices: (K, 4) int64 map points, nearest first, -1 where there are no more.
        distances: (K, 4) float32 squared descriptor distances; infinite where there are no more.
    """

    views: Array
    xy: Array
    point_indices: Array
    distances: Array


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Keypoints paired with map points.

    Attributes:
        views: (M,) int32 index of the query's view.
        xy: (M, 2) float32 pixels.
        point_indices: (M,) int64 map points.
        points: (M, 3) float64 their positions, metres from the origin of their scene.
        neighbours: what they were selected from, of all scenes.
    """

    views: Array
    xy: Array
    point_indices: Array
    points: Array
    neighbours: DescriptorNeighbours | None = None

    def __len__(self) -> int:
        return len(self.xy)

    def by_scene(self, landmark_map: LandmarkMap) -> list[Matches]:
        """The matches with the points of each scene, most first; at least one part, which may be empty."""
        if len(landmark_map.scenes) == 1 or not len(self):
            return [self]
        scene_of_match = landmark_map.scene_of_point[self.point_indices]
        counts = np.bincount(scene_of_match)
        return [self.select(scene_of_match == scene) for scene in np.argsort(-counts, kind="stable") if counts[scene]]

    def select(self, chosen: Array) -> Matches:
        """Some of the matches, by a mask or by rows."""
        parts = (self.views[chosen], self.xy[chosen], self.point_indices[chosen], self.points[chosen])
        return Matches(*parts, self.neighbours)

    def without_views(self, views: Sequence[int]) -> Matches:
        """The matches of the other views."""
        return self.select(~np.isin(self.views, views))

    def of_view(self, view: int) -> Matches:
        """The matches of one view, as of a single camera."""
        mine = self.views == view
        return Matches(np.zeros(mine.sum(), np.int32), self.xy[mine], self.point_indices[mine], self.points[mine])
