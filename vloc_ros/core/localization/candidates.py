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

"""Candidates: the parts of the map that a query is matched against, here from a prior, or the whole map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.matches import DescriptorNeighbours
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.scoring import ScoredPose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior, View

# kinds of candidates, which name the pose solver for them
KEYPOINTS = "keypoints"
ITERATIVE = "iterative"
PRIOR = "prior"
_PRIOR_SIGMAS = 3.0
# a prior that reaches no farther is of one place: poses compete from a metre on
_ONE_PLACE_M = 1.0
# three times the reprojection error of an inlier, so that a chance match in a window is rarely an inlier of the prior
_WINDOW_PX = 24.0
_MIN_DISTANCE_M = 1e-3
_MAX_STRETCH = 4.0
_ANYWHERE_RAD = 0.7
_OUTSIDE_PX = -1e6
# finite: BLAS multiplies infinity by the zeros of its own padding, and NumPy warns of invalid values
_ANYWHERE_PX = 1e6
# keypoints of a sample: enough for a certain pose in an image that shows the map well
_SAMPLE = 400


@dataclass(frozen=True, slots=True, eq=False)
class SearchWindow:
    """Where in one image the points of a candidate are expected.

    Attributes:
        xy: (C, 2) float32 pixels, far outside where a point cannot be visible.
        radius_px: (C,) float32 radius within which the point may appear.
    """

    xy: Array
    radius_px: Array

    def outside(self, keypoints: Array) -> Callable[[slice], Array]:
        """A function that gives, for some of (K, 2) pixels, (len, C) whether each lies outside a point's window."""
        # |k - p|² - r² as one product, in a fifth of the time
        ones, squares = np.ones(len(keypoints), np.float32), np.einsum("ij,ij->i", keypoints, keypoints)
        of_keypoints = np.column_stack([keypoints, squares, ones]).astype(np.float32)
        beyond = np.einsum("ij,ij->i", self.xy, self.xy) - self.radius_px**2
        of_points = np.stack([*(-2.0 * self.xy.T), np.ones_like(beyond), beyond]).astype(np.float32)

        def is_outside(some: slice) -> Array:
            return np.asarray(of_keypoints[some] @ of_points > 0.0)

        return is_outside

    def reaches(self, low: Array, high: Array) -> Array:
        """(C,) whether each point may appear in a rectangle of pixels, from (2,) `low` to `high`."""
        return np.asarray(_squared_distances(self.xy, low, high) <= self.radius_px**2)

    def select(self, rows: Array) -> SearchWindow:
        """Those of some points."""
        return SearchWindow(self.xy[rows], self.radius_px[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A part of the map to match a query against.

    Attributes:
        name: of the generator; the result has that of the accepted candidate.
        point_indices: (C,) int64 ascending map points, or None for the whole map.
        windows: of every view, where the points are expected; empty when they may appear anywhere.
        holds_places: whether several places lie in it, so that other poses compete; those of a certain prior hold one.
        neighbours: the map points nearest to the keypoints in the whole map, where the generator searched for them.
        every: of so many keypoints one is matched; more than 1 is a sample, which may be accepted where that is certain
            and refuses nothing.
        coarse_pose: found while the candidate was re-ranked, or None.
        competitors: coarse poses of other candidates that the image may show instead.
        kind: names the pose solver.
        keyframe: in whose view a learned matcher sees the points, most observed first; None for other solvers.
    """

    name: str
    point_indices: Array | None = None
    windows: tuple[SearchWindow, ...] = ()
    holds_places: bool = True
    neighbours: DescriptorNeighbours | None = None
    coarse_pose: ScoredPose | None = None
    competitors: tuple[ScoredPose, ...] = ()
    every: int = 1
    kind: str = KEYPOINTS
    keyframe: int | None = None

    @property
    def is_sample(self) -> bool:
        """Whether only some of the keypoints are matched."""
        return self.every > 1


WHOLE_MAP = Candidate("whole_map")


class CandidateGenerator(Protocol):
    """Says where in the map a query may have been taken."""

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """Candidates in the order of evidence; none when there is no evidence."""
        ...


class PriorCandidates:
    """The points that may project into the image from where the rig is expected, and where in it."""

    def __init__(self, config: CandidateConfig, landmark_map: LandmarkMap) -> None:
        self._max_std_m, self._max_points = config.prior_max_position_std_m, config.prior_max_points
        self._map = landmark_map
        self._keyframes = np.bincount(landmark_map.keyframes.point_indices, minlength=len(landmark_map.points))

    def generate(self, observation: Observation) -> Iterator[Candidate]:
        """One candidate, when the query has a prior that is certain enough, and keypoints."""
        prior, views = observation.query.prior, observation.query.views
        if prior is None or not views:
            return
        position_std_m = float(np.sqrt(np.diag(prior.covariance)[:3].max()))
        if position_std_m > self._max_std_m:
            return
        scene = self._map.scene(prior.frame_id)
        points = self._map.points[scene.points.start : scene.points.stop]
        in_scene = replace(prior, map_from_rig=scene.scene_from(prior.map_from_rig))
        windows = [_window(view, points, in_scene) for view in views]
        visible = np.flatnonzero(np.any([_may_appear(w, v) for w, v in zip(windows, views, strict=True)], axis=0))
        if len(visible) > self._max_points:
            seldom_first = np.argsort(self._keyframes[visible + scene.points.start], kind="stable")
            visible = np.sort(visible[seldom_first[len(visible) - self._max_points :]])
        if len(visible) and observation.keypoint_count:
            kept, reach_m = tuple(window.select(visible) for window in windows), _PRIOR_SIGMAS * position_std_m
            candidate = Candidate(PRIOR, visible + scene.points.start, kept, holds_places=reach_m > _ONE_PLACE_M)
            yield from with_sample(candidate, observation)


def with_sample(candidate: Candidate, observation: Observation) -> Iterator[Candidate]:
    """A candidate for a sample of the keypoints, then for all; for all at once where they are few, or of a rig.

    Matching takes most of the time after the features. Every third keypoint of an image that shows the map by day
    decides as all of them would; guided matching then refines the pose to all.
    """
    every = observation.keypoint_count // _SAMPLE
    if every > 1 and len(observation.query.views) == 1:
        yield replace(candidate, every=every)
    yield candidate


def _window(view: View, points: Array, prior: PosePrior) -> SearchWindow:
    """Where a view shows points, and how uncertain that is; the prior is relative to their origin."""
    in_camera = (prior.map_from_rig @ view.rig_from_camera).inverse().apply(points)
    distance = np.maximum(np.sqrt(np.einsum("ij,ij->i", in_camera, in_camera)), _MIN_DISTANCE_M)
    position_std, rotation_std = (np.sqrt(np.diag(prior.covariance)[s].max()) for s in (slice(3), slice(3, 6)))
    angle = _PRIOR_SIGMAS * (rotation_std + position_std / distance)
    # a ray's angle moves its pixel by the focal length at the centre, by more towards the border of a narrow lens
    stretch = (distance / np.maximum(in_camera[:, 2], _MIN_DISTANCE_M)) ** 2
    xy = view.camera.project(in_camera)
    radius = _WINDOW_PX + view.camera.intrinsics[0] * angle * np.minimum(stretch, _MAX_STRETCH)
    # a near point behind the expected camera may well be in front of the real one
    behind = ~np.isfinite(xy).all(axis=1)
    near = behind & (angle > _ANYWHERE_RAD)
    xy[behind] = _OUTSIDE_PX
    xy[near], radius[near] = (view.camera.width / 2, view.camera.height / 2), _ANYWHERE_PX
    return SearchWindow(xy.astype(np.float32), radius.astype(np.float32))


def _may_appear(window: SearchWindow, view: View) -> Array:
    """(P,) whether points may appear in the image."""
    return window.reaches(np.zeros(2), np.array([view.camera.width, view.camera.height]))


def _squared_distances(xy: Array, low: Array, high: Array) -> Array:
    """(N,) squared distances of (N, 2) pixels from a rectangle; column by column, in half of the time of rows."""
    x, y = (xy[:, axis] - np.clip(xy[:, axis], low[axis], high[axis]) for axis in range(2))
    return np.asarray(x * x + y * y)
