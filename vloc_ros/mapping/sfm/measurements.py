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

"""What is known of the images' poses beside the images themselves, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import LEAST_PARALLAX_RAD, VerifiedPair
from vloc_ros.mapping.sfm.pairs import Pair

# of odometry: the error of one motion, and what of it grows with the distance and with the turn
_STEP_M, _PER_M = 0.005, 0.03
_STEP_RAD, _RAD_PER_M, _PER_RAD = 0.005, 0.02, 0.03
# of odometry: the largest drift that is expected; of poses that do not drift, their largest error
_DRIFT_M, _DRIFT_PER_M = 0.3, 0.15
_DRIFT_RAD, _DRIFT_RAD_PER_M, _DRIFT_PER_RAD = 0.2, 0.02, 0.05
_ERROR_M, _ERROR_RAD, _POSITION_STDS = 1.0, 0.2, 3.0
# sets whose parallax tells how far away is what they show, and how much further than that a camera may have moved
_NEXT_SETS, _MAX_BASELINES = 5, 3.0
# measured poses are taken for no better
_LEAST_STD_M, _LEAST_STD_RAD = 0.01, 0.005
_MEDIAN_SIZE = 0.6745  # of a unit Gaussian
_MEAN_OVER_MEDIAN_SQUARE = 1.27  # of the length of a vector of three
_OVER_M = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class AbsolutePose:
    """A measured pose of an image.

    Attributes:
        image: the image.
        pose: map_from_camera.
        std: (6,) standard deviations along the camera's axes, of the position, metres, and of the rotation, radians.
    """

    image: int
    pose: Pose
    std: Array


@dataclass(frozen=True, slots=True, eq=False)
class RelativePose:
    """A measured motion between two images.

    Attributes:
        pair: of images.
        first_from_second: the motion.
        std: (6,) standard deviations of the translation, metres, and of the rotation, radians.
    """

    pair: Pair
    first_from_second: Pose
    std: Array


def measured_motions(
    poses: Sequence[Pose], noise: Array | None = None, stds: Sequence[Array | None] = ()
) -> list[RelativePose]:
    """The motions from each image to the next, as odometry or another localizer measured the poses.

    Over a short distance odometry is good, whatever its drift has come to over the whole trajectory.

    Args:
        poses: measured.
        noise: (6,) standard deviations of each pose that does not drift, along the axes of the map; None for none.
        stds: by pose, how uncertain its motion from the one before is, see `PosedImage`; empty for the usual.
    """
    noise, stds = np.zeros(6) if noise is None else noise, stds or [None] * len(poses)
    return [_motion(poses, number, noise, stds[number + 1]) for number in range(len(poses) - 1)]


def _motion(poses: Sequence[Pose], number: int, noise: Array, known: Array | None) -> RelativePose:
    motion = poses[number].inverse() @ poses[number + 1]
    distance_m, turn_rad = Pose.identity().distance_to(motion)
    std_m = _STEP_M + _PER_M * distance_m
    std_rad = _STEP_RAD + _RAD_PER_M * distance_m + _PER_RAD * turn_rad
    std = np.repeat([std_m, std_rad], 3)
    if known is not None:  # no odometry is better than its least error, whatever it says
        least = np.repeat([_STEP_M, _STEP_RAD], 3)
        std = np.where(np.isnan(known), std, np.maximum(known, least))
    return RelativePose((number, number + 1), motion, np.hypot(std, np.sqrt(2.0) * _along_axes(poses[number], noise)))


def _along_axes(pose: Pose, std: Array) -> Array:
    """(6,) standard deviations along a camera's axes, of some along those of the map."""
    turned: Array = pose.rotation.T**2 @ (std**2).reshape(2, 3).T
    return np.sqrt(turned.T.reshape(6))


def estimate_noise(measured: Sequence[Pose], placed: Sequence[Pose]) -> Array:
    """(6,) standard deviations, along the axes of the map, of measured poses that do not drift.

    By the motions of placed ones: between neighbours they show the noise of each pose, and a slow bending of the placed
    ones hardly changes them. Receivers of satellites jitter along a track more than beside it.
    """
    errors = np.array(
        [
            (before.inverse() @ after).error_to(start.inverse() @ end).reshape(2, 3) @ start.rotation.T
            for (before, after), (start, end) in zip(pairwise(placed), pairwise(measured), strict=True)
        ]
    )
    return np.asarray(np.median(np.abs(errors), axis=0).reshape(6) / _MEDIAN_SIZE / np.sqrt(2.0))


def rotation_bias(measured: Sequence[Pose], placed: Sequence[Pose]) -> Array:
    """(6,) zeros, and how far rotations are off on the whole, radians.

    Extrinsics of a camera that are a degree off turn all poses alike. Motions do not show that, only that the camera
    seems to slip sideways; positions are right all the same.
    """
    errors = np.array([one.error_to(other)[3:] for one, other in zip(placed, measured, strict=True)])
    return np.concatenate([np.zeros(3), np.sqrt((errors**2).mean(axis=0))])


def frame_variances(measured: Sequence[Pose], placed: Sequence[Pose]) -> Array:
    """(6,) variances of how a map lies in the frame of the poses that it was measured by.

    The placed poses differ from the measured ones by the noise of these, and by how the map is shifted, turned and bent
    in their frame, which no query in the map shows.
    """
    errors = np.array([one.error_to(other) for one, other in zip(placed, measured, strict=True)])
    spread = (errors**2).mean(axis=0)
    noise = estimate_noise(measured, placed) ** 2 if len(placed) > 1 else np.zeros(6)
    return np.asarray(np.maximum(spread - noise, noise / len(placed)))


def odometry_scale_variance(measured: Sequence[Pose], placed: Sequence[Pose]) -> float:
    """Of the factor by which odometry is off, which no image shows: as much as it is off over a metre.

    Over a way that is longer or shorter errors are taken to grow with its root, as those of a random walk.
    """
    way_m = np.cumsum([0.0, *(Pose.identity().distance_to(a.inverse() @ b)[0] for a, b in pairwise(placed))])
    if way_m[-1] <= 0.0:
        return 0.0
    over_m, squares = min(_OVER_M, way_m[-1] / 2), []
    for i, j in enumerate(np.searchsorted(way_m, way_m + over_m)):
        if j < len(way_m):
            motions = [poses[i].inverse() @ poses[j] for poses in (measured, placed)]
            off_m = np.linalg.norm(motions[0].translation - motions[1].translation)
            squares.append(off_m**2 / (way_m[j] - way_m[i]) / _OVER_M)
    return float(np.median(squares) * _MEAN_OVER_MEDIAN_SQUARE)


def absolute_poses(measured: Sequence[Pose], noise: Array) -> list[AbsolutePose]:
    """Measured poses that do not drift, with the same (6,) standard deviations along the map's axes, none too small."""
    std = np.maximum(noise, np.repeat([_LEAST_STD_M, _LEAST_STD_RAD], 3))
    return [AbsolutePose(i, pose, _along_axes(pose, std)) for i, pose in enumerate(measured)]


def possible_pairs(
    geometries: Mapping[Pair, VerifiedPair],
    measured: Sequence[Pose],
    *,
    drifting: bool,
    positions_std_m: float = 0.0,
    sets: Array | None = None,
) -> list[Pair]:
    """The pairs whose relative pose the measured poses allow.

    Rooms that look alike are told apart so, where they are further from each other than the poses can be wrong by.

    Args:
        geometries: by the images.
        measured: of all images.
        drifting: whether they are of odometry.
        positions_std_m: of poses that positions correct, the standard deviation of these.
        sets: (N,) ascending numbers of the sets that cameras of a rig took together, whose first images tell how far
            the rig moved; None for one camera.
    """
    sets = np.arange(len(measured)) if sets is None else sets
    first = [measured[int(i)] for i in np.unique(sets, return_index=True)[1]]
    motions = [Pose.identity().distance_to(a.inverse() @ b) for a, b in pairwise(first)]
    travelled_m, turned_rad = (np.cumsum([0.0, *column])[sets] for column in np.array(motions).reshape(-1, 2).T)
    depths_m, possible = _depths(geometries, measured, sets), []
    for (i, j), found in geometries.items():
        tolerated_m, tolerated_rad = _ERROR_M + _POSITION_STDS * positions_std_m, _ERROR_RAD
        if drifting:
            distance_m, turn_rad = travelled_m[j] - travelled_m[i], turned_rad[j] - turned_rad[i]
            tolerated_m = _DRIFT_M + _DRIFT_PER_M * distance_m
            tolerated_rad = _DRIFT_RAD + _DRIFT_RAD_PER_M * distance_m + _DRIFT_PER_RAD * turn_rad
        reach_m = _MAX_BASELINES * found.parallax_rad * max(depths_m[i], depths_m[j])
        if _agrees(measured[i].inverse() @ measured[j], found, tolerated_m, tolerated_rad, reach_m):
            possible.append((i, j))
    return possible


def _agrees(expected: Pose, found: VerifiedPair, tolerated_m: float, tolerated_rad: float, reach_m: float) -> bool:
    """Whether a measured relative pose agrees with that of the images in rotation, distance and direction."""
    distance_m = float(np.linalg.norm(expected.translation))
    if expected.distance_to(found.first_from_second)[1] > tolerated_rad:
        return False
    # images that show much the same from far apart have to show something far away
    if distance_m - tolerated_m > reach_m:
        return False
    if distance_m <= tolerated_m or found.parallax_rad < LEAST_PARALLAX_RAD:
        return True
    cosine = float(expected.translation @ found.first_from_second.translation) / distance_m
    return bool(np.arccos(np.clip(cosine, -1.0, 1.0)) <= tolerated_rad + np.arcsin(tolerated_m / distance_m))


def _depths(geometries: Mapping[Pair, VerifiedPair], measured: Sequence[Pose], sets: Array) -> Array:
    """(N,) distances to what images show, by their parallax with the next sets; infinite where none has any."""
    depths_m: list[list[float]] = [[] for _ in measured]
    for (i, j), found in geometries.items():
        if sets[j] - sets[i] <= _NEXT_SETS and found.parallax_rad > LEAST_PARALLAX_RAD:
            baseline_m = float(np.linalg.norm(measured[i].translation - measured[j].translation))
            depths_m[i].append(baseline_m / found.parallax_rad)
            depths_m[j].append(baseline_m / found.parallax_rad)
    return np.array([np.median(known) if known else np.inf for known in depths_m])
