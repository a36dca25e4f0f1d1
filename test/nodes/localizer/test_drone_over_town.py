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

"""A drone without GNSS over a simulated town: it starts on an old orthophoto, and flies to where landmarks are."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from drone import BASE_FROM_CAMERA, Drone
from ros_session import Ros

from training.data.aerial_views import DRONE, bend, hover, photograph_town
from vloc_msgs.msg import LocalizationStatus
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.aerial_tiles import add_aerial_tiles
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.sfm.scale import GivenPoses
from vloc_ros.nodes.rclpy_support.conversion import pose_of
from vloc_ros.simulation.lighting import CLEAR_DAY
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import write_map

pytestmark = pytest.mark.slow
SEED, STREET_Y_M = 88001, 60.0
DATUM = Datum(46.84, -91.99, 200.0, position_std_m=1.0, altitude_std_m=1.0)
ON_LANDMARKS = replace(DATUM, position_std_m=0.05, altitude_std_m=0.05)


def make_street() -> World:
    """The middle street of a town with what stands along it, a third of the whole."""
    town = make_world("town", SEED)
    roads = tuple(road for road in town.roads if road.start[1] == road.end[1] == STREET_Y_M)
    middles_y = ((one.origin + (np.add(one.edge_u, one.edge_v)) / 2)[1] for one in town.rectangles)
    near = [
        one
        for one, y in zip(town.rectangles, middles_y, strict=True)
        if abs(y - STREET_Y_M) < 45.0 or one.texture.pattern == "grass"
    ]
    return replace(town, rectangles=tuple(near), roads=roads)


def see(world: World, pose: Pose, seed: int) -> Array:
    return render(world, DRONE, pose, lighting=CLEAR_DAY, seed=seed)


def make_tiles(world: World) -> LandmarkMap:
    """Of an orthophoto that is bent as mosaics are."""
    ground = bend(photograph_town(world, seed=SEED), SEED)
    return make_aerial_map([ground], name="town", datum=DATUM, ground_sizes_m=(0.2, 0.4))


def make_landmarks(world: World) -> LandmarkMap:
    """Of a junction, from 30 m above it."""
    places = [(x, y) for y in (52.0, 64.0) for x in (44.0, 54.0, 64.0, 74.0)]
    poses = [Pose(np.diag([1.0, -1.0, -1.0]), np.array([*place, 30.0])) for place in places]
    images = [
        PosedImage(f"{k}.png", partial(see, world, pose, k), DRONE, pose, stamp_ns=k * 10**9)
        for k, pose in enumerate(poses)
    ]
    built = build_map(images, name="junction", config=MappingConfig(), scale=GivenPoses())
    return replace(built, scenes=(replace(built.scene(), datum=ON_LANDMARKS),))


def test_a_drone_over_a_town_starts_from_above(ros: Ros, tmp_path: Path) -> None:
    world = make_street()
    write_map(add_aerial_tiles(make_landmarks(world), make_tiles(world)), tmp_path / "town")
    today, rng = with_other_cars(world, 3), np.random.default_rng(5)
    drone = Drone(ros, camera=DRONE, map=str(tmp_path / "town"), transform_timeout_s=2.0)
    drone.activate()
    found = list[tuple[LocalizationStatus, float]]()
    for step, x in enumerate(range(0, 61, 6)):
        pose = hover(rng, np.array([float(x), 58.0, 45.0]), tilt_rad=0.1)
        status = drone.status_of(drone.send(pose, image=see(today, pose, 100 + step)))
        expected = pose @ BASE_FROM_CAMERA.inverse()
        found.append((status, pose_of(status.pose.pose).distance_to(expected)[0] if status.status == 0 else np.nan))
    assert [status.status for status, _ in found[:2]] == [LocalizationStatus.HELD, LocalizationStatus.OK]
    above = [off_m for status, off_m in found if status.candidate == "retrieval/aerial" and np.isfinite(off_m)]
    below = [off_m for status, off_m in found if status.candidate in ("prior", "whole_map") and np.isfinite(off_m)]
    assert len(above) >= 3
    assert max(above) < 5.0
    assert len(below) >= 4
    assert max(below) < 0.5
    assert found[-1][0].candidate in ("prior", "whole_map")
