"""Pose graph optimisation: camera poses that agree with measured motions and with what pairs of images show.

Two images tell how one camera is turned to the other and in which direction it lies, not how far (Nistér 2004);
measured motions tell how far. GTSAM (Dellaert and Kaess 2017) finds the poses that agree best with both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import gtsam
import numpy as np
from gtsam.symbol_shorthand import X

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import TwoViewGeometry
from vloc_ros.mapping.sfm.measurements import RelativePose
from vloc_ros.mapping.sfm.pairs import Pair

# of a relative pose by many matches: what remains of rotation and direction, radians
_LEAST_STD_RAD, _LEAST_DIRECTION_STD_RAD = 0.003, 0.02
# pixels by which one match is off, and the least parallax at which a direction means anything
_MATCH_STD_PX, _LEAST_PARALLAX_RAD = 3.0, 0.003
# a wrong loop is to be outvoted, and a right one is far off before drift is corrected: the outlier threshold comes
# down from wide to narrow, as in graduated non-convexity (Yang et al. 2020)
_WIDTHS = (30.0, 10.0, 3.0, 1.5)
_MAX_ITERATIONS = 30
_FIXED = 1e-6


def optimize_poses(
    poses: Sequence[Pose],
    motions: Sequence[RelativePose],
    geometries: Mapping[Pair, TwoViewGeometry],
    focal_lengths_px: Array,
) -> tuple[list[Pose], list[Pair]]:
    """The poses that agree best with the measurements, and the pairs that agree with them.

    Args:
        poses: N first guesses; the first one is kept.
        motions: measured; they connect all images.
        geometries: of pairs of images.
        focal_lengths_px: (N,) of each image's camera.
    """
    values = gtsam.Values()
    for number, pose in enumerate(poses):
        values.insert(X(number), to_gtsam(pose))
    constraints = [
        (pair, _essential(found), _pair_std(found, focal_lengths_px[list(pair)].min()))
        for pair, found in geometries.items()
    ]
    for width in _WIDTHS:
        graph = gtsam.NonlinearFactorGraph()
        graph.add(gtsam.PriorFactorPose3(X(0), to_gtsam(poses[0]), gtsam.noiseModel.Isotropic.Sigma(6, _FIXED)))
        for motion in motions:
            graph.add(between_factor(motion, width))
        for (i, j), essential, std in constraints:
            graph.add(gtsam.EssentialMatrixConstraint(X(i), X(j), essential, _robust(std, width)))
        parameters = gtsam.LevenbergMarquardtParams()
        parameters.setMaxIterations(_MAX_ITERATIONS)
        values = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    agreeing = [
        (i, j)
        for (i, j), essential, std in constraints
        if _normalised_error(values, (i, j), essential, std) < _WIDTHS[-1] ** 2
    ]
    return [from_gtsam(values.atPose3(X(number))) for number in range(len(poses))], agreeing


def _normalised_error(values: gtsam.Values, pair: Pair, essential: gtsam.EssentialMatrix, std: Array) -> float:
    """Mean squared error of a relative pose in standard deviations."""
    noise = gtsam.noiseModel.Diagonal.Sigmas(std)
    factor = gtsam.EssentialMatrixConstraint(X(pair[0]), X(pair[1]), essential, noise)
    return float(2.0 * factor.error(values) / len(std))


def between_factor(motion: RelativePose, width: float) -> gtsam.BetweenFactorPose3:
    """A measured motion; a robot that slips or is carried breaks one of them."""
    first, second = motion.pair
    return gtsam.BetweenFactorPose3(
        X(first), X(second), to_gtsam(motion.first_from_second), robust_noise(motion.std, width)
    )


def robust_noise(std: Array, width: float) -> gtsam.noiseModel.Robust:
    """Noise of a pose with these (6,) standard deviations under a Cauchy loss that is so many of them wide."""
    return _robust(np.concatenate([std[3:], std[:3]]), width)  # GTSAM: rotation first


def _robust(std: Array, width: float) -> gtsam.noiseModel.Robust:
    loss = gtsam.noiseModel.mEstimator.Cauchy.Create(width)
    return gtsam.noiseModel.Robust.Create(loss, gtsam.noiseModel.Diagonal.Sigmas(std))


def _essential(found: TwoViewGeometry) -> gtsam.EssentialMatrix:
    pose = found.first_from_second
    return gtsam.EssentialMatrix(gtsam.Rot3(pose.rotation), gtsam.Unit3(pose.translation))


def _pair_std(found: TwoViewGeometry, focal_px: float) -> Array:
    """(5,) standard deviations of rotation and direction."""
    by_matches = _MATCH_STD_PX / focal_px / np.sqrt(max(len(found.matches), 1))
    direction = by_matches / max(found.parallax_rad, _LEAST_PARALLAX_RAD) * np.sqrt(len(found.matches)) ** 0.5
    return np.array([*[np.hypot(_LEAST_STD_RAD, by_matches)] * 3, *[np.hypot(_LEAST_DIRECTION_STD_RAD, direction)] * 2])


def to_gtsam(pose: Pose) -> gtsam.Pose3:
    """The same pose."""
    return gtsam.Pose3(gtsam.Rot3(pose.rotation), pose.translation)


def from_gtsam(pose: gtsam.Pose3) -> Pose:
    """The same pose."""
    return Pose(pose.rotation().matrix(), pose.translation())
