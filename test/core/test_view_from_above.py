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

"""The view from above: which way is up, the axes of the drawing, and which points it leaves out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plane_scene import make_plane_scene

from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.view_from_above import estimate_up_direction, find_outliers, ground_plane, name_axis

# of a camera that looks along y of a map whose z axis points up
UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])


@pytest.fixture
def wall() -> LandmarkMap:
    """A map whose y axis points down, as that of its cameras."""
    return make_plane_scene().landmark_map


def turn_cameras(landmark_map: LandmarkMap, rotations: Array) -> LandmarkMap:
    return replace(landmark_map, keyframes=replace(landmark_map.keyframes, rotations=rotations))


def test_from_above_one_looks_along_the_cameras_vertical(wall: LandmarkMap) -> None:
    np.testing.assert_array_equal(ground_plane(wall), [[1, 0, 0], [0, 0, 1]])
    turned = turn_cameras(wall, UPRIGHT @ wall.keyframes.rotations)
    np.testing.assert_array_equal(ground_plane(turned), [[1, 0, 0], [0, 1, 0]])


def test_a_map_that_no_axis_of_points_up_is_seen_from_above_too(wall: LandmarkMap) -> None:
    tilt = Pose.from_rotation_vector([0.7, 0.0, 0.0], np.zeros(3)).rotation
    plane = ground_plane(turn_cameras(wall, tilt @ wall.keyframes.rotations))
    np.testing.assert_allclose(plane @ plane.T, np.eye(2), atol=1e-12)
    assert np.cross(*plane) @ tilt @ [0, -1, 0] > 0.99
    assert name_axis(plane[1]) == ""


def test_a_frame_that_images_chose_is_tilted(wall: LandmarkMap) -> None:
    tilt = Pose.from_rotation_vector([0.2, 0.0, 0.0], np.zeros(3)).rotation
    held = turn_cameras(wall, tilt @ wall.keyframes.rotations)
    np.testing.assert_array_equal(ground_plane(held), [[1, 0, 0], [0, 0, 1]])
    alone = replace(held, scenes=(replace(held.scene(), frame_is_arbitrary=True),))
    up = np.cross(*ground_plane(alone))
    np.testing.assert_allclose(up, estimate_up_direction(alone), atol=1e-12)
    assert up @ tilt @ [0, -1, 0] > 0.995


def test_up_is_the_cameras_up(wall: LandmarkMap) -> None:
    np.testing.assert_allclose(estimate_up_direction(wall), [0, -1, 0], atol=0.1)


def test_up_is_z_where_cameras_do_not_agree(wall: LandmarkMap) -> None:
    rotations = wall.keyframes.rotations.copy()
    rotations[1::2] = rotations[::2] @ np.diag([-1.0, -1.0, 1.0])
    np.testing.assert_array_equal(estimate_up_direction(turn_cameras(wall, rotations)), [0, 0, 1])


def test_up_is_z_of_a_map_on_earth(wall: LandmarkMap) -> None:
    """A drone's cameras look down: their upper edges point ahead."""
    on_earth = replace(wall, scenes=(replace(wall.scene(), datum=Datum(46.84, -91.99)),))
    np.testing.assert_array_equal(estimate_up_direction(on_earth), [0, 0, 1])


def test_axes_are_named() -> None:
    assert [name_axis(axis) for axis in np.vstack([np.eye(3), -np.eye(3)])] == ["x", "y", "z", "-x", "-y", "-z"]
    assert name_axis(np.array([0.96, 0.28, 0.0])) == ""
    assert name_axis(np.array([0.96, 0.28, 0.0]), least_cosine=0.94) == "x"


def test_points_far_from_all_others_are_outliers(wall: LandmarkMap) -> None:
    points = wall.points.copy()
    points[[5, 9]] = [[900.0, 0.0, 0.0], [0.0, -80.0, 0.0]]
    assert np.flatnonzero(find_outliers(replace(wall, points=points))).tolist() == [5, 9]
