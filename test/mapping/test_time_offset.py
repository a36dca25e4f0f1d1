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

"""The offset of two clocks, by how a camera turns."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.mapping.sfm.correspondences import VerifiedPair
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.time_offset import estimate_time_offset
from vloc_ros.storage.trajectories import Trajectory

_COUNT, _STEP_NS = 50, 200_000_000
_NO_MATCHES = np.empty((0, 2), np.uint32)


def _path(stamp_ns: int) -> Pose:
    """Looks to and fro while it moves on."""
    time_s = stamp_ns * 1e-9
    return Pose.from_rotation_vector([0.0, 0.5 * np.sin(1.9 * time_s), 0.1 * np.cos(time_s)], [0.5 * time_s, 0.0, 0.0])


def _geometries(stamps_ns: Array, noise_rad: float) -> dict[Pair, VerifiedPair]:
    rng, found = np.random.default_rng(0), {}
    for i in range(_COUNT):
        for j in range(i + 1, min(i + 4, _COUNT)):
            relative = _path(stamps_ns[i]).inverse() @ _path(stamps_ns[j])
            noise = Pose.from_rotation_vector(rng.normal(0, noise_rad, 3), np.zeros(3))
            found[i, j] = VerifiedPair(_NO_MATCHES, relative @ noise, 0.1)
    return found


@pytest.mark.parametrize("offset_s", [0.03, -0.08, 0.0])
def test_an_offset_is_found(offset_s: float) -> None:
    stamps_ns = 10**9 + _STEP_NS * np.arange(_COUNT)
    found = estimate_time_offset(
        stamps_ns.tolist(), lambda stamp_ns: _path(stamp_ns - round(1e9 * offset_s)), _geometries(stamps_ns, 0.004)
    )
    assert found == pytest.approx(offset_s, abs=0.005)


def test_a_camera_that_never_turns_shows_no_offset() -> None:
    stamps_ns = 10**9 + _STEP_NS * np.arange(_COUNT)
    rng = np.random.default_rng(0)
    straight = {
        pair: VerifiedPair(_NO_MATCHES, Pose.from_rotation_vector(rng.normal(0, 0.004, 3), [1.0, 0.0, 0.0]), 0.1)
        for pair in _geometries(stamps_ns, 0.0)
    }
    found = estimate_time_offset(stamps_ns.tolist(), lambda ns: Pose(np.eye(3), np.array([ns * 1e-9, 0, 0])), straight)
    assert found == 0.0


def test_an_offset_that_is_too_large_is_an_error() -> None:
    stamps_ns = 10**9 + _STEP_NS * np.arange(_COUNT)
    with pytest.raises(MapError, match=r"more than 0\.2 s apart"):
        estimate_time_offset(stamps_ns.tolist(), lambda ns: _path(ns - 350_000_000), _geometries(stamps_ns, 0.002))


def test_noise_of_odometry_that_interpolation_smooths_is_no_offset() -> None:
    stamps_ns, rng = 10**9 + _STEP_NS * np.arange(_COUNT), np.random.default_rng(1)
    noisy = [_path(ns) @ Pose.from_rotation_vector(rng.normal(0, 0.02, 3), np.zeros(3)) for ns in stamps_ns]
    odometry = Trajectory(stamps_ns, tuple(noisy))
    assert estimate_time_offset(stamps_ns.tolist(), odometry.interpolate, _geometries(stamps_ns, 0.002)) == 0.0


def test_without_a_path_or_pairs_nothing_is_estimated() -> None:
    stamps_ns = 10**9 + _STEP_NS * np.arange(_COUNT)
    assert estimate_time_offset(stamps_ns.tolist(), None, _geometries(stamps_ns, 0.0)) is None
    assert estimate_time_offset(stamps_ns.tolist(), _path, {}) is None
