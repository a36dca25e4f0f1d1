"""The one place that accepts or refuses a pose."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from vloc_ros.core.config import PoseConfig, VerificationConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import calibrate_covariance
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.localization.pose_estimation import PoseEstimate, estimate_pose_with_covariance
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query, View

_COVISIBLE_KEYFRAMES = 5
_GRID = (8, 6)
# a view of a rig with fewer inliers has them by chance: no pose follows from them
_FEWEST = 4
# a view of a rig that has so many times more inliers to a pose of its own speaks against the common one
_DISSENT = 1.25


@dataclass(frozen=True, slots=True)
class Consistency:
    """How well what the image shows agrees with what the map says it should show from a pose.

    Attributes:
        support: inliers over the map points expected in the image.
        coverage: part of the image regions with expected points that hold an inlier.
        explained: part of the image's keypoints that lie in regions with an inlier.
        spread: area of the inliers' convex hull over the area of the image, of the best view of a rig.
    """

    support: float
    coverage: float
    explained: float
    spread: float


@dataclass(frozen=True, slots=True)
class Objection:
    """What speaks against a pose; finally, when no other part of the map could change it."""

    reason: str
    is_final: bool = False


class Verifier:
    """Asks of a pose whether the image shows what the map says it should show from there.

    Inlier counts alone are fooled by a poster that hangs in two rooms: many inliers, all in one corner of the image,
    and nothing of what should surround it. So the map points that the covisible keyframes saw are projected; the
    inliers must be a fair part of them, spread over the image like them, and leave little of the image unexplained.
    """

    def __init__(self, config: VerificationConfig, landmark_map: LandmarkMap, *, pose: PoseConfig) -> None:
        """`pose` is how a view of a rig is asked for a pose of its own."""
        self._config, self._pose = config, pose
        self._map = landmark_map

    @property
    def min_found_again(self) -> float:
        """See `VerificationConfig`."""
        return self._config.min_found_again

    @property
    def min_lead(self) -> float:
        """See `VerificationConfig`."""
        return self._config.min_lead

    def fewest_inliers(self, matches: int) -> float:
        """Fewer inliers of so many matches are refused."""
        return self._config.min_inlier_ratio * matches

    def verify(
        self,
        estimate: PoseEstimate | None,
        matches: Matches,
        features: Sequence[Features],
        query: Query,
        proposal: str,
    ) -> LocalizationResult:
        """`OK` with the calibrated covariance, or the first reason against the pose; the matches are of one scene."""
        if len(matches) < self._config.min_matches:
            reason = f"{len(matches)} matches, at least {self._config.min_matches} are needed"
            return LocalizationResult(Status.TOO_FEW_MATCHES, matches=len(matches), proposal=proposal, reason=reason)
        if estimate is None:
            reason = f"no pose explains the {len(matches)} matches"
            return LocalizationResult(Status.POSE_REJECTED, matches=len(matches), proposal=proposal, reason=reason)
        scene = self._map.scene_of(matches.point_indices)
        covariance = calibrate_covariance(estimate.covariance, scene.calibration)
        objection = next(self._objections(estimate, covariance, matches, features, query), None)
        inliers = estimate.inliers
        return LocalizationResult(
            Status.POSE_REJECTED if objection else Status.OK,
            map_from_rig=None if objection else estimate.map_from_rig,
            covariance=None if objection else covariance,
            frame_id="" if objection else scene.frame_id,
            matches=len(matches),
            inliers=int(inliers.sum()),
            proposal=proposal,
            reason=objection.reason if objection else "",
            is_final=not objection or objection.is_final,
            inlier_xy=matches.xy[inliers],
            inlier_points=matches.point_indices[inliers],
            inlier_views=matches.views[inliers],
        )

    def _objections(
        self,
        estimate: PoseEstimate,
        covariance: Array,
        matches: Matches,
        features: Sequence[Features],
        query: Query,
    ) -> Iterator[Objection]:
        config, count = self._config, int(estimate.inliers.sum())
        if count < config.min_inliers:
            yield Objection(f"{count} inliers, at least {config.min_inliers} are needed")
        if against := self._dissent(estimate, matches, features, query):
            reason = f"the cameras of the rig disagree: {against}; check where they sit, and that they trigger together"
            yield Objection(reason, is_final=True)
        if count < config.min_inlier_ratio * len(matches):
            yield Objection(
                f"{count} inliers of {len(matches)} matches, at least {config.min_inlier_ratio:.0%} are needed"
            )
        std = float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])) if np.isfinite(covariance).all() else np.inf
        if std > config.max_position_std_m:
            yield Objection(
                f"the position is uncertain by {std:.2g} m, at most {config.max_position_std_m:g} m is allowed"
            )
        found = self.consistency(estimate, matches, features, query)
        if found.support < config.min_support:
            yield Objection(
                f"{found.support:.0%} of the expected points are seen, at least {config.min_support:.0%} are needed"
            )
        if found.coverage < config.min_coverage:
            yield Objection(
                f"{found.coverage:.0%} of the expected regions agree, at least {config.min_coverage:.0%} are needed"
            )
        if found.explained < config.min_explained:
            yield Objection(
                f"{found.explained:.0%} of the image is explained, at least {config.min_explained:.0%} is needed"
            )
        if found.spread < config.min_spread:
            yield Objection(
                f"the inliers span {found.spread:.0%} of the image, at least {config.min_spread:.0%} is needed"
            )

    def outvoted(
        self, estimate: PoseEstimate, matches: Matches, features: Sequence[Features], query: Query
    ) -> list[int]:
        """Views of a rig that speak against the common pose, which more of the others agree on; the matches are of one
        scene. What such a view shows by chance still pulls at the pose."""
        if estimate.inliers.sum() < self._config.min_inliers:
            return []
        common, against = self._against(estimate, matches, features, query)
        return list(against) if self._agreeing(common, against) > len(against) else []

    def _dissent(self, estimate: PoseEstimate, matches: Matches, features: Sequence[Features], query: Query) -> str:
        """The view of a rig that speaks against the common pose, in words; empty while most views agree."""
        common, against = self._against(estimate, matches, features, query)
        if not against or self._agreeing(common, against) > len(against):
            return ""
        view = max(against, key=lambda view: against[view])
        return (
            f"{common[view]} matches of view {view + 1} of {len(common)} are inliers, "
            f"{against[view]} to a pose of its own"
        )

    def _against(
        self, estimate: PoseEstimate, matches: Matches, features: Sequence[Features], query: Query
    ) -> tuple[Array, dict[int, int]]:
        """Inliers of each view, and of those that have many more to a pose of their own how many."""
        common = np.bincount(matches.views[estimate.inliers], minlength=len(query.views))
        if len(query.views) == 1:
            return common, {}
        alone = {
            view: self._alone(matches.of_view(view), features[view], query.views[view])
            for view in range(len(common))
            if (matches.views == view).sum() > _DISSENT * common[view]  # without them it has nothing to say against it
        }
        return common, {view: count for view, count in alone.items() if count > _DISSENT * common[view]}

    def _agreeing(self, common: Array, against: Container[int]) -> int:
        return sum(count >= self._config.min_inliers for view, count in enumerate(common) if view not in against)

    def _alone(self, matches: Matches, features: Features, view: View) -> int:
        """Inliers to what one view says by itself; none where it would not be accepted of a single camera."""
        query = Query((view,))
        estimate = estimate_pose_with_covariance(self._pose, matches, query)
        if estimate is None:
            return 0
        covariance = calibrate_covariance(estimate.covariance, self._map.scene_of(matches.point_indices).calibration)
        refused = any(self._objections(estimate, covariance, matches, (features,), query))
        return 0 if refused else int(estimate.inliers.sum())

    def consistency(
        self, estimate: PoseEstimate, matches: Matches, features: Sequence[Features], query: Query
    ) -> Consistency:
        """Compare the inliers with the map points and with the keypoints of the same image regions.

        Of a rig a view that sees nothing of the map, but people or a new shelf, says nothing against a pose that
        another view carries: it is not counted, and the views that are have to convince without it.
        """
        counts = np.bincount(matches.views[estimate.inliers], minlength=len(query.views))
        carried = counts.max() >= self._config.min_inliers
        expected = self._map.points[
            expected_points(self._map, matches.point_indices[estimate.inliers], keyframes=_COVISIBLE_KEYFRAMES)
        ]
        views = []
        for index, (view, found) in enumerate(zip(query.views, features, strict=True)):
            if carried and counts[index] < _FEWEST:
                continue
            camera_from_map = (estimate.map_from_rig @ view.rig_from_camera).inverse()
            pixels = view.camera.project(camera_from_map.apply(expected))
            inliers = matches.xy[estimate.inliers & (matches.views == index)]
            views.append(_agreement(view.camera, pixels[view.camera.contains(pixels)], inliers, found.xy))
        inlying, expecting, agreeing, expected_cells, explained, keypoints = np.sum([v.counts for v in views], axis=0)
        return Consistency(
            support=inlying / max(expecting, 1),
            coverage=agreeing / max(expected_cells, 1),
            explained=explained / max(keypoints, 1),
            spread=max(v.spread for v in views),
        )


def expected_points(landmark_map: LandmarkMap, inlier_points: Array, *, keyframes: int) -> Array:
    """Map points that so many keyframes saw, or fewer: those which share most of the inliers' points, of any."""
    own = landmark_map.scene_of(inlier_points).keyframes
    shared = landmark_map.seen_by(sorted_unique(inlier_points))
    sharing = own.start + np.flatnonzero(shared[own.start : own.stop])
    best = sharing[np.argsort(-shared[sharing], kind="stable")[:keyframes]]
    seen = [landmark_map.keyframes.visible(int(k)) for k in best]
    return sorted_unique(np.concatenate([inlier_points[:0], *seen]))


@dataclass(frozen=True, slots=True)
class _Agreement:
    """Of one view: inliers, expected points, regions of both, regions of expected points, keypoints that lie in
    regions with an inlier, keypoints; and the spread of the inliers."""

    counts: tuple[int, int, int, int, int, int]
    spread: float


def _agreement(camera: Camera, expected: Array, inliers: Array, keypoints: Array) -> _Agreement:
    if not len(keypoints):  # a covered lens cannot show what is expected
        return _Agreement((0, 0, 0, 0, 0, 0), 0.0)
    size = (camera.width, camera.height)
    should, does, shows = (_cells(xy, size) for xy in (expected, inliers, keypoints))
    should_cells = sorted_unique(should)
    agreeing = int(np.isin(should_cells, does).sum())
    if not len(inliers):
        return _Agreement((0, len(expected), 0, len(should_cells), 0, 0), 0.0)
    spread = cv2.contourArea(cv2.convexHull(inliers.astype(np.float32))) / (size[0] * size[1])
    explained = int(np.isin(shows, does).sum())
    return _Agreement(
        (len(inliers), len(expected), agreeing, len(should_cells), explained, len(keypoints)), float(spread)
    )


def _cells(pixels: Array, size: tuple[int, int]) -> Array:
    """(N,) number of the grid cell that each of (N, 2) pixels lies in."""
    columns = np.clip((pixels[:, 0] * _GRID[0] / size[0]).astype(int), 0, _GRID[0] - 1)
    rows = np.clip((pixels[:, 1] * _GRID[1] / size[1]).astype(int), 0, _GRID[1] - 1)
    return np.asarray(rows * _GRID[0] + columns)
