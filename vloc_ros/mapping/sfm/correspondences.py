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

"""2D-2D matches between two images, and which of them agree with the images' relative pose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import poselib
from scipy.optimize import least_squares

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose, skew
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

# less parallax is noise of the keypoints: two pixels of a common camera
LEAST_PARALLAX_RAD = 0.004
_MIN_BASELINE_M = 1e-6
# of the matches that the best relative pose explains, so many are explained by another that is taken for as good
_ABOUT_AS_MANY = 0.9
# of a measured motion, where two explain the matches alike: of its turn, of its step and what grows with it
_TURN_STD_RAD, _STEP_STD_M, _STEP_STD = 0.01, 0.02, 0.05
_DIFFERENCE = 1e-8  # for derivatives, radians and metres
_MIN_FOR_RELATIVE_POSE = 5
_RELATIVE_POSE = {"max_iterations": 1000, "min_iterations": 100, "success_prob": 0.999, "seed": 0}
_IDEAL_CAMERA = {"model": "SIMPLE_PINHOLE", "width": 2, "height": 2, "params": [1.0, 0.0, 0.0]}


def match_pairs(
    features: Sequence[Features], pairs: Sequence[Pair], *, ratio: float, workers: Workers = THIS_PROCESS
) -> Iterator[tuple[Pair, Array]]:
    """Every pair with its `mutual_matches`, in the order of the pairs; no pair comes twice."""
    return zip(pairs, workers.map_pairs(mutual_matches, features, dict.fromkeys(pairs, ratio)), strict=True)


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedPair:
    """The relative pose of two images by their matches.

    Attributes:
        matches: (M, 2) uint32 keypoint indices of those that it explains.
        first_from_second: the relative pose; its translation has length 1.
        parallax_rad: median angle between the two rays of a match, without the rotation.
    """

    matches: Array
    first_from_second: Pose
    parallax_rad: float


def verify_pairs(
    matches: Mapping[Pair, Array],
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    *,
    max_error_px: float,
    workers: Workers = THIS_PROCESS,
) -> Iterator[tuple[Pair, VerifiedPair]]:
    """Every pair with its relative pose and the matches that this explains, in the order of the pairs.

    Args:
        matches: (M, 2) keypoint indices by pair.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        cameras: of each image.
        max_error_px: distance from the epipolar line.
        workers: do it.
    """
    views = list(zip(rays, cameras, strict=True))
    return zip(matches, workers.map_pairs(partial(_verify, max_error_px=max_error_px), views, matches), strict=True)


def _verify(
    first: tuple[Array, Camera], second: tuple[Array, Camera], found: Array, *, max_error_px: float
) -> VerifiedPair:
    """The geometry of two images, by their rays and cameras, from matches."""
    both, cameras = (first[0][found[:, 0]], second[0][found[:, 1]]), (first[1], second[1])
    first_from_second, meeting = estimate_relative_pose(both, cameras, max_error_px=max_error_px)
    parallax_rad = parallax(both[0][meeting], both[1][meeting] @ first_from_second.rotation.T)
    return VerifiedPair(found[meeting], first_from_second, parallax_rad)


def choose_by_measured_motions(
    geometries: Mapping[Pair, VerifiedPair],
    motions: Mapping[Pair, Pose],
    rays: Sequence[Array],
    cameras: Sequence[Camera],
    *,
    max_error_px: float,
    workers: Workers = THIS_PROCESS,
) -> dict[Pair, VerifiedPair]:
    """The pairs, with the relative pose nearest to a measured one where it explains the matches about as well.

    Of a plane, such as a wall, two relative poses explain all matches, and of a small part of it a whole range of them:
    a step aside looks like a turn (Hartley and Zisserman, Multiple View Geometry, 13.1). What the images leave open the
    measured motion decides.

    Args:
        geometries: by the images alone, see `verify_pairs`.
        motions: first_from_second of some of the pairs, metres, as they were measured.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        cameras: of each image.
        max_error_px: distance from the epipolar line.
        workers: do it.
    """
    views = list(zip(rays, cameras, strict=True))
    turning = {
        pair: (geometries[pair], motion)
        for pair, motion in motions.items()
        if geometries[pair].first_from_second.distance_to(motion)[1] >= _TURN_STD_RAD
        and np.linalg.norm(motion.translation) >= _MIN_BASELINE_M
    }
    chosen = workers.map_pairs(partial(_choose, max_error_px=max_error_px), views, turning)
    return {**geometries, **dict(zip(turning, chosen, strict=True))}


def _choose(
    first: tuple[Array, Camera],
    second: tuple[Array, Camera],
    known: tuple[VerifiedPair, Pose],
    *,
    max_error_px: float,
) -> VerifiedPair:
    """The geometry of two images, or one near a measured motion."""
    found, motion = known
    rays, cameras = (first[0][found.matches[:, 0]], second[0][found.matches[:, 1]]), (first[1], second[1])
    near = _refine_measured(motion, rays, cameras)
    if near is None:
        return found
    meeting = epipolar_inliers(rays, (Pose.identity(), near), cameras, max_error_px=max_error_px)
    meeting &= _lie_ahead(rays, near)
    if meeting.sum() < _ABOUT_AS_MANY * len(found.matches):
        return found
    parallax_rad = parallax(rays[0][meeting], rays[1][meeting] @ near.rotation.T)
    direction = near.translation / np.linalg.norm(near.translation)
    return VerifiedPair(found.matches[meeting], Pose(near.rotation, direction), parallax_rad)


def _refine_measured(measured: Pose, rays: tuple[Array, Array], cameras: tuple[Camera, Camera]) -> Pose | None:
    """first_from_second that explains (M, 3) matched rays, under a Cauchy loss, as near to a measured one as it may."""
    length = np.linalg.norm(measured.translation)
    stds = np.repeat([_TURN_STD_RAD, _STEP_STD_M + _STEP_STD * length], 3)

    focal_px = _focal_px(cameras)

    def robust_px(by: Array) -> Array:
        rotations = np.stack([cv2.Rodrigues(one)[0] for one in by[:, :3]]) @ measured.rotation
        essentials = _essential(rotations, measured.translation + by[:, 3:])
        # a ray towards the other camera meets every epipolar line
        epipolar_px = np.nan_to_num(_sampson_errors_px(rays, essentials, focal_px), posinf=0.0, neginf=0.0)
        return np.asarray(np.sqrt(np.log1p(epipolar_px**2)))

    def errors(by: Array) -> Array:
        return np.concatenate([robust_px(by[None])[0], by / stds])

    def derivatives(by: Array) -> Array:
        # all at once: most of the time NumPy would take to be called
        at, *beside = robust_px(by + np.vstack([np.zeros(6), _DIFFERENCE * np.eye(6)]))
        return np.vstack([(np.array(beside) - at).T / _DIFFERENCE, np.diag(1 / stds)])

    near_enough = {"x_scale": stds, "method": "lm", "ftol": 1e-3, "xtol": 1e-3, "max_nfev": 60}
    found = least_squares(errors, np.zeros(6), derivatives, **near_enough)
    turned = cv2.Rodrigues(found.x[:3])[0] @ measured.rotation
    return Pose(turned, measured.translation + found.x[3:]) if found.success else None


def _lie_ahead(rays: tuple[Array, Array], first_from_second: Pose) -> Array:
    """(M,) bool: what matched rays meet in lies in front of both cameras; rays that are parallel leave it open."""
    first, second = rays[0], rays[1] @ first_from_second.rotation.T
    normal = np.cross(first, second)
    ahead = [np.einsum("ij,ij->i", np.cross(first_from_second.translation, other), normal) for other in (second, first)]
    return np.asarray((ahead[0] >= 0) & (ahead[1] >= 0))


def parallax(first: Array, second: Array) -> float:
    """Median angle, radians, between (M, 3) rays in one frame; 0 for none."""
    if not len(first):
        return 0.0
    cross = np.linalg.norm(np.cross(first, second), axis=1)
    return float(np.median(np.arctan2(cross, np.einsum("ij,ij->i", first, second))))


def mutual_matches(first: Features, second: Features, ratio: float) -> Array:
    """(M, 2) uint32 keypoint indices: mutual nearest neighbours that pass the ratio test (Lowe 2004)."""
    if len(first) < 2 or len(second) < 2:
        return np.zeros((0, 2), np.uint32)
    similarity = first.descriptors @ second.descriptors.T
    nearest_of_second = similarity.max(axis=0)  # their argmax would take five times as long, and is not needed
    rows, forward = np.arange(len(similarity)), similarity.argmax(axis=1)
    best = similarity[rows, forward]
    similarity[rows, forward] = -np.inf
    # of unit vectors the squared distance is 2 - 2 times the similarity
    distinct = np.flatnonzero(1 - best < ratio**2 * (1 - similarity.max(axis=1)))
    mutual = distinct[best[distinct] == nearest_of_second[forward[distinct]]]
    # of descriptors of the first image that are equal, the first one
    mutual = mutual[np.sort(np.unique(forward[mutual], return_index=True)[1])]
    return np.column_stack([mutual, forward[mutual]]).astype(np.uint32)


def estimate_relative_pose(
    rays: tuple[Array, Array], cameras: tuple[Camera, Camera], *, max_error_px: float
) -> tuple[Pose, Array]:
    """first_from_second of two images, its translation of length 1, and its (M,) bool inliers; none when none is found.

    Five-point LO-RANSAC (Nistér 2004; Lebeda et al. 2012), PoseLib's implementation.

    Args:
        rays: two (M, 3), with z = 1, of matched keypoints.
        cameras: of the two images.
        max_error_px: distance from the epipolar line.
    """
    if len(rays[0]) < _MIN_FOR_RELATIVE_POSE:
        return Pose.identity(), np.zeros(len(rays[0]), bool)
    options = _RELATIVE_POSE | {"max_epipolar_error": max_error_px / _focal_px(cameras)}
    pose, found = poselib.estimate_relative_pose(
        rays[0][:, :2], rays[1][:, :2], _IDEAL_CAMERA, _IDEAL_CAMERA, options, {}
    )
    inliers = np.asarray(found["inliers"], bool)
    length = np.linalg.norm(pose.t)
    if not inliers.any() or not length > 0:
        return Pose.identity(), np.zeros(len(rays[0]), bool)
    return Pose(pose.R, pose.t / length).inverse(), inliers


def epipolar_inliers(
    rays: tuple[Array, Array], poses: tuple[Pose, Pose], cameras: tuple[Camera, Camera], *, max_error_px: float
) -> Array:
    """(M,) bool: inliers of a known relative pose, by Sampson's distance in pixels.

    Sampson's approximation of the reprojection error: Hartley and Zisserman, Multiple View Geometry, 11.4.3.
    """
    first_from_second = poses[0].inverse() @ poses[1]
    if np.linalg.norm(first_from_second.translation) < _MIN_BASELINE_M:
        return np.zeros(len(rays[0]), bool)
    with np.errstate(invalid="ignore"):
        essential = _essential(first_from_second.rotation, first_from_second.translation)
        return np.asarray(np.abs(_sampson_errors_px(rays, essential, _focal_px(cameras))) < max_error_px)


def _essential(rotation: Array, translation: Array) -> Array:
    """(..., 3, 3) essential matrices of first_from_second, whose translations are not zero."""
    return np.asarray(skew(translation / np.linalg.norm(translation, axis=-1, keepdims=True)) @ rotation)


def _sampson_errors_px(rays: tuple[Array, Array], essential: Array, focal_px: float) -> Array:
    """(..., M) signed distances of matches from (..., 3, 3) essential matrices."""
    line_in_first, line_in_second = rays[1] @ essential.swapaxes(-1, -2), rays[0] @ essential
    algebraic = np.einsum("ij,...ij->...i", rays[0], line_in_first)
    gradient = (line_in_first[..., :2] ** 2).sum(axis=-1) + (line_in_second[..., :2] ** 2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(focal_px * algebraic / np.sqrt(gradient))


def _focal_px(cameras: tuple[Camera, Camera]) -> float:
    return float(min(camera.intrinsics[0] for camera in cameras))
