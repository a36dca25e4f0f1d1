"""Where to look in the map: a prior, or the whole of it; places are in `places` and `recognition`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vloc_ros.core.config import CandidateConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import PosePrior, Query, View

_PRIOR_SIGMAS = 3.0
# three times the reprojection error of an inlier: what a window holds by chance is then rarely an inlier of the prior
_PIXELS = 24.0
_NEAREST_M = 1e-3
_MOST_STRETCH = 4.0
_ANYWHERE_RAD = 0.7
_OUTSIDE = -1e6


@dataclass(frozen=True, slots=True, eq=False)
class SearchWindow:
    """Where in one image candidates are expected.

    Attributes:
        xy: (C, 2) float32 pixels, far outside where a candidate cannot be seen.
        radius_px: (C,) float32 how far from there it may lie.
    """

    xy: Array
    radius_px: Array

    def outside(self, keypoints: Array) -> Callable[[slice], Array]:
        """Of some of (K, 2) pixels, (len, C) whether each lies farther from a candidate than that may."""

        def of(some: slice) -> Array:
            off = (keypoints[some, :1] - self.xy[:, 0]) ** 2 + (keypoints[some, 1:] - self.xy[:, 1]) ** 2
            return np.asarray(off > self.radius_px**2)

        return of


@dataclass(frozen=True, slots=True, eq=False)
class DescriptorNeighbours:
    """The points of the map that look most like each keypoint, matched or not.

    Attributes:
        views: (K,) int32 index of the query's view, of all keypoints of all views.
        xy: (K, 2) float32 pixels.
        point_indices: (K, 4) int64 map points, -1 where there are no more.
        distances: (K, 4) float32 squared, in descriptor space; infinite where there are no more.
    """

    views: Array
    xy: Array
    point_indices: Array
    distances: Array


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A part of the map to match against.

    Attributes:
        name: what proposed it; the result names the one that won.
        point_indices: (C,) int64 sorted map points, or None for the whole map.
        windows: of every view of the query, where the points are expected; empty when they may lie anywhere.
        rivals: other parts of the map that the image may show about as well; the best of all answers counts.
        keypoints: so many of each view, the strongest, are enough to find a pose, which then guides all others; None
            for all at once.
        neighbours: what the keypoints look like elsewhere, where that was asked before; None where it was not.
    """

    name: str
    point_indices: Array | None = None
    windows: tuple[SearchWindow, ...] = ()
    rivals: tuple[Candidate, ...] = ()
    keypoints: int | None = None
    neighbours: DescriptorNeighbours | None = None


class CandidateGenerator(Protocol):
    """Turns an image's features into parts of the map, best first."""

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """Proposals in the order of evidence; none when there is nothing to go by."""
        ...


class WholeMapCandidates:
    """The whole map at once: the default while the map is small."""

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """One proposal, always."""
        yield Candidate("whole_map")


class PriorCandidates:
    """The points that project into the image when the rig is where it is believed to be, and where in it they lie."""

    def __init__(self, config: CandidateConfig, landmark_map: LandmarkMap) -> None:
        self._max_std_m, self._max_points = config.prior_max_position_std_m, config.prior_max_points
        self._map = landmark_map

    def propose(self, features: Sequence[Features], query: Query) -> Iterator[Candidate]:
        """One proposal, when the query brings a prior that is certain enough; the features do not matter."""
        prior = query.prior
        if prior is None or np.sqrt(np.diag(prior.covariance)[:3].max()) > self._max_std_m:
            return
        scene = self._map.scene(prior.frame_id).points
        points = self._map.points[scene.start : scene.stop]
        windows = [_window(view, points, prior) for view in query.views]
        seen = np.flatnonzero(np.any([_reaches(w, v) for w, v in zip(windows, query.views, strict=True)], axis=0))
        if 0 < len(seen) <= self._max_points:
            yield Candidate(
                "prior", seen + scene.start, tuple(SearchWindow(w.xy[seen], w.radius_px[seen]) for w in windows)
            )


def _window(view: View, points: Array, prior: PosePrior) -> SearchWindow:
    """Where a view shows the map's points, and how uncertain that is."""
    in_camera = (prior.map_from_rig @ view.rig_from_camera).inverse().apply(points)
    distance = np.maximum(np.linalg.norm(in_camera, axis=1), _NEAREST_M)
    position_std, rotation_std = (np.sqrt(np.diag(prior.covariance)[s].max()) for s in (slice(3), slice(3, 6)))
    angle = _PRIOR_SIGMAS * (rotation_std + position_std / distance)
    # a ray's angle moves its pixel by the focal length at the centre, by more towards the border of a narrow lens
    stretch = (distance / np.maximum(in_camera[:, 2], _NEAREST_M)) ** 2
    xy = view.camera.project(in_camera)
    radius = _PIXELS + view.camera.intrinsics[0] * angle * np.minimum(stretch, _MOST_STRETCH)
    # close by, what is behind the camera may well be before it
    unsure = ~np.isfinite(xy).all(axis=1)
    near = unsure & (angle > _ANYWHERE_RAD)
    xy[unsure] = _OUTSIDE
    xy[near], radius[near] = (view.camera.width / 2, view.camera.height / 2), np.inf
    return SearchWindow(xy.astype(np.float32), radius.astype(np.float32))


def _reaches(window: SearchWindow, view: View) -> Array:
    """(P,) whether points may lie in the image."""
    size = np.array([view.camera.width, view.camera.height])
    outside = np.maximum(np.maximum(-window.xy, window.xy - size), 0.0)
    return np.asarray(np.linalg.norm(outside, axis=1) <= window.radius_px)
