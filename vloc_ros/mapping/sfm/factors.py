"""Measurements as factors of GTSAM (Dellaert and Kaess 2017), whose poses have the rotation first."""

from __future__ import annotations

import gtsam
import numpy as np
from gtsam.symbol_shorthand import X

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.measurements import AbsolutePose, RelativePose

_FIXED_STD = 1e-6


def to_gtsam(pose: Pose) -> gtsam.Pose3:
    """The same pose."""
    return gtsam.Pose3(gtsam.Rot3(pose.rotation), pose.translation)


def from_gtsam(pose: gtsam.Pose3) -> Pose:
    """The same pose."""
    return Pose(pose.rotation().matrix(), pose.translation())


def robust_noise(std: Array, width: float) -> gtsam.noiseModel.Robust:
    """Noise with (N,) standard deviations under a Cauchy loss that is so many of them wide."""
    loss = gtsam.noiseModel.mEstimator.Cauchy.Create(width)
    return gtsam.noiseModel.Robust.Create(loss, gtsam.noiseModel.Diagonal.Sigmas(std))


def fixed_factor(image: int, pose: Pose) -> gtsam.PriorFactorPose3:
    """An image that keeps its pose."""
    return gtsam.PriorFactorPose3(X(image), to_gtsam(pose), gtsam.noiseModel.Isotropic.Sigma(6, _FIXED_STD))


def absolute_factor(measured: AbsolutePose, width: float) -> gtsam.PriorFactorPose3:
    """A measured pose; a wrong one is an outlier."""
    noise = robust_noise(_rotation_first(measured.std), width)
    return gtsam.PriorFactorPose3(X(measured.image), to_gtsam(measured.pose), noise)


def relative_factor(measured: RelativePose, width: float) -> gtsam.BetweenFactorPose3:
    """A measured motion; where the robot slips or is carried it is an outlier."""
    (first, second), noise = measured.pair, robust_noise(_rotation_first(measured.std), width)
    return gtsam.BetweenFactorPose3(X(first), X(second), to_gtsam(measured.first_from_second), noise)


def _rotation_first(std: Array) -> Array:
    return np.concatenate([std[3:], std[:3]])
