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

"""Registration of scans of a simulated apartment: from a guess, and without one."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.inference.cloud_registration import KissGicpRegistration
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.world import make_world

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")


@pytest.fixture(scope="module")
def drive() -> LidarDrive:
    """Scans of an apartment, some metres apart."""
    return drive_with_lidar(make_world("apartment", 7), spacing_m=0.3, seed=3, longest_m=18.0)


def test_a_scan_is_aligned_from_a_guess_and_without(drive: LidarDrive) -> None:
    registration = KissGicpRegistration(voxel_m=0.1)
    registration.check_installed()
    first, second = drive.map_from_lidar[0], drive.map_from_lidar[1]
    target, source = (registration.prepare(drive.scan(k)) for k in (0, 1))
    truth = first.inverse() @ second
    guess = truth @ Pose.from_rotation_vector([0.0, 0.0, 0.06], [0.3, -0.2, 0.05])
    for start in (guess, registration.align_globally(source, target)):
        assert start is not None
        near, overlap = registration.approach(source, target, start)
        assert overlap > 0.6
        metres, radians = registration.refine(source, target, near).distance_to(truth)
        assert metres < 0.03
        assert radians < np.radians(0.3)
    matches = registration.match(source, target, truth)
    assert np.median(matches.distances) < 0.2
    assert np.median(np.abs(matches.residuals)) < 0.03
    np.testing.assert_allclose(np.linalg.norm(matches.normals, axis=1), 1.0, atol=1e-6)


def _floor(spacing_m: float) -> Array:
    """A level floor 1 m below the sensor."""
    x = np.arange(-4.0, 4.0, spacing_m)
    return np.stack(np.broadcast_arrays(x[:, None], x, -1.0), axis=-1).reshape(-1, 3)


def test_clouds_without_upright_surfaces_are_not_aligned_globally(drive: LidarDrive) -> None:
    """KISS-Matcher ends the process where it finds no descriptors in a cloud."""
    registration = KissGicpRegistration(voxel_m=0.1)
    good = registration.prepare(drive.scan(0))
    scattered = np.random.default_rng(0).normal(0.0, 20.0, (2000, 3))
    for points in (_floor(0.05), _floor(0.05)[:1], scattered):
        empty = registration.prepare(points)
        for source, target in ((empty, good), (good, empty), (empty, empty)):
            assert registration.align_globally(source, target) is None
            pose, overlap = registration.approach(source, target, Pose.identity())
            assert np.isfinite(registration.refine(source, target, pose).matrix).all()
            assert 0.0 <= overlap <= 1.0
