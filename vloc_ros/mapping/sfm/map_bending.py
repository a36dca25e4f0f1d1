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

"""How far a map may be bent: what keypoints, measurements and calibrations leave open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gtsam
import numpy as np
from gtsam.symbol_shorthand import K, L, X

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import frame_jacobian
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.factors import to_gtsam
from vloc_ros.mapping.sfm.keypoint_factors import KeypointObservation, observations
from vloc_ros.mapping.sfm.structure import Structure

# errors of keypoints are alike along a track, and lenses are not those of a model: so many of the standard deviations
# that independent errors leave
_DEPENDENT_ERRORS = 1.25
# how far a good calibration is off: both focal lengths as a part, skew and principal point in pixels, k1 k2 p1 p2
_FOCAL_STD, _CALIBRATION_STD = 0.001, (1e-3, 1.0, 1.0, 2e-3, 2e-3, 2e-4, 2e-4)
# images whose joint covariance tells how a map bends; what holds poses and points that nothing else does, m and rad
BENT_IMAGES, _LOOSE_STD = 60, 1e3
# of what fixes where a structure of images alone lies, and its scale as a part
_GAUGE_STD = 1e-4
_MEDIAN_SQUARE = 1.386  # of the length of a vector of two unit Gaussians


def bending_of_images(
    structure: Structure, rays: Sequence[Array], cameras: Sequence[Camera], *, known_distance: tuple[int, int] | None
) -> Array:
    """How far a structure that images alone made may be bent, see `Adjusted`.

    Args:
        structure: adjusted; images without a pose are passed over.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        cameras: of each image.
        known_distance: the images that gave it its scale, which is then uncertain elsewhere; None without scale, which
            counts as right.

    Raises:
        MapError: keypoints leave poses open.
    """
    poses = {i: pose for i, pose in enumerate(structure.poses) if pose is not None}
    first = next(iter(poses))
    start, end = known_distance or (first, max(poses, key=lambda i: poses[first].distance_to(poses[i])[0]))
    values = gtsam.Values()
    for image, pose in poses.items():
        values.insert(X(image), to_gtsam(pose))
    for number, point in enumerate(structure.points):
        values.insert(L(number), point)
    measured = [
        gtsam.PriorFactorPose3(X(first), to_gtsam(poses[first]), gtsam.noiseModel.Isotropic.Sigma(6, _GAUGE_STD)),
        scale_factor(poses, start, end),
    ]
    observed = list(observations(structure, rays, cameras))
    spread = keypoint_spread(observed, values, freedom=3 * len(structure.points) + 6 * len(poses))
    chosen = np.array(list(poses))[np.linspace(0, len(poses) - 1, min(len(poses), BENT_IMAGES)).round().astype(int)]
    joint = joint_covariance(measured, observed, values, chosen, spread=spread)
    return bending_of_poses(joint, [poses[int(i)] for i in chosen], with_scale=known_distance is None)


def scale_factor(poses: Mapping[int, Pose], first: int, second: int) -> gtsam.NonlinearFactor:
    """Keeps the distance between the cameras of two images, and so the scale of all."""
    length = poses[first].distance_to(poses[second])[0]
    noise = gtsam.noiseModel.Isotropic.Sigma(1, _GAUGE_STD * length)
    return gtsam.RangeFactorPose3(X(first), X(second), length, noise)


def bending_of_poses(joint: Array, poses: Sequence[Pose], *, with_scale: bool = True) -> Array:
    """(6,) variances, see `Adjusted`: by the joint covariance without the part that moves, turns or scales all as one.

    Args:
        joint: (6 N, 6 N) covariance of N poses, in GTSAM's order.
        poses: N.
        with_scale: whether a scale of all is left out.
    """
    to_map, moves, centre = np.zeros_like(joint), [], np.mean([pose.translation for pose in poses], axis=0)
    for number, pose in enumerate(poses):
        start = 6 * number  # GTSAM has the rotation first, and both along the camera's axes
        to_map[start : start + 3, start + 3 : start + 6] = pose.rotation
        to_map[start + 3 : start + 6, start : start + 3] = pose.rotation
        moves.append(frame_jacobian(pose.translation - centre)[:6, : 7 if with_scale else 6])
    movement = np.concatenate(moves)
    bent = to_map - movement @ np.linalg.lstsq(movement, to_map, rcond=None)[0]
    variances = np.einsum("ij,jk,ik->i", bent, joint, bent).reshape(-1, 6)
    # not the mean: an image that hardly anything holds says nothing of where the others are
    return np.asarray(_DEPENDENT_ERRORS**2 * np.median(variances, axis=0))


def keypoint_spread(observed: Sequence[KeypointObservation], found: gtsam.Values, *, freedom: int) -> float:
    """How many of their assumed standard deviations keypoints are off, most of which fit."""
    squares = [float((one.residual(found) ** 2).sum()) for one in observed]
    remaining = 1.0 - freedom / (2.0 * len(squares)) if squares else 0.0
    if remaining <= 0.0:
        return 1.0
    return max(1.0, float(np.sqrt(np.median(squares) / _MEDIAN_SQUARE / remaining)))


def joint_covariance(
    measured: Sequence[gtsam.NonlinearFactor],
    observed: Sequence[KeypointObservation],
    found: gtsam.Values,
    images: Array,
    *,
    spread: float,
) -> Array:
    """(6 N, 6 N) covariance of the poses of N images, by keypoints, measurements and how far calibrations may be off.

    Poses are estimated by the calibrations as they are given, so that an error of these moves them by all that it can,
    however well the images would show it: calibrations are considered, not estimated (Schmidt 1966).

    Args:
        measured: factors.
        observed: keypoints.
        found: poses and points.
        images: numbers of the N images.
        spread: of keypoints, in their assumed standard deviations, see `keypoint_spread`.

    Raises:
        MapError: the measurements leave poses open.
    """
    graph, values = gtsam.NonlinearFactorGraph(), gtsam.Values(found)
    numbers = {camera: number for number, camera in enumerate(dict.fromkeys(one.camera for one in observed))}
    assumed = list[Array]()
    for camera, number in numbers.items():
        focal_px, std = float(camera.intrinsics[0]), np.array(_CALIBRATION_STD)
        std[3:] *= 0.0 if camera.is_fisheye else 1.0  # an ideal camera would show its rim too far out
        values.insert(K(number), gtsam.Cal3DS2(focal_px, focal_px, 0.0, 0.0, 0.0, 0.0, 0.0))
        assumed.append(np.maximum([_FOCAL_STD * focal_px] * 2 + std.tolist(), 1e-6))
        known = gtsam.noiseModel.Diagonal.Sigmas(assumed[-1])
        graph.add(gtsam.PriorFactorCal3DS2(K(number), values.atCal3DS2(K(number)), known))
    for factor in [*measured, *(one.of_uncertain(K(numbers[one.camera]), spread=spread) for one in observed)]:
        graph.add(factor)
    # ascending, as some versions of GTSAM sort them
    keys = [*(K(number) for number in numbers.values()), *(X(int(i)) for i in images)]
    try:
        joint = gtsam.Marginals(graph, values).jointMarginalCovariance(keys).fullMatrix()
    except RuntimeError:  # points so far away that their distance is open, or images that hardly anything holds
        joint = _held(graph, values, keys)
    if not np.isfinite(joint).all():
        raise MapError(
            "the images and measurements leave open where images were taken; take the images closer together, or "
            "measure more of their positions"
        )
    return consider(joint, np.concatenate(assumed))


def consider(joint: Array, assumed: Array) -> Array:
    """(P, P) covariance of what is estimated while C variables stay at what they are assumed to be.

    Args:
        joint: (C + P, C + P) covariance of all, had the C first ones been estimated too.
        assumed: (C,) standard deviations of these before that.
    """
    size = len(assumed)
    estimated, both = joint[:size, :size], joint[:size, size:]
    scale = np.sqrt(np.diag(estimated))  # of units that differ by row
    moves = np.linalg.solve(estimated / np.outer(scale, scale), both / scale[:, None]).T / scale
    return np.asarray(joint[size:, size:] + moves @ (np.diag(assumed**2) - estimated) @ moves.T)


def _held(graph: gtsam.NonlinearFactorGraph, values: gtsam.Values, keys: Sequence[int]) -> Array:
    """The joint covariance where all is held loosely; NaN where that does not help."""
    try:
        joint = gtsam.Marginals(hold_loosely(graph, values), values).jointMarginalCovariance(keys)
    except RuntimeError:
        return np.full((1, 1), np.nan)
    return np.asarray(joint.fullMatrix())


def hold_loosely(graph: gtsam.NonlinearFactorGraph, values: gtsam.Values) -> gtsam.NonlinearFactorGraph:
    """The graph with factors that hold poses and points which nothing else does."""
    held = graph.clone()
    of_point, of_pose = (gtsam.noiseModel.Isotropic.Sigma(size, _LOOSE_STD) for size in (3, 6))
    for key in values.keys():  # noqa: SIM118
        kind = gtsam.Symbol(key).chr()
        if kind == ord("x"):
            held.add(gtsam.PriorFactorPose3(key, values.atPose3(key), of_pose))
        elif kind == ord("l"):
            held.add(gtsam.PriorFactorPoint3(key, values.atPoint3(key), of_point))
    return held
