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

"""Odometry drifts by about the given amount, and equal seeds drift equally."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.odometry import CameraDrift, Drift, simulate_camera_odometry, simulate_wheel_odometry
from vloc_ros.simulation.trajectories import drive
from vloc_ros.simulation.world import make_world

DRIVE = drive(make_world("room", 1), 60, 0)
EXACT = Drift(scale=0.0, translation_per_m=0.0, yaw_per_m=0.0, yaw_per_rad=0.0)


def _errors(seed: int, drift: Drift) -> np.ndarray:
    odometry = simulate_wheel_odometry(DRIVE.map_from_base, seed, drift=drift)
    start = DRIVE.map_from_base[0].inverse()
    return np.array([o.distance_to(start @ t) for o, t in zip(odometry, DRIVE.map_from_base, strict=True)])


def test_without_drift_odometry_is_the_ground_truth_from_its_start() -> None:
    assert _errors(0, EXACT).max() < 1e-6


def test_the_drift_grows_from_zero_to_the_given_size() -> None:
    ends = np.array([_errors(seed, Drift())[-1] for seed in range(12)])
    length = sum(a.distance_to(b)[0] for a, b in pairwise(DRIVE.map_from_base))
    assert 0.02 < np.median(ends[:, 0]) < 0.1 * length
    assert np.median(ends[:, 1]) < 0.2
    assert np.allclose(_errors(1, Drift())[0], 0)
    only_yaw = Drift(scale=0.0, translation_per_m=0.0, yaw_per_m=0.02, yaw_per_rad=0.0)
    yaw = np.sqrt(np.mean([_errors(seed, only_yaw)[-1, 1] ** 2 for seed in range(30)]))
    assert 0.6 < yaw / (0.02 * np.sqrt(length)) < 1.5


def test_equal_seeds_drift_equally() -> None:
    first, again, other = (simulate_wheel_odometry(DRIVE.map_from_base, seed)[-1].matrix for seed in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_an_empty_drive_has_empty_odometry() -> None:
    assert simulate_wheel_odometry([], 0) == []
    assert len(simulate_wheel_odometry([Pose.identity()], 0)) == 1


def test_odometry_of_a_camera_keeps_its_heading_level_and_its_scale_constant() -> None:
    turns = [Pose.from_rotation_vector([0.1 * k, 0.0, 0.3 * k], np.zeros(3)).rotation for k in range(20)]
    truth = [Pose(turn, [0.5 * k, 0.1 * k, 0.0]) for k, turn in enumerate(turns)]
    drift = CameraDrift(scale=0.05, yaw_per_m=0.01, tilt=0.0)
    odometry = simulate_camera_odometry(truth, 3, drift=drift)
    lengths = [
        np.linalg.norm([np.subtract(b.translation, a.translation) for a, b in pairwise(poses)], axis=1)
        for poses in (odometry, truth)
    ]
    factors = lengths[0] / lengths[1]
    np.testing.assert_allclose(factors, factors[0])
    assert 0.001 < abs(factors[0] - 1.0) < 0.2
    turned = [found.rotation @ true.rotation.T for found, true in zip(odometry, truth, strict=True)]
    np.testing.assert_allclose([one[2] for one in turned], np.tile([0.0, 0.0, 1.0], (20, 1)), atol=1e-12)
    assert np.ptp([np.arctan2(one[1, 0], one[0, 0]) for one in turned]) > 1e-3
