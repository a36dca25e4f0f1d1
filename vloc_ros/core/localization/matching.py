"""2D-3D matches: which keypoint shows which map point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from vloc_ros.core.config import MatcherConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.nearest_neighbours import nearest_neighbours
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.candidates import Candidate, DescriptorNeighbours
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.point_search import PointSearch

_NEIGHBOURS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Keypoints paired with map points.

    Attributes:
        views: (M,) int32 index of the query's view.
        xy: (M, 2) float32 pixels.
        point_indices: (M,) int64 map points.
        points: (M, 3) float64 their positions, metres.
        neighbours: what they were chosen from, of all scenes.
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
        return [self._only(scene_of_match == scene) for scene in np.argsort(-counts, kind="stable") if counts[scene]]

    def _only(self, chosen: Array) -> Matches:
        parts = (self.views[chosen], self.xy[chosen], self.point_indices[chosen], self.points[chosen])
        return Matches(*parts, self.neighbours)

    def without_views(self, views: Sequence[int]) -> Matches:
        """Those of the other views."""
        return self._only(~np.isin(self.views, views))

    def of_view(self, view: int) -> Matches:
        """Those of one view, as of a single camera."""
        mine = self.views == view
        return Matches(np.zeros(mine.sum(), np.int32), self.xy[mine], self.point_indices[mine], self.points[mine])


class NearestNeighbourMatcher:
    """Mutual nearest neighbours with a ratio across landmarks, in the map's compact descriptor space.

    The ratio test (Lowe 2004) asks whether the best match is much better than the next one *elsewhere*: neighbours
    close to the best one in space are the same structure seen twice and do not compete with it.
    """

    def __init__(
        self, config: MatcherConfig, landmark_map: LandmarkMap, *, like: NearestNeighbourMatcher | None = None
    ) -> None:
        """A matcher for a map; `like` has the index of the same map already."""
        self._config = config
        self._map = landmark_map
        # the first of all, not a chain of those that were before
        self._like: NearestNeighbourMatcher | None = (like._like or like) if like is not None else None

    @cached_property
    def _whole(self) -> PointSearch:
        """Of the whole map, made when it is first searched; a map that is too large for that never has one."""
        return PointSearch(self._map) if self._like is None else self._like._whole

    def match(self, features: Sequence[Features], proposal: Candidate) -> Matches:
        """Matches of all views with the points that the proposal names; empty when there are none."""
        neighbours = self.neighbours(features, proposal)
        views, points, distances = neighbours.views, neighbours.point_indices, neighbours.distances
        distinct = self._distinct(distances, points)
        of_views = [distinct[views[distinct] == view] for view in range(len(features))]
        chosen = np.concatenate([_mutual(mine, distances[:, 0], points[:, 0]) for mine in of_views])
        indices = points[chosen, 0]
        positions = self._map.points[indices].astype(np.float64)
        return Matches(views[chosen], neighbours.xy[chosen], indices, positions, neighbours)

    def neighbours(
        self, features: Sequence[Features], proposal: Candidate, *, breadth: int | None = None
    ) -> DescriptorNeighbours:
        """Of the points that the proposal names those that look most like each keypoint of all views.

        Args:
            features: of each view.
            proposal: a part of the map, or the whole.
            breadth: of the search in the whole map, None for the one configured.
        """
        breadth = breadth or self._config.search_breadth
        found = [self._nearest(view, one, proposal, breadth) for view, one in enumerate(features)]
        distances, points = (np.concatenate(parts) for parts in zip(*found, strict=True))
        views = np.repeat(np.arange(len(features), dtype=np.int32), [len(one) for one in features])
        return DescriptorNeighbours(views, np.concatenate([one.xy for one in features]), points, distances)

    def _nearest(self, view: int, features: Features, proposal: Candidate, breadth: int) -> tuple[Array, Array]:
        """(K, 4) squared distances and map points of the candidates that look most like each keypoint of a view."""
        candidates = proposal.point_indices
        if not len(features) or (candidates is not None and len(candidates) < _NEIGHBOURS):
            none = np.full((len(features), _NEIGHBOURS), -1, np.int64)
            return np.full(none.shape, np.inf, np.float32), none
        descriptors = self._map.codec.project(features.descriptors)
        if candidates is None:
            return self._whole.nearest(descriptors, _NEIGHBOURS, breadth=breadth)
        off = proposal.windows[view].outside(features.xy) if proposal.windows else None
        distances, neighbours = nearest_neighbours(
            descriptors, self._map.descriptors_of(candidates), _NEIGHBOURS, exclude=off
        )
        if proposal.windows:
            distances[distances > self._config.max_distance_in_window**2] = np.inf
        return distances, candidates[neighbours]

    def _distinct(self, distances: Array, neighbours: Array) -> Array:
        """Keypoints whose best match beats the next one elsewhere; distances are squared."""
        points = self._map.points[neighbours]
        away = np.linalg.norm(points - points[:, :1], axis=2) > self._config.same_place_radius_m
        if len(self._map.scenes) > 1:
            scenes = self._map.scene_of_point[neighbours]
            away |= scenes != scenes[:, :1]
        rival = np.where(away & (neighbours >= 0), distances, np.inf).min(axis=1)
        found = np.isfinite(distances[:, 0]) & (neighbours[:, 0] >= 0)
        distinct = (distances[:, 0] <= self._config.ratio**2 * rival) & found
        return np.flatnonzero(distinct)


def _mutual(keypoints: Array, distances: Array, points: Array) -> Array:
    """Of the keypoints that chose the same map point, the nearest."""
    order = keypoints[np.argsort(distances[keypoints], kind="stable")]
    _, first = np.unique(points[order], return_index=True)
    return np.sort(order[first])
