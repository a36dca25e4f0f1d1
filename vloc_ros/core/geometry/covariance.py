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

"""Covariances of poses: carried to other bodies, and calibrated on segments of the trajectory that a map left out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose, skew

_COORDINATE_ROUNDS = 8
# errors have heavier tails than the Gaussian that is fitted to them
_TAILS = 1.05
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0
_STUDENT_DEGREES = 8.0
# squared Mahalanobis distance; of consistent errors with six degrees of freedom one in a hundred thousand is larger
_WRONG_FIX = 34.0
_FACTOR = 6
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class CovarianceCalibration:
    """How much larger errors are than the inliers' Jacobian implies.

    The covariance in the map is `scale² · Σ_J + diag(floor)`, fitted on contiguous segments of the trajectory that
    the map left out; in the map's frame `FrameUncertainty` comes to it.

    Attributes:
        scale: factor on the standard deviations of Σ_J.
        floor: (6,) variances added, order x y z rx ry rz (metres², radians²).
        samples: number of left-out queries that it was fitted on; 0 means not calibrated on this map.
    """

    scale: float = 1.0
    floor: Array = field(default_factory=lambda: np.zeros(6))
    samples: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FrameUncertainty:
    """How uncertain it is where a map lies in its frame: it may be shifted, turned, scaled and bent.

    Poses near each other have these errors in common, and no image shows them. Far from the centre a turn and a scale
    move more.

    Attributes:
        covariance: (7, 7) of shift, metres, turn, radians, and factor, order x y z rx ry rz scale.
        centre: (3,) metres, where the shift is that of the map.
        bending: (6,) variances of how far a part of the map is from where the whole would have it, order x y z rx ry rz
            (metres², radians²).
    """

    covariance: Array = field(default_factory=lambda: np.zeros((7, 7)))
    centre: Array = field(default_factory=lambda: np.zeros(3))
    bending: Array = field(default_factory=lambda: np.zeros(6))

    def at(self, position: Array) -> Array:
        """(6, 6) what it adds to the covariance of a pose at a (3,) position."""
        moves = frame_jacobian(position - self.centre)[:6]
        return np.asarray(moves @ self.covariance @ moves.T + np.diag(self.bending))

    def only_scale(self) -> FrameUncertainty:
        """That of a map whose place and turn in its frame are known: of its scale and bending."""
        return replace(self, covariance=np.diag(np.diag(self.covariance) * (np.arange(7) == _FACTOR)))

    def taking_in(self, other: FrameUncertainty) -> FrameUncertainty:
        """That of a map which took in another one: it stays where it is, and is scaled and bent as the worse one."""
        scale = max(other.covariance[_FACTOR, _FACTOR] - self.covariance[_FACTOR, _FACTOR], 0.0)
        added = np.diag(scale * (np.arange(7) == _FACTOR))
        return replace(self, covariance=self.covariance + added, bending=np.maximum(self.bending, other.bending))


def is_covariance(matrix: Array) -> bool:
    """Whether a matrix is symmetric and positive semi-definite, but for rounding; units may differ by row."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    if (np.diag(matrix) < 0).any() or matrix[scale == 0].any() or matrix[:, scale == 0].any():
        return False
    correlation = matrix / np.where(scale == 0, 1.0, scale)[:, None] / np.where(scale == 0, 1.0, scale)
    asymmetry = np.abs(correlation - correlation.T).max(initial=0.0)
    return bool(asymmetry < _ROUNDING and np.linalg.eigvalsh(correlation).min(initial=0.0) > -_ROUNDING)


def frame_jacobian(lever: Array) -> Array:
    """(7, 7) what a small shift, turn and scale about a centre are about a point that lies (3,) metres from it."""
    jacobian = np.eye(7)
    jacobian[:3, 3:6], jacobian[:3, 6] = -skew(lever), lever
    return jacobian


def apply_calibration(covariance: Array, calibration: CovarianceCalibration) -> Array:
    """(6, 6) calibrated covariance of a pose in the map, see `CovarianceCalibration`."""
    return np.asarray(calibration.scale**2 * covariance + np.diag(calibration.floor))


def raise_variances(covariance: Array, position_std_m: float, rotation_std_rad: float) -> Array:
    """A (6, 6) covariance of a pose whose variances are at least those of these standard deviations."""
    least = np.repeat([position_std_m**2, rotation_std_rad**2], 3)
    return covariance + np.diag(np.maximum(least - np.diag(covariance), 0.0))


def carry_covariance(covariance: Array, map_from_rig: Pose, rig_from_body: Pose) -> Array:
    """The covariance of the rig's pose as one of a body fixed to the rig: rotation errors move it by its lever arm."""
    lever = map_from_rig.rotation @ rig_from_body.translation
    carry = np.eye(6)
    carry[:3, 3:] = -skew(lever)
    return np.asarray(carry @ covariance @ carry.T)


def squared_mahalanobis_distances(errors: Array, covariances: Array) -> Array:
    """(N,) squared Mahalanobis distances of (N, 6) errors under (N, 6, 6) covariances; 6 on average when consistent."""
    return np.asarray(np.einsum("ni,ni->n", errors, np.linalg.solve(covariances, errors[..., None])[..., 0]))


def fit_calibration(errors: Array, covariances: Array) -> CovarianceCalibration:
    """Scale and floor that make left-out errors most likely.

    A heavy-tailed likelihood (Student's t) first finds the wrong fixes among the left-out queries, which must not
    widen the covariance of the right ones; a Gaussian one then fits the rest.

    Args:
        errors: (N, 6) `Pose.error_to` of accepted left-out queries.
        covariances: (N, 6, 6) their uncalibrated covariances.

    Returns:
        The calibration; one floor for position and one for rotation, alike on all axes.
    """
    if len(errors) == 0:
        return CovarianceCalibration()
    tolerant = _most_likely(errors, covariances, _student_cost)
    widened = np.stack([apply_calibration(covariance, tolerant) for covariance in covariances])
    right = squared_mahalanobis_distances(errors, widened) < _WRONG_FIX
    fitted = _most_likely(errors[right], covariances[right], _gaussian_cost)
    return replace(fitted, scale=_TAILS * fitted.scale)


def _student_cost(squared: Array) -> Array:
    # the scale matrix of a t-distribution is its covariance times (n - 2) / n, n its degrees of freedom
    return np.asarray((_STUDENT_DEGREES + 6) * np.log1p(squared / (_STUDENT_DEGREES - 2)))


def _gaussian_cost(squared: Array) -> Array:
    return squared


def _most_likely(errors: Array, covariances: Array, cost: Callable[[Array], Array]) -> CovarianceCalibration:
    """Coordinate descent over the logarithms of the scale and the two floors."""
    logs = np.array([0.0, np.log(1e-3), np.log(1e-3)])
    lows, highs = np.log([0.3, 1e-5, 1e-5]), np.log([20.0, 10.0, 1.0])
    for _ in range(_COORDINATE_ROUNDS):
        for index in range(len(logs)):

            def along(value: float, index: int = index) -> float:
                moved = np.where(np.arange(len(logs)) == index, value, logs)
                widened = _widened(moved, covariances)
                log_determinants = np.linalg.slogdet(widened)[1]
                return float((log_determinants + cost(squared_mahalanobis_distances(errors, widened))).sum())

            logs[index] = _minimise(along, lows[index], highs[index])
    scale, position, rotation = np.exp(logs)
    return CovarianceCalibration(float(scale), _floor(position, rotation), len(errors))


def _widened(logs: Array, covariances: Array) -> Array:
    scale, position, rotation = np.exp(logs)
    return np.asarray(scale**2 * covariances + np.diag(_floor(position, rotation)))


def _floor(position_m: float, rotation_rad: float) -> Array:
    return np.repeat(np.array([position_m, rotation_rad]) ** 2, 3)


def _minimise(function: Callable[[float], float], low: float, high: float) -> float:
    """Golden-section search for the minimum of a function of one variable."""
    a, b = low, high
    for _ in range(24):
        span = _GOLDEN * (b - a)
        if function(b - span) < function(a + span):
            b = a + span
        else:
            a = b - span
    return (a + b) / 2
