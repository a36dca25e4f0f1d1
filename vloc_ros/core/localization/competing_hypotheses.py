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

"""Competing hypotheses: other poses in the map that many keypoints of a query fit about as well as an accepted pose.

The ratio test keeps what resembles one part of the map alone. In a building of rooms that are furnished alike that is
not enough: where one room is mapped better than another, images of the other match the one distinctly. But then many
other keypoints fit another pose: it is estimated from the neighbours that the ratio test rejected.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.candidates import WHOLE_MAP
from vloc_ros.core.localization.matches import DescriptorNeighbours, Matches
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import estimate_absolute_pose, inlier_mask, reprojection_residuals
from vloc_ros.core.localization.scoring import PoseScorer, ScoredPose
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.scene import Scene
from vloc_ros.core.query import Query

# competing points lie as near in descriptor space as this part of those that the accepted pose explains
_DISTANCE_PERCENTILE = 90.0
# a pose that this part of the accepted pose's keypoints fit competes with it
_MIN_SHARE = 0.25
_MAX_KEYFRAMES_TRIED = 6
# nearer poses are of one place: a camera of a rig with wrong extrinsics is not for this to find
_DISTINCT_M, _DISTINCT_RAD = 1.0, 0.5
# the keyframe that observes most of what fits a competing pose need not observe all of it
_SHARE_OF_ONE_KEYFRAME = 0.6
# competing poses have more support than the least: more samples found no more of them in buildings of rooms alike
_MISS_PROBABILITY = 0.1
# pairs within so many of the largest reprojection errors of an inlier belong to the pose that is known
_CLOSE = 3.0
# windows of shifts between images: wide enough for what another distance or place of the camera shifts unevenly
_CELL_RAD, _WINDOW = 0.2, 4
_MAX_CELLS = 20
_ITERATIONS = (20, 1000)


def is_distinct_pose(first: Pose, second: Pose) -> bool:
    """Whether two poses in one scene are of two places, or of two views from one."""
    distance_m, angle_rad = first.distance_to(second)
    return distance_m > _DISTINCT_M or angle_rad > _DISTINCT_RAD


class CompetingHypotheses:
    """Finds poses in other parts of the map that many keypoints of a query fit about as well as an accepted pose."""

    def __init__(
        self, map_index: MapIndex, *, matcher: NearestNeighbourMatcher, pose: PoseConfig, scorer: PoseScorer
    ) -> None:
        self._index, self._matcher, self._pose, self._scorer = map_index, matcher, pose, scorer

    def find(
        self,
        scene: Scene,
        scene_from_rig: Pose,
        known: Sequence[ScoredPose],
        neighbours: DescriptorNeighbours | None,
        observation: Observation,
    ) -> Iterator[ScoredPose]:
        """Competing poses, refined by guided matching so that they compare with an accepted pose.

        Args:
            scene: of the accepted pose.
            scene_from_rig: the accepted pose.
            known: competing poses that were found before.
            neighbours: map points nearest to keypoints of the query; None searches the whole map for those of all.
            observation: of the query.
        """
        query, neighbours = observation.query, neighbours or self._matcher.neighbours(observation, WHOLE_MAP)
        taken = [(scene, scene_from_rig), *((other.scene, other.scene_from_rig) for other in known)]
        own = _Pairs.in_scene(scene, neighbours, self._index)
        explained = inlier_mask(scene_from_rig, self._pose, own.matches, query)
        if not explained.any():
            return
        max_distance = float(np.percentile(own.distances[explained], _DISTANCE_PERCENTILE))
        near = own.distances <= max_distance
        min_keypoints = _MIN_SHARE * len(sorted_unique(own.keypoints[explained & near]))
        for other_scene in self._index.map.scenes:
            pairs = _Pairs.in_scene(other_scene, neighbours, self._index)
            poses = [pose for of_scene, pose in taken if of_scene is other_scene]
            found = self._poses_in_scene(pairs.select(pairs.distances <= max_distance), poses, query, min_keypoints)
            for pose, points in found:
                yield self.refine(self._scorer.score(pose, points, observation), observation)

    def _poses_in_scene(
        self, pairs: _Pairs, taken: Sequence[Pose], query: Query, min_keypoints: float
    ) -> Iterator[tuple[Pose, Array]]:
        """Poses of one scene that so many keypoints fit, beside those that are taken, and the points that fit."""
        for other in taken:
            pairs = pairs.select(~self._is_projected_close(other, pairs.matches, query))
        rest, min_together = pairs, _SHARE_OF_ONE_KEYFRAME * min_keypoints
        for _ in range(_MAX_KEYFRAMES_TRIED):
            keyframe, covisible = rest.covisible()
            if covisible.sum() < min_together:
                return
            together = rest.select(covisible)
            together = together.select(self._in_densest_window(together, keyframe, query)).nearest()
            rest = rest.select(~covisible)
            if len(together.keypoints) < min_together:
                continue
            quick = replace(self._pose, max_iterations=_iterations(min_together / len(together.keypoints)))
            found = estimate_absolute_pose(quick, together.matches, query)
            if found and all(is_distinct_pose(found, other) for other in taken):
                fitting = pairs.select(inlier_mask(found, self._pose, pairs.matches, query)).nearest()
                if len(fitting.keypoints) >= min_keypoints:
                    yield found, sorted_unique(fitting.points)

    def _is_projected_close(self, scene_from_rig: Pose, matches: Matches, query: Query) -> Array:
        """(M,) whether a pose projects the point of each match close to its keypoint.

        Learned descriptors are alike along an edge, and maps hold structure twice: such points fit no other place.
        """
        errors_px = np.linalg.norm(reprojection_residuals(scene_from_rig, matches, query), axis=1)
        return np.asarray(errors_px < _CLOSE * self._pose.max_error_px)

    def _in_densest_window(self, pairs: _Pairs, keyframe: int, query: Query) -> Array:
        """(N,) which pairs, of points that a keyframe observes, are shifted about alike from its image to the query's.

        Keypoints that resemble points by chance are shifted in all directions; those of another pose from which the
        points are seen are not, unless the camera is rolled otherwise than the keyframe's. A third of the pairs by
        chance lie in one window.
        """
        keyframes, matches = self._index.map.keyframes, pairs.matches
        in_keyframe = (matches.points - keyframes.translations[keyframe]) @ keyframes.rotations[keyframe]
        densest = np.zeros(len(matches), bool)
        for number, view in enumerate(query.views):
            rows = np.flatnonzero(matches.views == number)
            shift_px = matches.xy[rows] - view.camera.project(in_keyframe[rows])
            densest[rows] = _in_densest_window(shift_px / (_CELL_RAD * view.camera.intrinsics[0]))
        return densest

    def refine(self, rough: ScoredPose, observation: Observation) -> ScoredPose:
        """A pose of a few keypoints, estimated again from all that guided matching finds."""
        matches = rough.visibility.matches
        found = estimate_absolute_pose(self._pose, matches, observation.query)
        if found is None:
            return rough
        inliers = matches.point_indices[inlier_mask(found, self._pose, matches, observation.query)]
        return self._scorer.score(found, inliers, observation) if len(inliers) else rough


def _in_densest_window(cells: Array) -> Array:
    """(N,) which of (N, 2) values lie in the window, of some cells, that holds most of them; not those that are NaN."""
    inside = np.flatnonzero((np.abs(cells) < _MAX_CELLS).all(axis=1))
    cell = np.floor(cells[inside]).astype(np.int64) + _MAX_CELLS
    counts = np.zeros((2 * _MAX_CELLS, 2 * _MAX_CELLS), np.int64)
    np.add.at(counts, tuple(cell.T), 1)
    windows = sliding_window_view(counts, (_WINDOW, _WINDOW)).sum(axis=(2, 3))
    away = cell - np.unravel_index(windows.argmax(), windows.shape)
    densest = np.zeros(len(cells), bool)
    densest[inside] = ((away >= 0) & (away < _WINDOW)).all(axis=1)
    return densest


def _iterations(inlier_ratio: float) -> int:
    """Samples of three among which one of inliers alone is likely, bounded."""
    all_inliers = min(inlier_ratio, 0.9) ** 3
    return int(np.clip(np.log(_MISS_PROBABILITY) / np.log1p(-all_inliers), *_ITERATIONS))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """(N,) keypoints with neighbouring map points, and their squared descriptor distances."""

    neighbours: DescriptorNeighbours
    index: MapIndex
    keypoints: Array
    points: Array
    distances: Array

    @staticmethod
    def in_scene(scene: Scene, neighbours: DescriptorNeighbours, index: MapIndex) -> _Pairs:
        points = neighbours.point_indices
        keypoints, rank = np.nonzero((points >= scene.points.start) & (points < scene.points.stop))
        return _Pairs(neighbours, index, keypoints, points[keypoints, rank], neighbours.distances[keypoints, rank])

    def select(self, chosen: Array) -> _Pairs:
        return replace(
            self, keypoints=self.keypoints[chosen], points=self.points[chosen], distances=self.distances[chosen]
        )

    def nearest(self) -> _Pairs:
        """Of each keypoint the nearest point."""
        order = np.argsort(self.distances, kind="stable")
        return self.select(order[np.unique(self.keypoints[order], return_index=True)[1]])

    def covisible(self) -> tuple[int, Array]:
        """The keyframe that observes the points of most of them, and (N,) whether it observes each."""
        keyframe = int(self.index.count_observed(self.points).argmax())
        return keyframe, np.isin(self.points, self.index.map.keyframes.visible(keyframe))

    @property
    def matches(self) -> Matches:
        """The pairs as matches."""
        positions = self.index.map.points[self.points].astype(np.float64)
        return Matches(
            self.neighbours.views[self.keypoints], self.neighbours.xy[self.keypoints], self.points, positions
        )
