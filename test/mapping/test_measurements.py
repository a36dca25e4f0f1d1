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

"""What measured poses are good for: their noise, and how a map lies in their frame."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import VerifiedPair
from vloc_ros.mapping.sfm.measurements import (
    estimate_noise,
    frame_variances,
    measured_motions,
    odometry_scale_variance,
    possible_pairs,
    rotation_bias,
)
from vloc_ros.simulation.odometry import Drift, simulate_wheel_odometry

ROW = [Pose(np.eye(3), np.array([0.2 * k, 0.0, 0.0])) for k in range(200)]


def _noisy(std_m: float, std_rad: float) -> list[Pose]:
    rng = np.random.default_rng(3)
    return [
        Pose.from_rotation_vector(rng.normal(0, std_rad, 3), pose.translation + rng.normal(0, std_m, 3)) for pose in ROW
    ]


def _moved(offset: Array) -> list[Pose]:
    return [Pose(pose.rotation, pose.translation + offset) for pose in ROW]


def test_noise_is_told_from_a_shift() -> None:
    assert estimate_noise(_noisy(0.05, 0.01), ROW) == pytest.approx([0.05] * 3 + [0.01] * 3, rel=0.25)
    assert estimate_noise(_moved(np.array([1.0, 2.0, 3.0])), ROW) == pytest.approx(np.zeros(6), abs=1e-9)


def test_jitter_along_a_track_is_told_from_that_beside_it() -> None:
    rng = np.random.default_rng(3)
    turned = Pose.from_rotation_vector([0.4, 1.2, -0.3], np.zeros(3)).rotation
    track = [Pose(turned, pose.translation) for pose in ROW]
    jittering = [Pose(turned, pose.translation + rng.normal(0, 0.05) * np.eye(3)[0]) for pose in track]
    noise = estimate_noise(jittering, track)
    assert noise == pytest.approx([0.05, 0, 0, 0, 0, 0], abs=0.01)
    # along the camera's axes it is that much in all
    motion_std = measured_motions(track, noise)[0].std - measured_motions(track)[0].std
    assert (motion_std[:3] > 0.01).all()
    assert motion_std[3:] == pytest.approx(np.zeros(3), abs=1e-9)


def test_rotations_that_are_off_alike_are_no_noise() -> None:
    turned = [pose @ Pose.from_rotation_vector([0.0, 0.02, 0.0], np.zeros(3)) for pose in ROW]
    assert rotation_bias(turned, ROW) == pytest.approx([0, 0, 0, 0, 0.02, 0], abs=1e-9)
    assert estimate_noise(turned, ROW) == pytest.approx(np.zeros(6), abs=0.005)


def test_a_map_that_lies_beside_its_measured_poses_is_uncertain_by_that() -> None:
    variances = frame_variances(ROW, _moved(np.array([0.05, 0.0, 0.02])))
    assert np.sqrt(variances) == pytest.approx([0.05, 0.0, 0.02, 0.0, 0.0, 0.0], abs=1e-9)


def test_noise_of_measured_poses_averages_out() -> None:
    variances = frame_variances(_noisy(0.05, 0.01), ROW)
    assert (np.sqrt(variances[:3]) < 0.025).all()
    assert (variances > 0).all()


def test_odometry_may_be_off_in_scale_by_as_much_as_over_a_metre() -> None:
    truth = [Pose.from_rotation_vector([0, 0, 0.02 * k], [np.sin(0.02 * k), -np.cos(0.02 * k), 0]) for k in range(1000)]
    drifts = [simulate_wheel_odometry(truth, seed, drift=Drift(0.0, 0.03, 0.0, 0.0)) for seed in range(4)]
    found = np.mean([odometry_scale_variance(one, truth) for one in drifts])
    assert np.sqrt(found) == pytest.approx(0.03, rel=0.2)
    assert odometry_scale_variance(truth, truth) == pytest.approx(0.0, abs=1e-12)
    assert odometry_scale_variance(truth[:1] * 3, truth[:1] * 3) == 0.0


def test_noise_makes_motions_uncertain() -> None:
    noise = np.array([0.1] * 3 + [0.02] * 3)
    exact, noisy = measured_motions(ROW)[0].std, measured_motions(ROW, noise)[0].std
    np.testing.assert_allclose(noisy, np.hypot(exact, np.sqrt(2.0) * noise))


@pytest.mark.parametrize(
    ("drifting", "parallax_rad", "direction", "turn_rad", "possible"),
    [
        (True, 0.1, (1.0, 0.0, 0.0), 0.0, True),
        (True, 0.1, (0.0, 0.0, 1.0), 0.0, False),
        (True, 0.1, (1.0, 0.0, 0.0), 1.2, False),
        # without parallax the direction means nothing
        (False, 0.002, (0.0, 0.0, 1.0), 0.0, True),
        (False, 0.1, (0.0, 0.0, 1.0), 0.0, False),
        (False, 0.1, (1.0, 0.0, 0.0), 0.3, False),
    ],
)
def test_a_pair_is_possible_where_measured_poses_allow_it(
    drifting: bool, parallax_rad: float, direction: tuple[float, float, float], turn_rad: float, possible: bool
) -> None:
    """Images 12 m apart of a straight trajectory of 40 m."""
    pose = Pose.from_rotation_vector([0.0, turn_rad, 0.0], np.array(direction))
    geometries = {(0, 60): VerifiedPair(np.zeros((30, 2), np.uint32), pose, parallax_rad)}
    assert (possible_pairs(geometries, ROW, drifting=drifting) == [(0, 60)]) is possible


def test_of_a_rig_the_next_sets_tell_how_far_away_a_view_is() -> None:
    """Eight cameras: those of the next set are further on in the sequence than five images."""
    row = [pose for pose in ROW[:30] for _ in range(8)]
    sets = np.repeat(np.arange(30), 8)

    def found(sets_apart: int, parallax_rad: float) -> VerifiedPair:
        along = Pose(np.eye(3), np.array([0.2 * sets_apart, 0.0, 0.0]))
        return VerifiedPair(np.zeros((30, 2), np.uint32), along, parallax_rad)

    # what both show is 2 m away; from 5.8 m apart it has a parallax that only something far away could have
    geometries = {(0, 8): found(1, 0.1), (224, 232): found(1, 0.1), (0, 232): found(29, 0.1)}
    assert possible_pairs(geometries, row, drifting=True, sets=sets) == [(0, 8), (224, 232)]
