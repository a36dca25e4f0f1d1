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

"""Streets: seasons, parked cars, drives, flights and scans of them."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.simulation.driving import CAMERA_HEIGHT_M, drive_route, fly_over
from vloc_ros.simulation.lidar import LidarPattern, Rosette, Spinning, scan_world
from vloc_ros.simulation.render import render_depth, render_rectangle_indices
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import in_season, with_other_cars
from vloc_ros.simulation.world import make_world

_DOWN = Camera("PINHOLE", 64, 48, (48.0, 48.0, 32.0, 24.0))


@pytest.fixture(scope="module")
def street() -> World:
    return make_world("street", 3)


def _patterns(world: World) -> set[str]:
    return {one.texture.pattern for one in world.rectangles}


def test_seasons_change_leaves_and_ground_and_nothing_else(street: World) -> None:
    autumn, winter = in_season(street, "autumn"), in_season(street, "winter")
    assert "autumn" in _patterns(autumn)
    assert "foliage" not in _patterns(autumn) | _patterns(winter)
    assert "snow" in _patterns(winter)
    assert [one.origin for one in autumn.rectangles] == [one.origin for one in street.rectangles]
    assert in_season(street, "summer") is street
    with pytest.raises(InputError, match=r"unknown season 'monsoon'.*winter"):
        in_season(street, "monsoon")


def test_other_cars_are_parked_on_another_day(street: World) -> None:
    other = with_other_cars(street, 1)
    cars = [{r.origin for r in world.rectangles if r.texture.pattern == "car"} for world in (street, other)]
    houses = [{r.origin for r in world.rectangles if r.texture.pattern == "facade"} for world in (street, other)]
    assert not cars[0] & cars[1]
    assert houses[0] == houses[1]


def test_a_drive_keeps_to_the_right_in_both_directions() -> None:
    world = make_world("town", 3)
    route = [(0.0, 0.0), (60.0, 0.0), (60.0, 60.0), (60.0, 0.0)]
    poses = drive_route(world, route, spacing_m=1.0, seed=0)
    position, ahead = np.array([p.translation for p in poses]), np.array([p.rotation[:, 2] for p in poses])
    assert position[:, 2] == pytest.approx(CAMERA_HEIGHT_M)
    assert np.linalg.norm(np.diff(position, axis=0), axis=1).max() < 1.3
    north, south = (np.abs(ahead[:, 1] - sign) < 0.05 for sign in (1, -1))
    assert position[north, 0] == pytest.approx(61.1, abs=0.3)
    assert position[south, 0] == pytest.approx(58.9, abs=0.3)
    # the camera is level, within the pitch of its springs
    assert np.abs(ahead[:, 2]).max() < 0.02


def test_worlds_without_roads_are_refused() -> None:
    with pytest.raises(InputError, match="has no roads"):
        drive_route(make_world("room", 0), [(0, 0), (1, 0)], spacing_m=1.0, seed=0)


def test_a_flight_sees_streets_and_roofs_from_above(street: World) -> None:
    pose = fly_over(street, height_m=40.0, spacing_m=20.0)[3]
    seen = {street.rectangles[k].texture.pattern for k in np.unique(render_rectangle_indices(street, _DOWN, pose))}
    assert {"asphalt", "roof"} <= seen
    assert render_depth(street, _DOWN, pose)[24, 32] == pytest.approx(40.0, abs=1.6)


@pytest.mark.parametrize("pattern", [Spinning(rings=16, columns=360), Rosette(points=3000)])
def test_a_scan_meets_what_a_camera_sees(street: World, pattern: LidarPattern) -> None:
    map_from_lidar = Pose.from_rotation_vector([0.02, 0.01, 0.3], [30.0, -1.0, 1.8])
    scan = scan_world(street, map_from_lidar, pattern, noise_m=0.0)
    assert len(scan.points) > 0.3 * len(pattern.directions(0))
    assert scan.intensity.min() > 0
    camera = Camera("PINHOLE", 400, 300, (200.0, 200.0, 200.0, 150.0))
    lidar_from_camera = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))
    depth = render_depth(street, camera, map_from_lidar @ lidar_from_camera)
    points = lidar_from_camera.inverse().apply(scan.points)
    points = points[points[:, 2] > 1.0]
    pixels = camera.project(points)
    inside = camera.contains(pixels)
    column, row = np.minimum(np.floor(pixels[inside]).astype(int), (399, 299)).T
    # pixels at edges and on the road far ahead hold another depth than the beam through them
    error = np.abs(depth[row, column] / points[inside, 2] - 1.0)
    assert np.mean(error < 0.05) > 0.9
    assert np.median(error) < 0.01


def test_a_rosette_does_not_repeat_and_rings_do(street: World) -> None:
    assert np.array_equal(Spinning().directions(0), Spinning().directions(1))
    one, other = (Rosette(points=500).directions(scan) for scan in (0, 1))
    assert not np.allclose(one, other, atol=0.01)
    assert np.linalg.norm(one, axis=1) == pytest.approx(1.0)


def test_the_sky_and_what_is_far_give_no_echo(street: World) -> None:
    near = scan_world(street, Pose(np.eye(3), np.array([30.0, 0.0, 1.8])), Spinning(16, -0.3, 0.6, 200), range_m=15.0)
    assert np.linalg.norm(near.points, axis=1).max() < 15.2
    above = Pose(np.eye(3), np.array([30.0, 0.0, 30.0]))
    up = scan_world(street, above, Spinning(4, 0.3, 0.6, 100), range_m=1e6)
    assert not len(up.points)
