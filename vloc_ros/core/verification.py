"""The one place that accepts or refuses a pose."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from vloc_ros.core.config import VerificationConfig
from vloc_ros.core.covariance import calibrated
from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.matching import Matches
from vloc_ros.core.pose import Array
from vloc_ros.core.query import Query
from vloc_ros.core.registration import PoseEstimate
from vloc_ros.core.result import LocalizationResult, Status

_COVISIBLE_KEYFRAMES = 5
_GRID = (8, 6)


class Verifier:
    """Asks of a pose whether the image shows what the map says it should show from there.

    Inlier counts alone are fooled by a poster that hangs in two rooms: many inliers, all in one corner of the image,
    and nothing of what should surround it. So the map points that the covisible keyframes saw are projected, and the
    inliers must be a fair part of them and spread over the image like them.
    """

    def __init__(self, config: VerificationConfig, landmark_map: LandmarkMap) -> None:
        self._config = config
        self._map = landmark_map

    def verify(
        self, estimate: PoseEstimate | None, matches: Matches, query: Query, proposal: str
    ) -> LocalizationResult:
        """`OK` with the calibrated covariance, or the first reason against the pose."""
        if len(matches) < self._config.min_matches:
            reason = f"{len(matches)} matches, at least {self._config.min_matches} are needed"
            return LocalizationResult(Status.TOO_FEW_MATCHES, matches=len(matches), proposal=proposal, reason=reason)
        if estimate is None:
            reason = f"no pose explains the {len(matches)} matches"
            return LocalizationResult(Status.POSE_REJECTED, matches=len(matches), proposal=proposal, reason=reason)
        covariance = calibrated(estimate.covariance, self._map.calibration)
        reason = next(self._objections(estimate, covariance, matches, query), "")
        inliers = estimate.inliers
        return LocalizationResult(
            Status.POSE_REJECTED if reason else Status.OK,
            map_from_rig=None if reason else estimate.map_from_rig,
            covariance=None if reason else covariance,
            matches=len(matches),
            inliers=int(inliers.sum()),
            proposal=proposal,
            reason=reason,
            inlier_xy=matches.xy[inliers],
            inlier_points=matches.point_indices[inliers],
            inlier_views=matches.views[inliers],
        )

    def _objections(self, estimate: PoseEstimate, covariance: Array, matches: Matches, query: Query) -> Iterator[str]:
        config, count = self._config, int(estimate.inliers.sum())
        if count < config.min_inliers:
            yield f"{count} inliers, at least {config.min_inliers} are needed"
        if count < config.min_inlier_ratio * len(matches):
            yield f"{count} inliers of {len(matches)} matches, at least {config.min_inlier_ratio:.0%} are needed"
        std = float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])) if np.isfinite(covariance).all() else np.inf
        if std > config.max_position_std_m:
            yield f"the position is uncertain by {std:.2g} m, at most {config.max_position_std_m:g} m is allowed"
        support, coverage = self.consistency(estimate, matches, query)
        if support < config.min_support:
            yield f"{support:.0%} of the expected points are seen, at least {config.min_support:.0%} are needed"
        if coverage < config.min_coverage:
            yield f"inliers in {coverage:.0%} of the image regions, at least {config.min_coverage:.0%} are needed"

    def consistency(self, estimate: PoseEstimate, matches: Matches, query: Query) -> tuple[float, float]:
        """(support, coverage): inliers over the points expected, and the part of expected regions with an inlier."""
        inliers = estimate.inliers
        expected = self._expected_points(matches.point_indices[inliers])
        seen_count, expected_count, seen_cells, expected_cells = 0, 0, 0, 0
        for index, view in enumerate(query.views):
            mine = inliers & (matches.views == index)
            camera_from_map = (estimate.map_from_rig @ view.rig_from_camera).inverse()
            pixels = view.camera.project(camera_from_map.apply(self._map.points[expected]))
            pixels = pixels[view.camera.contains(pixels)]
            size = (view.camera.width, view.camera.height)
            should, does = _cells(pixels, size), _cells(matches.xy[mine], size)
            seen_count += int(mine.sum())
            expected_count += len(pixels)
            seen_cells += len(np.intersect1d(should, does))
            expected_cells += len(should)
        return seen_count / max(expected_count, 1), seen_cells / max(expected_cells, 1)

    def _expected_points(self, inlier_points: Array) -> Array:
        """Map points that the keyframes which share most inliers saw."""
        keyframes = self._map.keyframes
        is_inlier = np.zeros(len(self._map.points), np.int64)
        is_inlier[inlier_points] = 1
        running = np.concatenate([[0], np.cumsum(is_inlier[keyframes.point_indices])])
        shared = running[keyframes.point_offsets[1:]] - running[keyframes.point_offsets[:-1]]
        best = np.argsort(-shared, kind="stable")[:_COVISIBLE_KEYFRAMES]
        return np.unique(np.concatenate([keyframes.visible(int(k)) for k in best]))


def _cells(pixels: Array, size: tuple[int, int]) -> Array:
    """Sorted numbers of the grid cells that hold at least one of (N, 2) pixels."""
    columns = np.clip((pixels[:, 0] * _GRID[0] / size[0]).astype(int), 0, _GRID[0] - 1)
    rows = np.clip((pixels[:, 1] * _GRID[1] / size[1]).astype(int), 0, _GRID[1] - 1)
    return np.unique(rows * _GRID[0] + columns)
