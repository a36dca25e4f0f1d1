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

"""How clouds agree: rays that went through surfaces, directions that surfaces leave open, the decision's evidence."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.clouds.alignment import find_open_direction, find_visibility
from vloc_ros.core.clouds.point_cloud import PointCloud, deskew, downsample, level_ground_share
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose


def _wall(distance_m: float) -> Array:
    y, z = np.meshgrid(np.linspace(-3, 3, 120), np.linspace(-1, 2, 60))
    return np.column_stack([np.full(y.size, distance_m), y.ravel(), z.ravel()])


def test_a_wall_that_is_not_there_is_seen_through() -> None:
    seen = _wall(10.0)
    before = find_visibility(_wall(6.0), seen, voxel_m=0.4)
    assert before.seen_through.mean() > 0.3  # it reaches further to the sides
    assert not (before.in_view | before.occluded).any()
    same = find_visibility(_wall(10.1), seen, voxel_m=0.4)
    assert same.in_view.all()
    behind = find_visibility(_wall(14.0), seen, voxel_m=0.4)
    assert behind.occluded.all()
    assert not behind.seen_through.any()
    # what is in no direction of a point is not known
    elsewhere = find_visibility(-_wall(6.0), seen, voxel_m=0.4)
    assert not (elsewhere.seen_through | elsewhere.in_view | elsewhere.occluded).any()


@given(yaw=st.floats(-3.1, 3.1))
def test_a_corridor_is_open_along_its_axis(yaw: float) -> None:
    turn = Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3))
    walls_and_floor = np.repeat([[0.0, 1.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]], 50, axis=0)
    held, direction = find_open_direction(turn.apply(walls_and_floor))
    assert held < 1e-9
    assert abs(direction @ turn.rotation[:, 0]) == pytest.approx(1.0)
    held, _ = find_open_direction(np.concatenate([walls_and_floor, np.repeat([[1.0, 0.0, 0.0]], 50, axis=0)]))
    assert held > 0.2


def test_a_scan_is_undistorted_by_the_motion_of_its_sensor() -> None:
    """A sensor that drives at 10 m/s and turns at 1 rad/s while it scans a fixed cloud for 100 ms."""
    rng = np.random.default_rng(0)
    world, offsets = rng.uniform(-20, 20, (500, 3)), np.linspace(-50_000_000, 50_000_000, 500).astype(np.int64)

    def fixed_from_sensor(stamp_ns: int) -> Pose:
        seconds = stamp_ns * 1e-9
        return Pose.from_rotation_vector([0.0, 0.0, seconds], [10.0 * seconds, 0.0, 0.0])

    stamp_ns = 3_000_000_000
    pairs = zip(world, offsets, strict=True)
    measured = [fixed_from_sensor(stamp_ns + int(t)).inverse().apply(point[None])[0] for point, t in pairs]
    cloud = PointCloud(np.array(measured, np.float32), stamp_ns=stamp_ns, offsets_ns=offsets)
    expected = fixed_from_sensor(stamp_ns).inverse().apply(world)
    assert np.abs(cloud.points - expected).max() > 0.5
    undistorted = deskew(cloud, fixed_from_sensor)
    assert np.abs(undistorted.points - expected).max() < 0.03  # a slice of 1 ms is moved at once
    assert undistorted.offsets_ns is None
    with pytest.raises(InputError, match="odometry does not cover"):
        deskew(cloud, lambda at_ns: fixed_from_sensor(at_ns) if at_ns < stamp_ns else None)
    still = PointCloud(cloud.points)
    assert deskew(still, lambda _: None) is still


def test_no_pose_is_needed_after_the_last_point_or_before_the_first() -> None:
    asked: list[int] = []
    offsets = np.array([-400_000, 0, 30_700_000])

    def fixed_from_sensor(stamp_ns: int) -> Pose:
        asked.append(stamp_ns)
        return Pose.identity()

    deskew(PointCloud(np.ones((3, 3), np.float32), stamp_ns=10**9, offsets_ns=offsets), fixed_from_sensor)
    assert (min(asked), max(asked)) == (10**9, 10**9 + 30_700_000)


def test_voxels_have_the_mean_of_their_points() -> None:
    points = np.array([[0.1, 0.1, 0.1], [0.3, 0.3, 0.3], [-0.1, 0.1, 0.1]], np.float32)
    found = downsample(points, 0.5)
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], [[-0.1, 0.1, 0.1], [0.2, 0.2, 0.2]], atol=1e-6)
    assert len(downsample(np.random.default_rng(0).uniform(-50, 50, (2_000_000, 3)).astype(np.float32), 5.0)) == 8000


def test_ground_that_is_not_level_tells_a_wrong_frame() -> None:
    rng = np.random.default_rng(0)
    ground = np.column_stack([rng.uniform(-20, 20, (600, 2)), rng.normal(-1.7, 0.02, 600)])
    cloud = np.concatenate([ground, rng.uniform(-20, 20, (400, 3))]).astype(np.float32)
    assert level_ground_share(cloud) > 0.5
    optical = cloud[:, [1, 2, 0]] * np.float32([-1, -1, 1])
    assert level_ground_share(optical) < 0.05
