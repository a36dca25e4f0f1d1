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

"""Views of simulated towns from above: orthophotos to make maps of, and drone images to query them with."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.ground_view import AerialQuery
from vloc_ros.core.query import View
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.simulation.lighting import CLEAR_DAY, NIGHT
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import in_season, with_other_cars

CONDITIONS = ("day", "autumn", "winter", "night", "no altitude")
NO_ALTITUDE = CONDITIONS.index("no altitude")
GROUND_SIZE_M = 0.2
DRONE = Camera("PINHOLE", 640, 480, (500.0, 500.0, 320.0, 240.0))
_PLANE_M = 400.0
_LOW_M, _HIGH_M, _CROP_LOW_M = 40.0, 90.0, 60.0
# of a drone that hovers, and of what its IMU and barometer say
_TILT_RAD, _GRAVITY_STD_RAD, _ALTITUDE_STD = 0.12, 0.015, 0.05
_LIGHT = replace(CLEAR_DAY, vignetting=0.0)
# pixels by which mosaics are bent at most, and metres after which they are bent another way
_MOST_BENT_PX, _BENT_EACH_M = 6.0, 30.0
_DOWN = np.array([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]])


@dataclass(frozen=True, slots=True, eq=False)
class DroneImage:
    """An image from above with its truth.

    Attributes:
        image: (480, 640, 3) uint8.
        map_from_camera: the true pose.
        down: (3,) what the IMU says of gravity.
        altitude_m: what the barometer says.
    """

    image: Array
    map_from_camera: Pose
    down: Array
    altitude_m: float

    def query(self, *, altitude: bool = True) -> AerialQuery:
        """What is known of it."""
        known = self.altitude_m if altitude else None
        view = View(self.image, DRONE)
        return AerialQuery(view, self.down, 2 * _GRAVITY_STD_RAD, known, _ALTITUDE_STD)

    def move(self, x_m: float) -> DroneImage:
        """The same image of a town that lies elsewhere, by metres along x."""
        pose = self.map_from_camera
        return replace(self, map_from_camera=Pose(pose.rotation, pose.translation + np.array([x_m, 0.0, 0.0])))


def photograph_town(world: World, *, seed: int, ground_size_m: float = GROUND_SIZE_M) -> GroundImage:
    """An orthophoto of a whole town, as from an aeroplane."""
    ends = np.array([end for road in world.roads for end in (road.start, road.end)])
    low, high = ends.min(axis=0) - 30.0, ends.max(axis=0) + 30.0
    width, height = (round(size / ground_size_m) for size in high - low)
    focal = _PLANE_M / ground_size_m
    camera = Camera("PINHOLE", width, height, (focal, focal, width / 2, height / 2))
    image = render(world, camera, Pose(_DOWN, np.array([*(low + high) / 2, _PLANE_M])), lighting=_LIGHT, seed=seed)
    return GroundImage(image, np.ones((height, width), bool), float(low[0]), float(high[1]), ground_size_m)


def bend(ground: GroundImage, seed: int) -> GroundImage:
    """A map as mosaics of photographs are: where it should be on the whole, off by some pixels here and there.

    Relief, and errors of the photographs' poses, are not the same everywhere; how large they are differs by map.
    """
    rng = np.random.default_rng([seed, 33])
    height, width = ground.shown.shape
    cells = [int(np.ceil(size * ground.ground_size_m / _BENT_EACH_M)) + 2 for size in (height, width)]
    shifts = rng.normal(0.0, rng.uniform(0.0, _MOST_BENT_PX), (*cells, 2)).astype(np.float32)
    bent = cv2.resize(shifts, (width, height), interpolation=cv2.INTER_CUBIC)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    image = cv2.remap(ground.image, x + bent[..., 0], y + bent[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return replace(ground, image=image)


def fly(world: World, ground: GroundImage, condition: int, seed: int) -> DroneImage:
    """A drone's image of a town on another day, in a condition of `CONDITIONS`."""
    name = CONDITIONS[condition]
    today = with_other_cars(in_season(world, name) if name in ("autumn", "winter") else world, seed)
    rng = np.random.default_rng([seed, 31])
    pose = _draw_pose(rng, ground, _LOW_M, tilt_rad=_TILT_RAD)
    image = render(today, DRONE, pose, lighting=NIGHT if name == "night" else CLEAR_DAY, seed=seed)
    return _measured(image, pose, rng)


def cut_view(ground: GroundImage, seed: int, *, low_m: float = _CROP_LOW_M) -> DroneImage:
    """A drone's image cut from an orthophoto: cheap, of the same light, and so the harder negative."""
    rng = np.random.default_rng([seed, 32])
    pose = _draw_pose(rng, ground, low_m, tilt_rad=0.0)
    size_m = pose.translation[2] / DRONE.parameters[0]
    matrix = np.zeros((2, 3))
    matrix[:, :2] = size_m * pose.rotation[:2, :2]
    matrix[:, 2] = pose.translation[:2] - matrix[:, :2] @ [DRONE.width / 2, DRONE.height / 2]
    to_pixels = np.array([[1.0, 0.0, -ground.left_m], [0.0, -1.0, ground.top_m]]) / ground.ground_size_m
    source = to_pixels @ np.vstack([matrix, [0, 0, 1]])
    source[:, 2] += source[:, :2] @ [0.5, 0.5] - 0.5  # OpenCV's pixel centres are whole numbers
    image = cv2.warpAffine(
        ground.image, source, (DRONE.width, DRONE.height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    return _measured(image, pose, rng)


def _draw_pose(rng: np.random.Generator, ground: GroundImage, low_m: float, *, tilt_rad: float) -> Pose:
    height_m = float(rng.uniform(low_m, _HIGH_M))
    size = ground.ground_size_m * np.array(ground.shown.shape[::-1])
    inner = rng.uniform(0.25, 0.75, 2) * size
    position = np.array([ground.left_m + inner[0], ground.top_m - inner[1], height_m])
    return hover(rng, position, tilt_rad=tilt_rad)


def hover(rng: np.random.Generator, position: Array, *, tilt_rad: float) -> Pose:
    """The pose of a camera that looks down, turned anyhow and tilted a little, at (3,) metres in the map."""
    turn = Pose.from_rotation_vector([0.0, 0.0, float(rng.uniform(-np.pi, np.pi))], np.zeros(3))
    tilt = Pose.from_rotation_vector([*rng.normal(0.0, tilt_rad / 2, 2), 0.0] if tilt_rad else [0, 0, 0], np.zeros(3))
    return Pose(tilt.rotation @ turn.rotation @ _DOWN, position)


def _measured(image: Array, pose: Pose, rng: np.random.Generator) -> DroneImage:
    noise = Pose.from_rotation_vector([*rng.normal(0.0, _GRAVITY_STD_RAD, 2), 0.0], np.zeros(3))
    down = pose.rotation.T @ noise.rotation @ np.array([0.0, 0.0, -1.0])
    altitude_m = float(pose.translation[2] * (1.0 + rng.normal(0.0, _ALTITUDE_STD / 2)))
    return DroneImage(image, pose, down / np.linalg.norm(down), altitude_m)
