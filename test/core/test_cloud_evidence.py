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

"""Evidence of scans: what is occluded speaks neither for a pose nor against it, what is seen through does."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.clouds.alignment import PreparedCloud
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.cloud_evidence import CloudAgreement, measure_agreement
from vloc_ros.inference.cloud_registration import KissGicpRegistration

_VOXEL_M, _RANGE_M = 0.4, 40.0
_REGISTRATION = KissGicpRegistration(voxel_m=_VOXEL_M)


def _wall(x_m: float, *, low_m: float = -8.0, high_m: float = 8.0) -> Array:
    """(N, 3) points of a wall across the x axis."""
    y, z = np.meshgrid(np.arange(low_m, high_m, 0.1), np.arange(-1.0, 3.0, 0.1))
    return np.column_stack([np.full(y.size, x_m), y.ravel(), z.ravel()])


def _prepare(*walls: Array) -> PreparedCloud:
    return _REGISTRATION.prepare(np.concatenate(walls))


def _agree(scan: PreparedCloud, place: PreparedCloud) -> CloudAgreement:
    """Of two clouds from the same position."""
    identity = Pose.identity()
    return measure_agreement(
        scan,
        place,
        identity,
        _REGISTRATION.match(scan, place, identity),
        _REGISTRATION.match(place, scan, identity),
        voxel_m=_VOXEL_M,
        range_m=_RANGE_M,
    )


def test_a_scan_at_its_own_place_is_confirmed() -> None:
    agreement = _agree(_prepare(_wall(10.0)), _prepare(_wall(10.0)))
    assert (agreement.evidence.confirmed, agreement.evidence.free_space, agreement.overlap) == (1.0, 1.0, 1.0)
    assert agreement.support == 2.0


def test_what_the_other_sensor_cannot_see_does_not_count() -> None:
    scan = _prepare(_wall(10.0), _wall(16.0))  # the wall behind is occluded for the place, as if seen from elsewhere
    agreement = _agree(scan, _prepare(_wall(10.0)))
    assert agreement.overlap < 0.8
    assert agreement.evidence.confirmed > 0.95
    assert agreement.evidence.free_space == 1.0


def test_surfaces_where_the_other_sensor_saw_free_space_count_against_the_pose() -> None:
    scan, place = _prepare(_wall(10.0), _wall(5.0, low_m=-3.0, high_m=0.0)), _prepare(_wall(10.0))
    for agreement in (_agree(scan, place), _agree(place, scan)):
        assert agreement.evidence.free_space < 0.95
        assert agreement.evidence.confirmed < 0.95
        assert agreement.support < 1.9
