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

"""Pose by a learned matcher: matching and pose estimation take turns, on the points of a keyframe as a virtual view.

The points of a candidate are projected into its keyframe, whose pose is known, so that a network which matches two
images matches an image with a map. IMP (Xue et al. 2023) looks for a pose after each stage; here the pose also moves
the points to where it projects them, so that the next stage sees them from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.features.iterative_matching import IterativeMatcher, MatchingRun, SetMatches
from vloc_ros.core.features.matching_network import (
    MatchableSet,
    check_extractor,
    describe_features,
    normalise_positions,
)
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import (
    estimate_absolute_pose,
    estimate_pose_with_covariance,
    inlier_mask,
)
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import View

# matches and inliers from which on a pose moves the points
_LEAST_INLIERS = 12
# a pose that changes by less does not change the matches: angle, position absolutely and by the points' distance
_STILL_RAD, _STILL_M, _STILL_SHARE = np.radians(1.5), 0.02, 0.01
_SAME_INLIERS = 0.9
# whose points the second round matches
_KEYFRAMES = 8


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A pose between two stages, with the points of its inliers, ascending."""

    scene_from_rig: Pose
    inlier_points: Array
    distance_m: float

    def is_like(self, other: _Found | None) -> bool:
        """Whether the previous pose was about the same, for about the same reasons."""
        if other is None:
            return False
        moved_m, turned_rad = self.scene_from_rig.distance_to(other.scene_from_rig)
        common = len(np.intersect1d(self.inlier_points, other.inlier_points))
        union = len(np.union1d(self.inlier_points, other.inlier_points))
        still = turned_rad <= _STILL_RAD and moved_m <= max(_STILL_M, _STILL_SHARE * self.distance_m)
        return still and common >= _SAME_INLIERS * union


@dataclass(frozen=True, slots=True, eq=False)
class _VirtualView:
    """Map points as a network takes them.

    Attributes:
        points: (N,) int64 map points, most observed first.
        keypoints: where a view shows them, and their descriptors.
    """

    points: Array
    keypoints: MatchableSet


class IterativePoseSolver:
    """Matches a query with the points of a keyframe, stage by stage, until the pose stands still.

    Then it does so again with the points that covisible keyframes observe, seen from that pose: from a keyframe a metre
    away the first round finds half as many.

    The pose guides the matches that it is estimated from, so they are no evidence for it: a hypothesis has the matches
    of nearest neighbours, of which those count that agree with the pose, see `HypothesisVerifier.refine`.
    """

    def __init__(
        self, map_index: MapIndex, *, matcher: IterativeMatcher, nearest: NearestNeighbourMatcher, pose: PoseConfig
    ) -> None:
        """A solver for candidates with a keyframe.

        Raises:
            ModelError: the map's keypoints are of another extractor than the matcher was trained on.
        """
        check_extractor(matcher.network, map_index.map.extractor)
        self._index, self._map, self._pose = map_index, map_index.map, pose
        self._matcher, self._nearest = matcher, nearest

    def solve(self, observation: Observation, candidate: Candidate) -> list[Hypothesis]:
        """One hypothesis, in the scene of the candidate's keyframe."""
        guided, points = self._solve_guided(observation, candidate)
        if guided.estimate is None:
            return [guided]
        with observation.clock.stage("matching"):
            unguided = self._nearest.match(observation, Candidate(candidate.name, points))
        inliers = inlier_mask(guided.estimate.scene_from_rig, self._pose, unguided, observation.query)
        matches = replace(unguided, neighbours=candidate.neighbours)
        return [Hypothesis(candidate, matches, replace(guided.estimate, inliers=inliers))]

    def _solve_guided(self, observation: Observation, candidate: Candidate) -> tuple[Hypothesis, Array]:
        """The better of two rounds with the matcher's own matches, and (N,) ascending points that it looked at."""
        assert candidate.keyframe is not None
        assert candidate.point_indices is not None
        keyframes, views = self._map.keyframes, observation.query.views
        # the query's camera where the map does not know the keyframe's
        camera = keyframes.cameras[candidate.keyframe] if keyframes.cameras else views[0].camera
        target = self._see_points(candidate.point_indices, keyframes.pose(candidate.keyframe), camera)
        first = self._solve_round([target] * len(views), observation, candidate)
        found = (
            None
            if first.estimate is None
            else _found_from(first.estimate.scene_from_rig, first.matches, first.estimate.inliers)
        )
        if found is None:
            return first, np.sort(candidate.point_indices)
        points = self._index.covisible_points(found.inlier_points, keyframes=_KEYFRAMES)
        second = self._solve_round(self._see_from(found, points, views), observation, candidate)
        return max(second, first, key=_count_inliers), np.union1d(points, candidate.point_indices)

    def _solve_round(
        self, targets: Sequence[_VirtualView], observation: Observation, candidate: Candidate
    ) -> Hypothesis:
        """Match every view with points until the matches are final, or the pose stands still."""
        clock, views = observation.clock, observation.query.views
        with clock.stage("matching"):
            runs = [
                self._matcher.start(describe_features(found, view.camera.width, view.camera.height), target.keypoints)
                for found, view, target in zip(observation.features, views, targets, strict=True)
            ]
        latest: list[SetMatches | None] = [None] * len(runs)
        last: _Found | None = None
        while True:
            with clock.stage("matching"):
                latest = [
                    of_view if of_view is not None and of_view.is_final else run.advance()
                    for run, of_view in zip(runs, latest, strict=True)
                ]
            by_view = [of_view for of_view in latest if of_view is not None]
            matches = self._join(by_view, targets, observation, candidate)
            if all(of_view.is_final for of_view in by_view):
                break
            with clock.stage("pose"):
                found = self._find_pose(matches, observation)
            if found is not None and found.is_like(last):
                break
            if found is not None:
                with clock.stage("matching"):
                    self._move_points(runs, by_view, targets, found.scene_from_rig, views)
            last = found
        with clock.stage("pose"):
            return Hypothesis(candidate, matches, estimate_pose_with_covariance(self._pose, matches, observation.query))

    def _see_points(self, points: Array, scene_from_camera: Pose, camera: Camera) -> _VirtualView:
        """The points that a camera would show from a pose, as many as the matcher takes."""
        pixels = camera.project(scene_from_camera.inverse().apply(self._map.points[points]))
        shown = np.flatnonzero(camera.contains(pixels))[: self._matcher.max_keypoints]
        points = points[shown]
        positions = normalise_positions(pixels[shown], camera.width, camera.height)
        return _VirtualView(points, MatchableSet(positions, restore_descriptors(self._map, points)))

    def _see_from(self, found: _Found, points: Array, views: Sequence[View]) -> list[_VirtualView]:
        """What each view shows of (N,) points from a pose."""
        points = order_by_observers(self._index, points)
        return [self._see_points(points, found.scene_from_rig @ view.rig_from_camera, view.camera) for view in views]

    def _join(
        self,
        by_view: Sequence[SetMatches],
        targets: Sequence[_VirtualView],
        observation: Observation,
        candidate: Candidate,
    ) -> Matches:
        """The matches of all views."""
        xy = [found.xy[of_view.first] for found, of_view in zip(observation.features, by_view, strict=True)]
        chosen = [target.points[of_view.second] for target, of_view in zip(targets, by_view, strict=True)]
        points = np.concatenate(chosen).astype(np.int64)
        views = np.repeat(np.arange(len(xy), dtype=np.int32), [len(pixels) for pixels in xy])
        positions = self._map.points[points].astype(np.float64)
        return Matches(views, np.concatenate(xy), points, positions, candidate.neighbours)

    def _find_pose(self, matches: Matches, observation: Observation) -> _Found | None:
        if len(matches) < _LEAST_INLIERS:
            return None
        pose = estimate_absolute_pose(self._pose, matches, observation.query)
        if pose is None:
            return None
        return _found_from(pose, matches, inlier_mask(pose, self._pose, matches, observation.query))

    def _move_points(
        self,
        runs: Sequence[MatchingRun],
        by_view: Sequence[SetMatches],
        targets: Sequence[_VirtualView],
        pose: Pose,
        views: Sequence[View],
    ) -> None:
        """Move the points to where each view shows them from a pose, but for views whose matches are final."""
        for run, of_view, target, view in zip(runs, by_view, targets, views, strict=True):
            if of_view.is_final:
                continue
            positions = self._map.points[target.points].astype(np.float64)
            pixels = view.camera.project((pose @ view.rig_from_camera).inverse().apply(positions))
            visible = view.camera.contains(pixels)
            run.move_second(normalise_positions(pixels, view.camera.width, view.camera.height), visible)


def _found_from(pose: Pose, matches: Matches, inliers: Array) -> _Found | None:
    """A pose by its (M,) bool inliers; None where they are too few to move points by."""
    if inliers.sum() < _LEAST_INLIERS:
        return None
    distances_m = np.linalg.norm(matches.points[inliers] - pose.translation, axis=1)
    return _Found(pose, np.unique(matches.point_indices[inliers]), float(np.median(distances_m)))


def _count_inliers(hypothesis: Hypothesis) -> int:
    return 0 if hypothesis.estimate is None else int(hypothesis.estimate.inliers.sum())


def order_by_observers(map_index: MapIndex, points: Array) -> Array:
    """(N,) int64 points of most keyframes first: a matcher takes so many of them."""
    order = np.argsort(-map_index.observation_counts(points), kind="stable")
    return np.asarray(points[order], np.int64)


def restore_descriptors(landmark_map: LandmarkMap, points: Array) -> Array:
    """(N, D) float32 descriptors of unit length, as the extractor makes them, nearest to the map's compact ones."""
    restored = landmark_map.codec.restore(landmark_map.descriptors_of(points))
    return np.asarray(restored / np.maximum(np.linalg.norm(restored, axis=1, keepdims=True), 1e-6), np.float32)
