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

"""The pose of a camera above flat ground, by matches and by what else is known of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import poselib

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

_ITERATIONS, _STEP = 15, 1e-6
_LEAST_STD_PX, _RAYLEIGH_MEDIAN = 0.5, 1.1774
_DOWN = np.array([0.0, 0.0, -1.0])
# cosine of how far a camera above the ground may look away from straight down
_LOOKS_DOWN = 0.6


@dataclass(frozen=True, slots=True, eq=False)
class PosePriors:
    """What is known of a pose besides matches.

    Attributes:
        down_std_rad: of gravity, which is the z axis of the level camera; None where gravity is unknown.
        altitude_m: z of the camera in the scene, its altitude above the ground and the ground's z; None where unknown.
        altitude_std_m: its standard deviation.
    """

    down_std_rad: float | None
    altitude_m: float | None
    altitude_std_m: float = 0.0


def pose_from_similarity(turn: complex, shift: complex, camera: Camera, ground_z: float) -> Pose:
    """scene_from_level of a camera that looks straight down, by the similarity from its pixels, y up, to the ground."""
    focal, _, cx, cy = camera.intrinsics
    yaw, centre = float(np.angle(turn)), turn * (cx - 1j * cy) + shift
    cosine, sine = np.cos(yaw), np.sin(yaw)
    rotation = np.array([[cosine, sine, 0.0], [sine, -cosine, 0.0], [0.0, 0.0, -1.0]])
    return Pose(rotation, np.array([centre.real, centre.imag, ground_z + abs(turn) * focal]))


def pose_from_points(xy: Array, points: Array, camera: Camera, *, max_error_px: float) -> Pose | None:
    """scene_from_camera of a camera of unknown tilt (P3P and LO-RANSAC, PoseLib); None where it does not look down."""
    described = {"model": camera.model, "width": camera.width, "height": camera.height}
    described["params"] = list(camera.parameters)
    found, info = poselib.estimate_absolute_pose(
        xy.astype(np.float64), points, described, {"max_reproj_error": max_error_px, "seed": 0}, {}
    )
    if info["num_inliers"] < 4:
        return None
    pose = Pose(found.R, found.t).inverse()
    looks_down = float(pose.rotation[:, 2] @ _DOWN)
    return pose if looks_down > _LOOKS_DOWN and pose.translation[2] > points[:, 2].max() else None


def refine_above_ground(
    start: Pose, xy: Array, points: Array, camera: Camera, priors: PosePriors
) -> tuple[Pose, Array] | None:
    """The pose refined by Gauss-Newton under Huber's loss, and its (6, 6) covariance; None where it is not determined.

    Args:
        start: scene_from_camera.
        xy: (M, 2) pixels.
        points: (M, 3) metres in the scene.
        camera: of the level view.
        priors: count as measurements.
    """
    pose = start
    for _ in range(_ITERATIONS):
        residuals = _residuals(pose, xy, points, camera)
        if not np.isfinite(residuals).all():
            return None
        lengths = np.linalg.norm(residuals, axis=1)
        std = max(float(np.median(lengths)) / _RAYLEIGH_MEDIAN, _LEAST_STD_PX)
        weights = np.minimum(1.0, 2.0 * std / np.maximum(lengths, 1e-9)) / std**2
        information, gradient = _normal_equations(pose, residuals, weights, xy, points, camera, priors)
        if not np.isfinite(information).all() or np.linalg.cond(information) > 1e13:
            return None
        step = np.linalg.solve(information, gradient)
        pose = _move(pose, step)
        if float(np.abs(step).max()) < 1e-7:
            break
    return pose, np.linalg.inv(information)


def _normal_equations(
    pose: Pose, residuals: Array, weights: Array, xy: Array, points: Array, camera: Camera, priors: PosePriors
) -> tuple[Array, Array]:
    """(6, 6) information and (6,) gradient, by differences."""
    steps = _STEP * np.eye(6)
    jacobian = np.stack(
        [(residuals - _residuals(_move(pose, step), xy, points, camera)) / _STEP for step in steps], axis=-1
    )
    information = np.einsum("mki,m,mkj->ij", jacobian, weights, jacobian)
    gradient = np.einsum("mki,m,mk->i", jacobian, weights, residuals)
    known = _prior_residuals(pose, priors)
    of_priors = np.stack([(known - _prior_residuals(_move(pose, step), priors)) / _STEP for step in steps], axis=-1)
    return information + of_priors.T @ of_priors, gradient + of_priors.T @ known


def _residuals(pose: Pose, xy: Array, points: Array, camera: Camera) -> Array:
    return np.asarray(xy - camera.project(pose.inverse().apply(points)))


def _prior_residuals(pose: Pose, priors: PosePriors) -> Array:
    """In standard deviations."""
    found = []
    if priors.down_std_rad is not None:
        found += list(pose.rotation[:2, 2] / priors.down_std_rad)
    if priors.altitude_m is not None:
        found.append((pose.translation[2] - priors.altitude_m) / priors.altitude_std_m)
    return -np.array(found)


def _move(pose: Pose, step: Array) -> Pose:
    """A shift, and a left rotation about the scene's axes."""
    turn = Pose.from_rotation_vector(step[3:], np.zeros(3))
    return Pose(turn.rotation @ pose.rotation, pose.translation + step[:3])
