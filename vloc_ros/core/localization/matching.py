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

"""Matching of keypoints against the map points of a candidate."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.config import MatcherConfig
from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.features.nearest_neighbours import nearest_neighbours
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import Candidate, SearchWindow
from vloc_ros.core.localization.matches import DescriptorNeighbours, Matches
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.map.map_index import MapIndex

_NEIGHBOURS = 4
_TILE_PX = 160.0
# rows or a mask of the keypoints of a view
Keypoints = slice | Array
ALL = slice(None)


class NearestNeighbourMatcher:
    """Mutual nearest neighbours with a ratio test across landmarks, in the map's compact descriptor space.

    The ratio test (Lowe 2004) compares the best match with the next one in *another part* of the map: neighbours close
    to the best one in space are the same structure mapped twice and do not compete with it.
    """

    def __init__(self, config: MatcherConfig, map_index: MapIndex) -> None:
        self._config, self._index, self._map = config, map_index, map_index.map
        self._max_distance_in_window = map_index.map.descriptor_limit(DescriptorLimit.STRICT)

    def match(self, observation: Observation, candidate: Candidate, *, keypoints: Keypoints | None = None) -> Matches:
        """Matches of all views with a candidate's points; empty when there are none.

        Args:
            observation: of the query.
            candidate: a part of the map; the whole map with neighbours is not searched again.
            keypoints: of each view to match, strongest first; None for those that the candidate says.
        """
        if candidate.point_indices is None and candidate.neighbours is not None:
            neighbours = candidate.neighbours
        else:
            some = slice(None, None, candidate.every) if keypoints is None else keypoints
            # a sample decides only where it is certain, and fewer matches will do for that
            breadth = max(1, self._config.search_breadth // 2) if candidate.is_sample else None
            neighbours = self.neighbours(observation, candidate, keypoints=some, breadth=breadth)
        views, points, distances = neighbours.views, neighbours.point_indices, neighbours.distances
        passing = self._pass_ratio_test(distances, points)
        by_view = [passing[views[passing] == view] for view in range(len(observation.features))]
        chosen = np.concatenate([_mutual(mine, distances[:, 0], points[:, 0]) for mine in by_view])
        indices = points[chosen, 0]
        positions = self._map.points[indices].astype(np.float64)
        return Matches(views[chosen], neighbours.xy[chosen], indices, positions, neighbours)

    def neighbours(
        self,
        observation: Observation,
        candidate: Candidate,
        *,
        keypoints: Keypoints = ALL,
        breadth: int | None = None,
    ) -> DescriptorNeighbours:
        """Of a candidate's points the nearest in descriptor space to each keypoint of all views.

        Args:
            observation: of the query.
            candidate: a part of the map.
            keypoints: of each view to match, strongest first.
            breadth: of the search in the whole map, None for the one configured.
        """
        breadth = breadth or self._config.search_breadth
        pixels = [found.xy[keypoints] for found in observation.features]
        found = [
            self._nearest(view, xy, observation.descriptors[view][keypoints], candidate, breadth)
            for view, xy in enumerate(pixels)
        ]
        distances, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
        views = np.repeat(np.arange(len(pixels), dtype=np.int32), [len(xy) for xy in pixels])
        return DescriptorNeighbours(views, np.concatenate(pixels), points, distances)

    def _nearest(
        self, view: int, keypoints: Array, descriptors: Array, candidate: Candidate, breadth: int
    ) -> tuple[Array, Array]:
        """(K, 4) squared distances and map points of the candidate nearest to each keypoint of a view."""
        points = candidate.point_indices
        if not len(keypoints) or (points is not None and len(points) < _NEIGHBOURS):
            none = np.full((len(keypoints), _NEIGHBOURS), -1, np.int64)
            return np.full(none.shape, np.inf, np.float32), none
        if points is None:
            return self._index.point_search.nearest(descriptors, _NEIGHBOURS, breadth=breadth)
        candidates = self._map.descriptors_of(points)
        if not candidate.windows:
            distances, neighbours = nearest_neighbours(descriptors, candidates, _NEIGHBOURS)
            return distances, points[neighbours]
        distances, neighbours = _nearest_in_window(keypoints, descriptors, candidates, candidate.windows[view])
        distances[distances > self._max_distance_in_window**2] = np.inf
        return distances, points[neighbours]

    def _pass_ratio_test(self, distances: Array, neighbours: Array) -> Array:
        """Keypoints whose best match is clearly nearer than any in another part of the map; distances are squared."""
        points = self._map.points[neighbours]
        away = points - points[:, :1]
        in_another_part = np.einsum("kni,kni->kn", away, away) > self._config.same_place_radius_m**2
        if len(self._map.scenes) > 1:
            scenes = self._map.scene_of_point[neighbours]
            in_another_part |= scenes != scenes[:, :1]
        second = np.where(in_another_part & (neighbours >= 0), distances, np.inf).min(axis=1)
        found = np.isfinite(distances[:, 0]) & (neighbours[:, 0] >= 0)
        return np.flatnonzero((distances[:, 0] <= self._config.ratio**2 * second) & found)


def _nearest_in_window(
    keypoints: Array, descriptors: Array, candidates: Array, window: SearchWindow
) -> tuple[Array, Array]:
    """`nearest_neighbours` of keypoints among those of (C, d) points in whose windows they lie, tile by tile.

    Windows are small against the image: a tile's keypoints are compared with a few of the points.
    """
    tile = (keypoints // _TILE_PX).astype(np.int64)
    tile_number = tile[:, 1] * (tile[:, 0].max(initial=0) + 1) + tile[:, 0]
    order = np.argsort(tile_number, kind="stable")
    distances = np.empty((len(keypoints), _NEIGHBOURS), np.float32)
    neighbours = np.empty((len(keypoints), _NEIGHBOURS), np.int64)
    for mine in np.split(order, np.flatnonzero(np.diff(tile_number[order])) + 1):
        reaching = window.reaches(keypoints[mine].min(axis=0), keypoints[mine].max(axis=0))
        reaching[:_NEIGHBOURS] = True  # as many as are searched for; what lies outside of their windows is excluded
        rows = np.flatnonzero(reaching)
        outside = window.select(rows).outside(keypoints[mine])
        distances[mine], found = nearest_neighbours(descriptors[mine], candidates[rows], _NEIGHBOURS, exclude=outside)
        neighbours[mine] = rows[found]
    return distances, neighbours


def _mutual(keypoints: Array, distances: Array, points: Array) -> Array:
    """Of the keypoints that chose the same map point, the nearest."""
    order = keypoints[np.argsort(distances[keypoints], kind="stable")]
    _, first = np.unique(points[order], return_index=True)
    return np.sort(order[first])
