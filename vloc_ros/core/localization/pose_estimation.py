"""From 2D-3D matches to a pose: LO-RANSAC and refinement by PoseLib, one camera or a rig."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import poselib

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.covariance import pose_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.query import Query, View

_MIN_SAMPLE = 4


@dataclass(frozen=True, slots=True, eq=False)
class PoseEstimate:
    """A pose and the matches that agree with it.

    Attributes:
        map_from_rig: the refined pose.
        covariance: (6, 6) from the inliers' Jacobian, not calibrated.
        inliers: (M,) bool over the matches.
    """

    map_from_rig: Pose
    covariance: Array
    inliers: Array


def estimate_pose_with_covariance(config: PoseConfig, matches: Matches, query: Query) -> PoseEstimate | None:
    """The pose that most matches agree with, or None when no pose explains any four of them.

    Robust estimation: LO-RANSAC (Lebeda et al. 2012) with P3P, or its generalised form for rigs, then non-linear
    refinement under a Cauchy loss; PoseLib's implementation.
    """
    map_from_rig = estimate_absolute_pose(config, matches, query)
    return None if map_from_rig is None else _estimate_at(map_from_rig, config, matches, query)


def estimate_absolute_pose(config: PoseConfig, matches: Matches, query: Query) -> Pose | None:
    """`estimate_pose` without what is uncertain about it: map_from_rig."""
    if len(matches) < _MIN_SAMPLE:
        return None
    ransac = {
        "max_reproj_error": config.max_error_px,
        "max_iterations": config.max_iterations,
        "min_iterations": min(100, config.max_iterations),
        "success_prob": config.confidence,
        "seed": config.seed,
    }
    is_rig = len(query.views) > 1
    return _rig(matches, query, ransac) if is_rig else _single_camera(matches, query.views[0], ransac)


def inlier_mask(map_from_rig: Pose, config: PoseConfig, matches: Matches, query: Query) -> Array:
    """(M,) whether each match agrees with a pose."""
    return _inliers(reprojection_residuals(map_from_rig, matches, query), config)


def _estimate_at(map_from_rig: Pose, config: PoseConfig, matches: Matches, query: Query) -> PoseEstimate | None:
    """The matches that agree with a pose, and what they leave uncertain."""
    residuals = reprojection_residuals(map_from_rig, matches, query)
    inliers = _inliers(residuals, config)
    if inliers.sum() < _MIN_SAMPLE:
        return None
    covariance = pose_covariance(
        query, map_from_rig, matches.points[inliers], matches.views[inliers], residuals[inliers]
    )
    return PoseEstimate(map_from_rig, covariance, inliers)


def _inliers(residuals: Array, config: PoseConfig) -> Array:
    errors = np.linalg.norm(residuals, axis=1)
    agree = np.zeros(len(errors), bool)
    np.less(errors, config.max_error_px, where=np.isfinite(errors), out=agree)
    return agree


def _single_camera(matches: Matches, view: View, ransac: dict[str, float]) -> Pose | None:
    camera_from_map, info = poselib.estimate_absolute_pose(
        matches.xy.astype(np.float64), matches.points, _poselib_camera(view), ransac, {}
    )
    if info["num_inliers"] < _MIN_SAMPLE:
        return None
    map_from_camera = Pose(camera_from_map.R, camera_from_map.t).inverse()
    return map_from_camera @ view.rig_from_camera.inverse()


def _rig(matches: Matches, query: Query, ransac: dict[str, float]) -> Pose | None:
    groups = [matches.views == index for index in range(len(query.views))]
    rig_from_map, info = poselib.estimate_generalized_absolute_pose(
        [matches.xy[group].astype(np.float64) for group in groups],
        [matches.points[group] for group in groups],
        [_poselib_pose(view.rig_from_camera.inverse()) for view in query.views],
        [_poselib_camera(view) for view in query.views],
        ransac,
        {},
    )
    if info["num_inliers"] < _MIN_SAMPLE:
        return None
    return Pose(rig_from_map.R, rig_from_map.t).inverse()


def _poselib_camera(view: View) -> dict[str, object]:
    camera = view.camera
    return {
        "model": camera.model,
        "width": camera.width,
        "height": camera.height,
        "params": list(camera.parameters),
    }


def _poselib_pose(pose: Pose) -> poselib.CameraPose:
    result = poselib.CameraPose()
    result.q = np.roll(pose.quaternion, 1)
    result.t = pose.translation
    return result


def reprojection_residuals(map_from_rig: Pose, matches: Matches, query: Query) -> Array:
    """(M, 2) observed minus projected pixels; NaN where a point lies behind its camera."""
    residuals = np.full((len(matches), 2), np.nan)
    for index, view in enumerate(query.views):
        mine = matches.views == index
        camera_from_map = (map_from_rig @ view.rig_from_camera).inverse()
        residuals[mine] = matches.xy[mine] - view.camera.project(camera_from_map.apply(matches.points[mine]))
    return residuals
