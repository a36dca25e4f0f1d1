"""What is known of the images' poses beside the images themselves, each with its uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import TwoViewGeometry
from vloc_ros.mapping.sfm.pairs import Pair

# of odometry, before what the images say of it is known: a part of the way, and what one step is wrong by itself
_PART_OF_WAY, _STEP_M = 0.03, 0.005
_RAD_PER_M, _PART_OF_TURN, _STEP_RAD = 0.02, 0.03, 0.005
# what drift can come to over a way, at most
_DRIFT_M, _DRIFT_PART_OF_WAY, _DRIFT_RAD, _DRIFT_RAD_PER_M = 0.3, 0.15, 0.2, 0.02
# images whose parallax tells how far away is what they show, and how much further than that a camera may have moved
_NEXT_IMAGES, _LEAST_PARALLAX_RAD, _MAX_BASELINES = 5, 0.005, 3.0
# measured poses are taken for no better
_LEAST_STD_M, _LEAST_STD_RAD = 0.01, 0.005
_MEDIAN_LENGTH = 1.538  # of a vector of three unit Gaussians


@dataclass(frozen=True, slots=True, eq=False)
class AbsolutePose:
    """A measured pose of an image.

    Attributes:
        image: the image.
        pose: map_from_camera.
        std: (6,) standard deviations of the position, metres, and of the rotation, radians.
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


def motions_of(poses: Sequence[Pose]) -> list[RelativePose]:
    """The motions from each image to the next, as odometry or another localizer measured the poses.

    What such poses are good for is how they change: their drift is small from one image to the next, whatever it has
    come to over the whole way.
    """
    return [_motion(poses, number) for number in range(len(poses) - 1)]


def absolute_poses(measured: Sequence[Pose], placed: Sequence[Pose]) -> list[AbsolutePose]:
    """Measured poses that do not drift, with the noise that they have against placed ones in the same frame.

    Neighbouring poses tell noise from the slow bending of a chain of images: it changes from one to the next.
    """
    errors = np.array(
        [
            (placed[i].inverse() @ placed[i + 1]).error_to(measured[i].inverse() @ measured[i + 1])
            for i in range(len(measured) - 1)
        ]
    )
    both = np.median(np.linalg.norm(errors.reshape(-1, 2, 3), axis=2), axis=0) / _MEDIAN_LENGTH / np.sqrt(2.0)
    std_m, std_rad = np.maximum(both, (_LEAST_STD_M, _LEAST_STD_RAD))
    return [AbsolutePose(i, pose, np.repeat([std_m, std_rad], 3)) for i, pose in enumerate(measured)]


def possible_pairs(geometries: Mapping[Pair, TwoViewGeometry], measured: Sequence[Pose]) -> list[Pair]:
    """The pairs whose relative pose the measured poses allow, however much these drift.

    Rooms that look alike are told apart so, where they are further from each other than odometry can be wrong by.
    """
    steps_m = [np.linalg.norm(a.translation - b.translation) for a, b in pairwise(measured)]
    ways_m, depths_m = np.cumsum([0.0, *steps_m]), _depths(geometries, measured)
    return [pair for pair, found in geometries.items() if not _contradicts(pair, found, measured, ways_m, depths_m)]


def _depths(geometries: Mapping[Pair, TwoViewGeometry], measured: Sequence[Pose]) -> Array:
    """(N,) distances to what images show, by their parallax with the next ones; infinite where none has any."""
    depths_m: list[list[float]] = [[] for _ in measured]
    for (i, j), found in geometries.items():
        if j - i <= _NEXT_IMAGES and found.parallax_rad > _LEAST_PARALLAX_RAD:
            baseline_m = float(np.linalg.norm(measured[i].translation - measured[j].translation))
            depths_m[i].append(baseline_m / found.parallax_rad)
            depths_m[j].append(baseline_m / found.parallax_rad)
    return np.array([np.median(known) if known else np.inf for known in depths_m])


def _contradicts(pair: Pair, found: TwoViewGeometry, measured: Sequence[Pose], ways_m: Array, depths_m: Array) -> bool:
    first, second = pair
    way_m, by_images = abs(ways_m[second] - ways_m[first]), found.first_from_second
    expected = measured[first].inverse() @ measured[second]
    turn_rad, tolerated_rad = expected.distance_to(by_images)[1], _DRIFT_RAD + _DRIFT_RAD_PER_M * way_m
    distance_m, tolerated_m = float(np.linalg.norm(expected.translation)), _DRIFT_M + _DRIFT_PART_OF_WAY * way_m
    if turn_rad > tolerated_rad:
        return True
    if distance_m <= tolerated_m:
        return False
    # images that show much the same from far apart have to show something far away
    if distance_m - tolerated_m > _MAX_BASELINES * found.parallax_rad * depths_m[[first, second]].max():
        return True
    cosine = float(expected.translation @ by_images.translation) / distance_m
    return bool(np.arccos(np.clip(cosine, -1.0, 1.0)) > tolerated_rad + np.arcsin(tolerated_m / distance_m))


def _motion(poses: Sequence[Pose], number: int) -> RelativePose:
    motion = poses[number].inverse() @ poses[number + 1]
    way_m, turn_rad = Pose.identity().distance_to(motion)
    std_m = _STEP_M + _PART_OF_WAY * way_m
    std_rad = _STEP_RAD + _PART_OF_TURN * turn_rad + _RAD_PER_M * way_m
    return RelativePose((number, number + 1), motion, np.repeat([std_m, std_rad], 3))
