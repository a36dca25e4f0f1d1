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

"""From 2D-3D matches to a pose: LO-RANSAC and refinement by PoseLib, one camera or a rig; and its covariance.

Poses are relative to the origin of the scene whose points are matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import poselib

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose, skew
from vloc_ros.core.localization.guided_matching import squared_lengths
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.query import Query, View

_MIN_SAMPLE = 4
_STEP_M = 1e-4
# of the final refinement, in largest reprojection errors; most inliers have a fifth of that
_LOSS_SCALE = 0.25
# metres and radians; with PoseLib's 1e-8 the refinement takes twice as long and moves by 0.04 mm at most
_STEP_TOLERANCE = 1e-5
_MIN_RESIDUAL_VARIANCE_PX2 = 0.05
_RAYLEIGH_MEDIAN = 1.1774  # of the length of a vector of two unit Gaussians


@dataclass(frozen=True, slots=True, eq=False)
class PoseEstimate:
    """A pose and the matches that agree with it.

    Attributes:
        scene_from_rig: the refined pose.
        covariance: (6, 6) from the inliers' Jacobian, not calibrated.
        inliers: (M,) bool over the matches.
    """

    scene_from_rig: Pose
    covariance: Array
    inliers: Array


def estimate_pose_with_covariance(config: PoseConfig, matches: Matches, query: Query) -> PoseEstimate | None:
    """The pose that most matches agree with, or None when no pose explains any four of them."""
    scene_from_rig = estimate_absolute_pose(config, matches, query)
    if scene_from_rig is None:
        return None
    residuals = reprojection_residuals(scene_from_rig, matches, query)
    inliers = _inliers(residuals, config)
    if inliers.sum() < _MIN_SAMPLE:
        return None
    covariance = pose_covariance(
        query, scene_from_rig, matches.points[inliers], matches.views[inliers], residuals[inliers]
    )
    return PoseEstimate(scene_from_rig, covariance, inliers)


def estimate_absolute_pose(config: PoseConfig, matches: Matches, query: Query) -> Pose | None:
    """scene_from_rig that most matches agree with, or None.

    Robust estimation: LO-RANSAC (Lebeda et al. 2012) with P3P, or its generalised form for rigs, then non-linear
    refinement under a Cauchy loss; PoseLib's implementation.
    """
    if len(matches) < _MIN_SAMPLE:
        return None
    ransac = {
        "max_reproj_error": config.max_error_px,
        "max_iterations": config.max_iterations,
        "min_iterations": min(100, config.max_iterations),
        "success_prob": config.confidence,
        "seed": config.seed,
    }
    loss = _robust_loss(config)
    if len(query.views) > 1:
        return _rig(matches, query, ransac, loss)
    return _single_camera(matches, query.views[0], ransac, loss)


def refine_absolute_pose(config: PoseConfig, scene_from_rig: Pose, matches: Matches, query: Query) -> Pose:
    """A pose refined to the matches that agree with it; itself where those are too few to determine one."""
    agreeing = matches.select(inlier_mask(scene_from_rig, config, matches, query))
    if len(agreeing) < _MIN_SAMPLE:
        return scene_from_rig
    if len(query.views) > 1:
        return _refine_rig(scene_from_rig, agreeing, query, _robust_loss(config))
    return _refine_single_camera(scene_from_rig, agreeing, query.views[0], _robust_loss(config))


def _robust_loss(config: PoseConfig) -> dict[str, object]:
    return {"loss_type": "CAUCHY", "loss_scale": _LOSS_SCALE * config.max_error_px, "step_tol": _STEP_TOLERANCE}


def largest_position_std(covariance: Array) -> float:
    """Largest standard deviation of the position in any direction, of a (6, 6) covariance.

    It is infinite where the position is not determined.
    """
    return float(np.sqrt(np.linalg.eigvalsh(covariance[:3, :3])[-1])) if np.isfinite(covariance).all() else np.inf


def inlier_mask(scene_from_rig: Pose, config: PoseConfig, matches: Matches, query: Query) -> Array:
    """(M,) whether each match agrees with a pose."""
    return _inliers(reprojection_residuals(scene_from_rig, matches, query), config)


def _inliers(residuals: Array, config: PoseConfig) -> Array:
    return np.asarray(squared_lengths(residuals) < config.max_error_px**2)  # NaN is not


def _single_camera(matches: Matches, view: View, ransac: dict[str, float], loss: dict[str, object]) -> Pose | None:
    camera_from_scene, info = poselib.estimate_absolute_pose(
        matches.xy.astype(np.float64), matches.points, _poselib_camera(view), ransac, loss
    )
    if info["num_inliers"] < _MIN_SAMPLE:
        return None
    scene_from_camera = Pose(camera_from_scene.R, camera_from_scene.t).inverse()
    return scene_from_camera @ view.rig_from_camera.inverse()


def _refine_single_camera(scene_from_rig: Pose, matches: Matches, view: View, loss: dict[str, object]) -> Pose:
    start = _poselib_pose((scene_from_rig @ view.rig_from_camera).inverse())
    camera_from_scene, _ = poselib.refine_absolute_pose(
        matches.xy.astype(np.float64), matches.points, start, _poselib_camera(view), loss
    )
    return Pose(camera_from_scene.R, camera_from_scene.t).inverse() @ view.rig_from_camera.inverse()


def _rig(matches: Matches, query: Query, ransac: dict[str, float], loss: dict[str, object]) -> Pose | None:
    rig_from_scene, info = poselib.estimate_generalized_absolute_pose(*_by_view(matches, query), ransac, loss)
    if info["num_inliers"] < _MIN_SAMPLE:
        return None
    return Pose(rig_from_scene.R, rig_from_scene.t).inverse()


def _refine_rig(scene_from_rig: Pose, matches: Matches, query: Query, loss: dict[str, object]) -> Pose:
    xy, points, extrinsics, cameras = _by_view(matches, query)
    start = _poselib_pose(scene_from_rig.inverse())
    rig_from_scene, _ = poselib.refine_generalized_absolute_pose(xy, points, start, extrinsics, cameras, loss)
    return Pose(rig_from_scene.R, rig_from_scene.t).inverse()


def _by_view(matches: Matches, query: Query) -> tuple[list[Array], list[Array], list[poselib.CameraPose], list[Any]]:
    """Of every view its pixels, map points, extrinsics and camera, as PoseLib takes them."""
    groups = [matches.views == index for index in range(len(query.views))]
    return (
        [matches.xy[group].astype(np.float64) for group in groups],
        [matches.points[group] for group in groups],
        [_poselib_pose(view.rig_from_camera.inverse()) for view in query.views],
        [_poselib_camera(view) for view in query.views],
    )


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


def reprojection_residuals(scene_from_rig: Pose, matches: Matches, query: Query) -> Array:
    """(M, 2) observed minus projected pixels; NaN where a point lies behind its camera."""
    if len(query.views) == 1:
        return _residuals(scene_from_rig, query.views[0], matches.xy, matches.points)
    residuals = np.full((len(matches), 2), np.nan)
    for index, view in enumerate(query.views):
        mine = matches.views == index
        residuals[mine] = _residuals(scene_from_rig, view, matches.xy[mine], matches.points[mine])
    return residuals


def _residuals(scene_from_rig: Pose, view: View, xy: Array, points: Array) -> Array:
    camera_from_scene = (scene_from_rig @ view.rig_from_camera).inverse()
    return np.asarray(xy - view.camera.project(camera_from_scene.apply(points)))


def pose_covariance(query: Query, scene_from_rig: Pose, points: Array, views: Array, residuals_px: Array) -> Array:
    """Covariance that the inliers' Jacobian implies, before calibration.

    Args:
        query: the images' cameras.
        scene_from_rig: the refined pose.
        points: (M, 3) inlier map points, metres.
        views: (M,) index of the view that saw each.
        residuals_px: (M, 2) reprojection residuals.

    Returns:
        (6, 6) covariance of the rig origin's position and of a left rotation about the map's axes, order
        x y z rx ry rz. Infinite on the diagonal where the inliers do not determine the pose.
    """
    information = np.zeros((6, 6))
    for index, view in enumerate(query.views):
        mine = views == index
        if mine.any():
            jacobian = _jacobian(view.camera, view.rig_from_camera, scene_from_rig, points[mine])
            stacked = jacobian.reshape(-1, 6)
            information += stacked.T @ stacked
    # robust, since some inliers are wrong matches that happen to lie near: the mean square would measure the threshold
    spread_px = float(np.median(np.linalg.norm(residuals_px, axis=1))) / _RAYLEIGH_MEDIAN
    variance = max(spread_px**2, _MIN_RESIDUAL_VARIANCE_PX2)
    if not np.isfinite(information).all() or np.linalg.cond(information) > 1.0 / np.finfo(np.float64).eps:
        return np.diag(np.full(6, np.inf))
    return np.asarray(variance * np.linalg.inv(information))


def _jacobian(camera: Camera, rig_from_camera: Pose, scene_from_rig: Pose, points: Array) -> Array:
    """(M, 2, 6) derivative of the pixels by the rig's position and by its left rotation in the map."""
    from_origin = points - scene_from_rig.translation
    camera_from_scene = (scene_from_rig @ rig_from_camera).inverse()
    in_camera = camera_from_scene.apply(points)
    steps = np.concatenate([np.eye(3), -np.eye(3)]) * _STEP_M
    pixels = camera.project((in_camera + steps[:, None]).reshape(-1, 3)).reshape(2, 3, len(points), 2)
    by_point = ((pixels[0] - pixels[1]) / (2 * _STEP_M)).transpose(1, 2, 0) @ camera_from_scene.rotation
    # x' = R(θ)ᵀ (X - t - δt): moving the rig moves the point the other way, turning it turns the point back
    return np.concatenate([-by_point, by_point @ skew(from_origin)], axis=2)
