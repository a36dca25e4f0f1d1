"""Pose graph optimisation: camera poses that agree with measured motions and with what pairs of images show.

Two images tell how one camera is turned to the other and in which direction it lies, not how far (Nistér 2004);
measured motions tell how far. GTSAM (Dellaert and Kaess 2017) finds the poses that agree best with both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gtsam
import numpy as np
from gtsam.symbol_shorthand import X

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import TwoViewGeometry
from vloc_ros.mapping.sfm.measurements import RelativePose
from vloc_ros.mapping.sfm.pairs import Pair

# of a relative pose by many matches: what remains of rotation and direction, radians
_LEAST_STD_RAD, _LEAST_DIRECTION_STD_RAD = 0.003, 0.02
_MATCH_STD_PX = 3.0
# with less parallax, or less distance between the cameras, the direction means nothing
_LEAST_PARALLAX_RAD, _LEAST_BASELINE_M = 0.003, 0.001
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
    focal_px = {pair: float(focal_lengths_px[list(pair)].min()) for pair in geometries}
    constraints = [
        _Constraint(pair, found, _pair_std(found, focal_px[pair]))
        for pair, found in geometries.items()
        if _shows_direction(poses, pair, found)
    ]
    for width in _WIDTHS:
        graph = gtsam.NonlinearFactorGraph()
        graph.add(gtsam.PriorFactorPose3(X(0), to_gtsam(poses[0]), gtsam.noiseModel.Isotropic.Sigma(6, _FIXED)))
        for motion in motions:
            graph.add(between_factor(motion, width))
        for constraint in constraints:
            graph.add(constraint.factor(_robust(constraint.std, width)))
        parameters = gtsam.LevenbergMarquardtParams()
        parameters.setMaxIterations(_MAX_ITERATIONS)
        values = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    agreeing = [one.pair for one in constraints if one.mean_squared_error(values) < _WIDTHS[-1] ** 2]
    return [from_gtsam(values.atPose3(X(number))) for number in range(len(poses))], agreeing


def _shows_direction(poses: Sequence[Pose], pair: Pair, found: TwoViewGeometry) -> bool:
    baseline_m = np.linalg.norm(poses[pair[0]].translation - poses[pair[1]].translation)
    return bool(found.parallax_rad > _LEAST_PARALLAX_RAD and baseline_m > _LEAST_BASELINE_M)


@dataclass(frozen=True, slots=True, eq=False)
class _Constraint:
    """The relative pose of a pair of images, with its (5,) standard deviations."""

    pair: Pair
    found: TwoViewGeometry
    std: Array

    def factor(self, noise: gtsam.noiseModel.Base) -> gtsam.EssentialMatrixConstraint:
        (first, second), pose = self.pair, self.found.first_from_second
        essential = gtsam.EssentialMatrix(gtsam.Rot3(pose.rotation), gtsam.Unit3(pose.translation))
        return gtsam.EssentialMatrixConstraint(X(first), X(second), essential, noise)

    def mean_squared_error(self, values: gtsam.Values) -> float:
        """In standard deviations."""
        factor = self.factor(gtsam.noiseModel.Diagonal.Sigmas(self.std))
        return float(2.0 * factor.error(values) / len(self.std))


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


def _pair_std(found: TwoViewGeometry, focal_px: float) -> Array:
    """(5,) standard deviations of rotation and direction.

    Errors of matches are not independent: they average out by the fourth root of their number.
    """
    error_rad = _MATCH_STD_PX / focal_px / len(found.matches) ** 0.25
    rotation, direction = np.hypot(_LEAST_STD_RAD, error_rad), error_rad / found.parallax_rad
    return np.array([*[rotation] * 3, *[np.hypot(_LEAST_DIRECTION_STD_RAD, direction)] * 2])


def to_gtsam(pose: Pose) -> gtsam.Pose3:
    """The same pose."""
    return gtsam.Pose3(gtsam.Rot3(pose.rotation), pose.translation)


def from_gtsam(pose: gtsam.Pose3) -> Pose:
    """The same pose."""
    return Pose(pose.rotation().matrix(), pose.translation())
