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

"""What makes simulated recordings rough: noise of scans, moving objects, things that changed, late clocks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.changes import with_other_things
from vloc_ros.simulation.lidar import LidarScan
from vloc_ros.simulation.lidar_noise import ScanErrors, degrade_scan, without_glass
from vloc_ros.simulation.moving_objects import MovingObject, draw_moving_objects, path_of, place_moving_objects
from vloc_ros.simulation.odometry import shift_clock
from vloc_ros.simulation.render import render_radiance
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world

PATH = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])


def _scan(distances: np.ndarray, brightness: int = 200) -> LidarScan:
    azimuth = np.radians(0.4) * np.arange(len(distances))
    beams = np.column_stack([np.cos(azimuth), np.sin(azimuth), np.zeros(len(distances))])
    return LidarScan(
        (beams * distances[:, None]).astype(np.float32), np.full(len(distances), brightness, dtype=np.uint8)
    )


def test_distances_get_noise_along_their_beams_that_grows_with_the_square() -> None:
    rng = np.random.default_rng(0)
    for distance_m, std_m in ((1.0, 0.011), (10.0, 0.11)):
        scan = _scan(np.full(800, distance_m))
        points = degrade_scan(scan, ScanErrors(0.01, range_std_per_m=0.001), range_m=40.0, rng=rng)
        off = np.linalg.norm(points, axis=1) - distance_m
        assert off.std() == pytest.approx(std_m, rel=0.1)
        assert abs(np.cross(points / np.linalg.norm(points, axis=1)[:, None], scan.points / distance_m)).max() < 1e-5


def test_mixed_pixels_lie_between_the_surfaces_of_an_edge() -> None:
    distances = np.where(np.arange(400) % 20 < 10, 2.0, 5.0)
    points = degrade_scan(_scan(distances), ScanErrors(0.0, mixed=1.0), range_m=40.0, rng=np.random.default_rng(0))
    found = np.linalg.norm(points, axis=1)
    between = (found > 2.01) & (found < 4.99)
    assert 0.8 * 39 < between.sum() <= 39


def test_dark_surfaces_far_away_and_some_returns_are_lost() -> None:
    rng, errors = np.random.default_rng(0), ScanErrors(0.0, dark=0.4)
    lost = [len(degrade_scan(_scan(np.full(50, at), 40), errors, range_m=40.0, rng=rng)) for at in (10.0, 39.0)]
    assert lost == [50, 0]
    some = degrade_scan(_scan(np.full(1000, 5.0)), ScanErrors(0.0, drop_out=0.3), range_m=40.0, rng=rng)
    assert 640 < len(some) < 760
    nothing = LidarScan(np.zeros((0, 3), np.float32), np.zeros(0, np.uint8))
    assert degrade_scan(nothing, errors, range_m=40.0, rng=rng).shape == (0, 3)


def test_panes_of_glass_return_nothing() -> None:
    street = make_world("street", 3)
    assert any(one.texture.pattern == "glass" for one in street.rectangles)
    assert not any(one.texture.pattern == "glass" for one in without_glass(street).rectangles)


def _object(**values: Any) -> MovingObject:
    (one,) = draw_moving_objects(np.random.default_rng(0), 1, outdoors=True, at_m=0.0, speed_m_s=5.0)
    return replace(one, **values)


def _middle(one: MovingObject, time_s: float) -> np.ndarray:
    faces = place_moving_objects([one], PATH, time_s=time_s)
    corners = [np.array(face.origin) + (np.array(face.edge_u) + face.edge_v) / 2 for face in faces[:4]]
    return np.asarray(np.mean(corners, axis=0)[:2])


def test_objects_follow_the_path_and_leave_it_at_its_end() -> None:
    one = _object(start_m=2.0, speed_m_s=3.0, left_m=1.0)
    np.testing.assert_allclose(_middle(one, 0.0), [2.0, 1.0], atol=1e-6)
    np.testing.assert_allclose(_middle(one, 4.0), [9.0, 4.0], atol=1e-6)
    assert place_moving_objects([one], PATH, time_s=7.0) == []
    assert len(path_of([Pose(np.eye(3), [x, 0.0, 1.0]) for x in (0.0, 0.0, 1.0)])) == 2


def test_a_moving_object_hides_what_is_behind_it_and_is_hidden_itself() -> None:
    room, camera = make_world("room", 5), Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
    pose = walk(room, 10, 0)[3]
    place = pose.apply([0.0, 0.0, 1.5])
    surfaces = place_moving_objects(
        [_object(start_m=1.0, speed_m_s=0.0, left_m=0.0, size=(0.3, 0.5, 1.7))],
        place[:2] + np.array([[-1.0, 0.0], [1.0, 0.0]]),
        time_s=0,
    )
    before = replace(room, rectangles=tuple(surfaces))
    plain, hidden = (render_radiance(room, camera, pose, moving=moving) for moving in (None, before))
    assert (plain != hidden).any(axis=2).mean() > 0.1
    np.testing.assert_array_equal(render_radiance(room, camera, pose, moving=room), plain)
    np.testing.assert_array_equal(render_radiance(before, camera, pose, moving=room), hidden)


def test_things_that_changed_stay_clear_of_the_path() -> None:
    room = make_world("room", 5)
    path = path_of(walk(room, 20, 0))
    changed = with_other_things(room, path, 3, seed=1)
    added = changed.rectangles[len(room.rectangles) :]
    assert added
    assert with_other_things(room, path, 3, seed=1).rectangles == changed.rectangles
    corners = np.array([np.array(one.origin)[:2] for one in added])
    assert np.linalg.norm(corners[:, None] - path, axis=2).min() > 0.3


def test_poses_by_a_late_clock_lie_between_those_of_the_images() -> None:
    poses = [Pose.from_rotation_vector([0.0, 0.0, 0.1 * k], [k, 0.0, 0.0]) for k in range(4)]
    late, early = shift_clock(poses, 0.5), shift_clock(poses, -0.5)
    np.testing.assert_allclose(late[1].rotation_vector, [0, 0, 0.15], atol=1e-9)
    assert 1.4 < late[1].translation[0] < 1.6
    assert late[1].distance_to(early[2])[0] < 1e-9
    assert late[3].distance_to(poses[3])[0] < 1e-9
    assert early[0].distance_to(poses[0])[0] < 1e-9
