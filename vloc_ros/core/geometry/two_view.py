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

"""Relative pose of two calibrated views from matched pixels, and whether their motion determines one.

The essential matrix by PoseLib's LO-RANSAC (Larsson 2020), five points (Nistér 2004), in the cameras' own models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

import numpy as np
import poselib

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose

_MIN_MATCHES = 8
_MIN_INLIERS = 12
# of the matches that a relative pose explains, what a rotation alone explains too where there is no parallax
_WITHOUT_PARALLAX = 0.9
# a turn by less than this many largest errors at the image's centre is none
_NO_TURN = 1.0
_ROTATION_SAMPLES, _ROTATION_ROUNDS = 200, 5


@dataclass(frozen=True, slots=True)
class _Model:
    """What matches are explained by.

    Attributes:
        sample: as many matches determine it.
        solutions: as many models a sample determines, at most.
        of_lines: whether it predicts a line for a pixel, not a pixel.
    """

    sample: int
    solutions: int
    of_lines: bool


_ESSENTIAL, _ROTATION = _Model(5, 10, of_lines=True), _Model(2, 1, of_lines=False)


class TwoViewStatus(str, Enum):
    """What is known of the motion between two views."""

    OK = "ok"
    NOT_CALIBRATED = "not_calibrated"
    TOO_FEW_MATCHES = "too_few_matches"
    NO_POSE = "no_pose"
    NO_MOTION = "no_motion"
    PURE_ROTATION = "pure_rotation"


@dataclass(frozen=True, slots=True, eq=False)
class TwoViewGeometry:
    """The motion between two views.

    Attributes:
        status: `OK`, or why there is no relative pose.
        second_from_first: with a translation of length 1, only when `OK`.
        rotation: (3, 3) of second_from_first alone, where that is known: also for a pure rotation.
        inliers: (M,) bool of the matches that agree with it; all False where nothing is known.
        reason: one readable sentence, empty when `OK`.
    """

    status: TwoViewStatus
    second_from_first: Pose | None = None
    rotation: Array | None = None
    inliers: Array = field(default_factory=lambda: np.zeros(0, bool))
    reason: str = ""

    def __post_init__(self) -> None:
        assert (self.second_from_first is not None) == (self.status is TwoViewStatus.OK)


def estimate_relative_pose(
    first: Array,
    second: Array,
    cameras: tuple[Camera, Camera] | None,
    *,
    max_error_px: float = 1.0,
    max_iterations: int = 10_000,
    seed: int = 0,
) -> TwoViewGeometry:
    """The relative pose that most matches agree with, or a typed refusal.

    Args:
        first: (M, 2) pixels of the first view.
        second: (M, 2) those of the second view that they match.
        cameras: of both views; None where they are not calibrated.
        max_error_px: epipolar error of an inlier, at most.
        max_iterations: of RANSAC.
        seed: of the sampling.

    Raises:
        InputError: the arrays do not fit each other, or a pixel is not finite.
    """
    _check_pixels(first, second)
    none = np.zeros(len(first), bool)
    if cameras is None:
        reason = "the cameras are not calibrated: matches alone; give their calibration"
        return TwoViewGeometry(TwoViewStatus.NOT_CALIBRATED, inliers=none, reason=reason)
    if len(first) < _MIN_MATCHES:
        reason = f"{len(first)} matches, at least {_MIN_MATCHES} are needed"
        return TwoViewGeometry(TwoViewStatus.TOO_FEW_MATCHES, inliers=none, reason=reason)
    ransac = {"max_epipolar_error": max_error_px, "max_iterations": max_iterations, "seed": seed}
    found, info = poselib.estimate_relative_pose(
        first.astype(np.float64), second.astype(np.float64), *map(_poselib_camera, cameras), ransac, {}
    )
    inliers = np.asarray(info["inliers"], bool)
    rotation, turned = fit_rotation(first, second, cameras, max_error_px=max_error_px, seed=seed)
    is_turn = turned.sum() >= max(_MIN_INLIERS, _WITHOUT_PARALLAX * inliers.sum())
    explained, model = (turned, _ROTATION) if is_turn else (inliers, _ESSENTIAL)
    if reason := _explain_doubt(first, second, explained, cameras, max_error_px, model):
        return TwoViewGeometry(TwoViewStatus.NO_POSE, inliers=none, reason=reason)
    if is_turn:
        return _without_parallax(rotation, turned, cameras, max_error_px)
    if not np.isfinite(found.t).all() or not np.linalg.norm(found.t):
        reason = f"no relative pose explains more than {inliers.sum()} of {len(first)} matches"
        return TwoViewGeometry(TwoViewStatus.NO_POSE, inliers=none, reason=reason)
    pose = Pose(found.R, found.t / np.linalg.norm(found.t))
    return TwoViewGeometry(TwoViewStatus.OK, pose, pose.rotation, inliers)


def fit_rotation(
    first: Array, second: Array, cameras: tuple[Camera, Camera], *, max_error_px: float, seed: int = 0
) -> tuple[Array, Array]:
    """The rotation that most matches agree with as if the camera had only turned.

    Two matches determine one (Kabsch 1976); the one of many samples with most inliers is fitted to these.

    Returns:
        (3, 3) rotation of second_from_first, and (M,) bool inliers: the second pixel lies within the error of the ray.
    """
    rays, others = (_unit_rays(camera, pixels) for camera, pixels in zip(cameras, (first, second), strict=True))
    usable = np.flatnonzero(np.isfinite(rays).all(axis=1) & np.isfinite(others).all(axis=1))
    best, rotation = np.zeros(len(first), bool), np.eye(3)
    if len(usable) < 2:
        return rotation, best
    focal = min(cameras[1].intrinsics[:2])
    most = 2 * np.sin(max_error_px / focal / 2)

    def agree(candidate: Array) -> Array:
        inliers = np.zeros(len(first), bool)
        inliers[usable] = np.linalg.norm(rays[usable] @ candidate.T - others[usable], axis=1) <= most
        return inliers

    rng = np.random.default_rng(seed)
    for _ in range(_ROTATION_SAMPLES):
        pair = rng.choice(usable, 2, replace=False)
        candidate = _kabsch(rays[pair], others[pair])
        inliers = agree(candidate)
        if inliers.sum() > best.sum():
            best, rotation = inliers, candidate
    for _ in range(_ROTATION_ROUNDS):
        if best.sum() < 2:
            break
        candidate = _kabsch(rays[best], others[best])
        inliers = agree(candidate)
        if inliers.sum() < best.sum():
            break
        best, rotation = inliers, candidate
    return rotation, best


def _explain_doubt(
    first: Array, second: Array, inliers: Array, cameras: tuple[Camera, Camera], max_error_px: float, model: _Model
) -> str:
    """Why inliers are no evidence for a model; empty where they are."""
    count, matches = int(inliers.sum()), len(inliers)
    if count < _MIN_INLIERS:
        return f"no motion explains more than {count} of {matches} matches"
    if _are_by_chance(count, matches, model, chance=max(_chance(model, of, max_error_px) for of in cameras)):
        return f"the best motion explains {count} of {matches} matches, as many as one does by chance"
    for camera, pixels in zip(cameras, (first, second), strict=True):
        rays = _unit_rays(camera, pixels[inliers])
        rays = rays[np.isfinite(rays).all(axis=1)]
        # of rays that differ by less than the error the rotation about them is arbitrary
        least = np.sqrt(len(rays)) * max_error_px / min(camera.intrinsics[:2])
        if len(rays) < _MIN_INLIERS or np.linalg.svd(rays, compute_uv=False)[1] <= least:
            return f"the {count} matches that a motion explains are of one point: the rotation about it is unknown"
    return ""


def _chance(model: _Model, camera: Camera, max_error_px: float) -> float:
    """Probability that a match at random agrees with a model: the part of the image that its error leaves."""
    # Sampson's error is that of both pixels: for one alone the band is wider by the root of 2, on either side
    band = 2 * math.sqrt(2) * max_error_px * math.hypot(camera.width, camera.height)
    return (band if model.of_lines else math.pi * max_error_px**2) / (camera.width * camera.height)


def _are_by_chance(inliers: int, matches: int, model: _Model, *, chance: float) -> bool:
    """Whether of all models that matches at random determine one is expected to have as many inliers.

    A contrario (Moisan & Stival 2004): the number of models times the probability that so many matches at random agree
    with one, here Hoeffding's bound (1963) of the binomial tail.
    """
    others = matches - model.sample
    share = (inliers - model.sample) / others
    if share <= chance:
        return True
    divergence = share * math.log(share / chance)
    if share < 1.0:
        divergence += (1.0 - share) * math.log((1.0 - share) / (1.0 - chance))
    return math.log(model.solutions * math.comb(matches, model.sample)) >= others * divergence


def _without_parallax(
    rotation: Array, inliers: Array, cameras: tuple[Camera, Camera], max_error_px: float
) -> TwoViewGeometry:
    angle = float(np.linalg.norm(Pose(rotation, np.zeros(3)).rotation_vector))
    if angle * min(cameras[1].intrinsics[:2]) <= _NO_TURN * max_error_px:
        reason = "the camera has not moved: there is no direction of a translation"
        return TwoViewGeometry(TwoViewStatus.NO_MOTION, rotation=rotation, inliers=inliers, reason=reason)
    reason = (
        f"a rotation by {np.degrees(angle):.2g}° explains {inliers.sum()} matches without any translation: there is no "
        "parallax, which a relative pose needs"
    )
    return TwoViewGeometry(TwoViewStatus.PURE_ROTATION, rotation=rotation, inliers=inliers, reason=reason)


def _unit_rays(camera: Camera, pixels: Array) -> Array:
    rays = camera.unproject(pixels)
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def _kabsch(rays: Array, others: Array) -> Array:
    """(3, 3) rotation that turns (N, 3) unit rays nearest to others."""
    u, _, vt = np.linalg.svd(others.T @ rays)
    return np.asarray(u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt)


def _poselib_camera(camera: Camera) -> dict[str, object]:
    return {
        "model": camera.model,
        "width": camera.width,
        "height": camera.height,
        "params": list(camera.parameters),
    }


def _check_pixels(first: Array, second: Array) -> None:
    if first.ndim != 2 or first.shape[1:] != (2,) or first.shape != second.shape:
        raise InputError(f"matched pixels have shapes {first.shape} and {second.shape}, expected (M, 2) twice")
    if not (np.isfinite(first).all() and np.isfinite(second).all()):
        raise InputError("matched pixels hold NaN or infinity, expected finite values")
