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

"""Pose graph optimisation: camera poses that agree with measured motions and with what pairs of images show.

Two images tell how one camera is turned to the other and in which direction it lies, not how far (Nistér 2004);
measured motions tell how far.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import gtsam
import numpy as np
from gtsam.symbol_shorthand import X

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.correspondences import LEAST_PARALLAX_RAD, VerifiedPair
from vloc_ros.mapping.sfm.factors import frame_factors, from_gtsam, relative_factor, robust_noise, to_gtsam
from vloc_ros.mapping.sfm.measurements import RelativePose
from vloc_ros.mapping.sfm.pairs import Pair

# least standard deviations of a relative pose, however many matches it has: of rotation and of direction, radians
_LEAST_STD_RAD, _LEAST_DIRECTION_STD_RAD = 0.003, 0.02
_MATCH_STD_PX = 3.0
# cameras nearer to each other have no direction
_LEAST_BASELINE_M = 0.001
# The outlier threshold comes down from wide to narrow, as in graduated non-convexity (Yang et al. 2020): right loop
# closures are far off before drift is corrected.
_WIDTHS = (30.0, 10.0, 3.0, 1.5)
_MAX_ITERATIONS = 30


def optimize_poses(
    poses: Sequence[Pose],
    motions: Sequence[RelativePose],
    geometries: Mapping[Pair, VerifiedPair],
    focal_lengths_px: Array,
    anchors: Anchors,
) -> tuple[list[Pose], list[Pair]]:
    """The poses that agree best with the measurements, and the pairs that agree with them.

    Args:
        poses: N first guesses.
        motions: measured; they connect all images.
        geometries: of pairs of images.
        focal_lengths_px: (N,) of each image's camera.
        anchors: in the frame of the poses.
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
        for factor in frame_factors(anchors, poses[0], width):
            graph.add(factor)
        for motion in motions:
            graph.add(relative_factor(motion, width))
        for constraint in constraints:
            graph.add(constraint.factor(robust_noise(constraint.std, width)))
        parameters = gtsam.LevenbergMarquardtParams()
        parameters.setMaxIterations(_MAX_ITERATIONS)
        values = gtsam.LevenbergMarquardtOptimizer(graph, values, parameters).optimize()
    agreeing = [one.pair for one in constraints if one.mean_squared_error(values) < _WIDTHS[-1] ** 2]
    return [from_gtsam(values.atPose3(X(number))) for number in range(len(poses))], agreeing


def _shows_direction(poses: Sequence[Pose], pair: Pair, found: VerifiedPair) -> bool:
    baseline_m = np.linalg.norm(poses[pair[0]].translation - poses[pair[1]].translation)
    return bool(found.parallax_rad > LEAST_PARALLAX_RAD and baseline_m > _LEAST_BASELINE_M)


@dataclass(frozen=True, slots=True, eq=False)
class _Constraint:
    """The relative pose of a pair of images, with its (5,) standard deviations."""

    pair: Pair
    found: VerifiedPair
    std: Array

    def factor(self, noise: gtsam.noiseModel.Base) -> gtsam.EssentialMatrixConstraint:
        (first, second), pose = self.pair, self.found.first_from_second
        essential = gtsam.EssentialMatrix(gtsam.Rot3(pose.rotation), gtsam.Unit3(pose.translation))
        return gtsam.EssentialMatrixConstraint(X(first), X(second), essential, noise)

    def mean_squared_error(self, values: gtsam.Values) -> float:
        """In standard deviations."""
        factor = self.factor(gtsam.noiseModel.Diagonal.Sigmas(self.std))
        return float(2.0 * factor.error(values) / len(self.std))


def _pair_std(found: VerifiedPair, focal_px: float) -> Array:
    """(5,) standard deviations of rotation and direction.

    Errors of matches are not independent: they average out by the fourth root of their number.
    """
    error_rad = _MATCH_STD_PX / focal_px / len(found.matches) ** 0.25
    rotation, direction = np.hypot(_LEAST_STD_RAD, error_rad), error_rad / found.parallax_rad
    return np.array([*[rotation] * 3, *[np.hypot(_LEAST_DIRECTION_STD_RAD, direction)] * 2])
