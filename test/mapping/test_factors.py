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

"""Factors of measurements: their errors and derivatives."""

from __future__ import annotations

from dataclasses import replace

import gtsam
import numpy as np
from gtsam.symbol_shorthand import X

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import MeasuredGravity, MeasuredPosition
from vloc_ros.mapping.sfm.anchors import DOWN, Anchors
from vloc_ros.mapping.sfm.factors import frame_factors, to_gtsam


def test_gravity_is_the_angle_of_the_measured_direction_with_its_derivative() -> None:
    pose = Pose.from_rotation_vector([0.3, -1.1, 0.4], [1.0, 2.0, 3.0])
    std_rad, tilt_rad, step = 0.02, 1e-3, 1e-6
    exact = MeasuredGravity(pose.rotation.T @ DOWN, std_rad)
    tilt = Pose.from_rotation_vector([tilt_rad, 0.0, 0.0], np.zeros(3))
    tilted = MeasuredGravity(tilt.rotation @ exact.direction, std_rad)
    values = gtsam.Values()
    values.insert(X(0), to_gtsam(pose))

    def factor(measured: MeasuredGravity) -> gtsam.NoiseModelFactor:
        return frame_factors(Anchors(gravity={0: measured}), pose, width=2.0)[0]

    assert np.linalg.norm(factor(exact).unwhitenedError(values)) < 1e-12
    assert 0.1 * tilt_rad < np.linalg.norm(factor(tilted).unwhitenedError(values)) < 1.001 * tilt_rad
    derivative, _ = factor(exact).linearize(values).jacobian()
    for number, column in enumerate(derivative.T):
        moved = gtsam.Values()
        moved.insert(X(0), to_gtsam(pose).retract(step * np.eye(6)[number]))
        np.testing.assert_allclose(factor(exact).unwhitenedError(moved) / step / std_rad, column, atol=1e-4)


def test_positions_that_share_an_error_count_as_one_and_are_outliers_as_one() -> None:
    """However far off they are, beyond the width of the loss too."""
    origin, values = Pose.identity(), gtsam.Values()
    values.insert(X(0), to_gtsam(origin))
    for off_m in (0.1, 2.0, 50.0):
        own = MeasuredPosition(np.array([off_m, 0.0, 0.0]), np.full(3, 1.5))
        shared = replace(own, shared_by=60.0)
        costs = [
            frame_factors(Anchors(positions={0: one}), origin, width=2.0)[0].error(values) for one in (own, shared)
        ]
        np.testing.assert_allclose(costs[0], 60.0 * costs[1], rtol=1e-9)
