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

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import begins_run, sorted_unique
from vloc_ros.core.localization.candidates import WHOLE_MAP
from vloc_ros.core.localization.guided_matching import squared_lengths
from vloc_ros.core.localization.matches import DescriptorNeighbours, Matches
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import estimate_absolute_pose, inlier_mask, reprojection_residuals
from vloc_ros.core.localization.scoring import KEYFRAMES, PoseScorer, ScoredPose
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
            neighbours: map points nearest to keypoints of the query, those at an infinite distance outside of their
                windows; None searches the whole map for those of all.
            observation: of the query.
        """
        query, neighbours = observation.query, neighbours or self._matcher.neighbours(observation, WHOLE_MAP)
        taken = [(scene, scene_from_rig), *((other.scene, other.scene_from_rig) for other in known)]
        own = _Pairs.in_scene(scene, neighbours, self._index)
        errors_px = _errors_px(scene_from_rig, own, query)
        explained = errors_px < self._pose.max_error_px
        if not explained.any():
            return
        max_distance = float(np.percentile(own.distances[explained], _DISTANCE_PERCENTILE))
        near = own.distances <= max_distance
        min_keypoints = _MIN_SHARE * len(sorted_unique(own.keypoints[explained & near]))
        for other_scene in self._index.map.scenes:
            if other_scene is scene:
                pairs = own.select(near & ~(errors_px < self._close_px))
            else:
                pairs = _Pairs.in_scene(other_scene, neighbours, self._index)
                pairs = pairs.select(pairs.distances <= max_distance)
            poses = [pose for of_scene, pose in taken if of_scene is other_scene]
            for pose, points in self._poses_in_scene(pairs, poses, query, min_keypoints):
                yield self.refine(self._scorer.score(pose, points, observation), observation)

    def _poses_in_scene(
        self, pairs: _Pairs, taken: Sequence[Pose], query: Query, min_keypoints: float
    ) -> Iterator[tuple[Pose, Array]]:
        """Poses of one scene that so many keypoints fit, beside those that are taken, and the points that fit."""
        for other in taken:
            pairs = pairs.select(~(_errors_px(other, pairs, query) < self._close_px))
        min_together = _SHARE_OF_ONE_KEYFRAME * min_keypoints
        for keyframe, covisible in self._covisible(pairs, min_together):
            if covisible.count_keypoints() < min_together:
                continue
            together = covisible.select(self._in_densest_window(covisible.matches, keyframe, query)).nearest()
            if len(together) < min_together:
                continue
            quick = replace(self._pose, max_iterations=_iterations(min_together / len(together)))
            found = estimate_absolute_pose(quick, together.matches, query)
            if found and all(is_distinct_pose(found, other) for other in taken):
                fitting = pairs.select(inlier_mask(found, self._pose, pairs.matches, query)).nearest()
                if len(fitting) >= min_keypoints:
                    yield found, sorted_unique(fitting.points)

    def _covisible(self, pairs: _Pairs, least: float) -> Iterator[tuple[int, _Pairs]]:
        """Keyframes that observe the points of most pairs, and these; each pair is of the first that observes it."""
        rest, keyframes = np.arange(len(pairs)), self._index.map.keyframes
        observed = self._index.count_observed(pairs.points)
        for _ in range(_MAX_KEYFRAMES_TRIED):
            keyframe = int(observed.argmax())
            if observed[keyframe] < least:
                return
            visible = np.zeros(len(self._index.map.points), bool)
            visible[keyframes.visible(keyframe)] = True
            covisible = visible[pairs.points[rest]]
            mine, rest = rest[covisible], rest[~covisible]
            observed = observed - self._index.count_observed(pairs.points[mine])
            yield keyframe, pairs.select(mine)

    @property
    def _close_px(self) -> float:
        """Reprojection error within which a pose projects the point of a pair close to its keypoint.

        Learned descriptors are alike along an edge, and maps hold structure twice: such points fit no other place.
        """
        return _CLOSE * self._pose.max_error_px

    def _in_densest_window(self, matches: Matches, keyframe: int, query: Query) -> Array:
        """(N,) which matches, of points that a keyframe observes, are shifted alike from its image to the query's.

        Keypoints that resemble points by chance are shifted in all directions; those of another pose from which the
        points are seen are not, unless the camera is rolled otherwise than the keyframe's. A third of the matches by
        chance lie in one window.
        """
        keyframes = self._index.map.keyframes
        in_keyframe = (matches.points - keyframes.translations[keyframe]) @ keyframes.rotations[keyframe]
        densest = np.zeros(len(matches), bool)
        for number, view in enumerate(query.views):
            rows = np.flatnonzero(matches.views == number)
            shift_px = matches.xy[rows] - view.camera.project(in_keyframe[rows])
            densest[rows] = _in_densest_window(shift_px / (_CELL_RAD * view.camera.intrinsics[0]))
        return densest

    def points_around(self, pose: ScoredPose) -> Array:
        """(N,) ascending map points that a pose may show."""
        return self._index.covisible_points(pose.inlier_points, keyframes=KEYFRAMES)

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
    cell, side = np.floor(cells[inside]).astype(np.int64) + _MAX_CELLS, 2 * _MAX_CELLS
    counts = np.bincount(cell[:, 0] * side + cell[:, 1], minlength=side * side).reshape(side, side)
    cumulative = np.zeros((side + 1, side + 1), np.int64)
    cumulative[1:, 1:] = counts.cumsum(axis=0).cumsum(axis=1)
    columns = cumulative[:, _WINDOW:] - cumulative[:, :-_WINDOW]
    windows = columns[_WINDOW:] - columns[:-_WINDOW]
    away = cell - np.divmod(int(windows.argmax()), windows.shape[1])
    densest = np.zeros(len(cells), bool)
    densest[inside] = ((away >= 0) & (away < _WINDOW)).all(axis=1)
    return densest


def _iterations(inlier_ratio: float) -> int:
    """Samples of three among which one of inliers alone is likely, bounded."""
    all_inliers = min(inlier_ratio, 0.9) ** 3
    return int(np.clip(np.log(_MISS_PROBABILITY) / np.log1p(-all_inliers), *_ITERATIONS))


def _errors_px(scene_from_rig: Pose, pairs: _Pairs, query: Query) -> Array:
    """(N,) reprojection errors; NaN behind the camera."""
    residuals = reprojection_residuals(scene_from_rig, pairs.matches, query)
    return np.asarray(np.sqrt(squared_lengths(residuals)))


@dataclass(frozen=True, slots=True, eq=False)
class _Pairs:
    """(N,) keypoints with neighbouring map points, as matches, and their squared descriptor distances.

    They ascend by keypoint, and those of one keypoint by distance.
    """

    keypoints: Array
    distances: Array
    matches: Matches

    @staticmethod
    def in_scene(scene: Scene, neighbours: DescriptorNeighbours, index: MapIndex) -> _Pairs:
        indices, is_found = neighbours.point_indices, np.isfinite(neighbours.distances)
        keypoints, rank = np.nonzero((indices >= scene.points.start) & (indices < scene.points.stop) & is_found)
        points = indices[keypoints, rank]
        positions = index.map.points[points].astype(np.float64)
        matches = Matches(neighbours.views[keypoints], neighbours.xy[keypoints], points, positions)
        return _Pairs(keypoints, neighbours.distances[keypoints, rank], matches)

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def points(self) -> Array:
        """(N,) map points."""
        return self.matches.point_indices

    def select(self, chosen: Array) -> _Pairs:
        rows = np.flatnonzero(chosen) if chosen.dtype == bool else chosen
        return _Pairs(self.keypoints[rows], self.distances[rows], self.matches.select(rows))

    def nearest(self) -> _Pairs:
        """Of each keypoint the nearest point, which comes first."""
        return self.select(np.flatnonzero(begins_run(self.keypoints)))

    def count_keypoints(self) -> int:
        """How many different keypoints there are."""
        return int(begins_run(self.keypoints).sum())
