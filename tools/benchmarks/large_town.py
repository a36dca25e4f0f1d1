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

"""Imagery of a town of kilometres, drawn: fields, streets, houses, cars and trees, as Web Mercator tiles.

Simulated towns are rendered in three dimensions, which takes hours for so many. What is drawn has about as many
keypoints a tile as they do; no place repeats another.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.data.aerial_views import DRONE, DroneImage, hover
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.geo.xyz_folders import XyzFolder

# a pixel is 0.2 m at the latitude of the middle; the corner of the first tile
ZOOM, TILE_PX = 19, 256
_WEST, _NORTH = 278_500, 181_000
# things drawn per square of this side
_CELL_PX, _FIELDS, _HOUSES, _TREES, _CARS, _CLUTTER = 512, 6, 12, 30, 14, 60
# of a flight: metres above the ground, tilt, what sensors say, grey levels of noise
_HEIGHT_M, _TILT_RAD, _GRAVITY_STD_RAD, _ALTITUDE_STD, _NOISE = (50.0, 80.0), 0.12, 0.015, 0.025, 4.0


@dataclass(frozen=True, slots=True, eq=False)
class LargeTown:
    """A town from above.

    Attributes:
        image: (256 n, 256 n) uint8, of whole tiles.
    """

    image: Array

    @staticmethod
    def draw(tiles: int, seed: int) -> LargeTown:
        """Of so many Web Mercator tiles each way."""
        side = TILE_PX * tiles
        rng = np.random.default_rng(seed)
        image = _soil(rng, side)
        cells = -(-side // _CELL_PX)
        corners = _CELL_PX * np.array([(x, y) for y in range(cells) for x in range(cells)])
        for paint in (_paint_fields, _paint_streets, _paint_clutter, _paint_houses, _paint_cars, _paint_trees):
            for corner in corners:
                paint(image, rng, corner)
        return LargeTown(image)

    def write(self, folder: Path, *, tiles: int | None = None) -> None:
        """The tiles z/x/y.png, of the upper left part of so many each way."""
        for x in range(tiles or len(self.image) // TILE_PX):
            column = folder / str(ZOOM) / str(_WEST + x)
            column.mkdir(parents=True, exist_ok=True)
            for y in range(tiles or len(self.image) // TILE_PX):
                part = self.image[TILE_PX * y : TILE_PX * (y + 1), TILE_PX * x : TILE_PX * (x + 1)]
                cv2.imwrite(str(column / f"{_NORTH + y}.png"), part, [cv2.IMWRITE_PNG_COMPRESSION, 1])

    def fly(self, folder: XyzFolder, datum: Datum, seed: int) -> DroneImage:
        """A drone's image of a place within some tiles, in the frame of their map, in another light."""
        rng = np.random.default_rng([seed, 41])
        column, row = rng.uniform(0.1, 0.9, 2) * [folder.columns, folder.rows]
        place = datum.local(
            *folder.geodetic(np.array((folder.west + column) * TILE_PX), np.array((folder.north + row) * TILE_PX))
        )
        pose = hover(rng, np.array([place[0], place[1], rng.uniform(*_HEIGHT_M)]), tilt_rad=_TILT_RAD)
        x, y = np.meshgrid(np.arange(DRONE.width) + 0.5, np.arange(DRONE.height) + 0.5)
        rays = DRONE.unproject(np.column_stack([x.ravel(), y.ravel()])) @ pose.rotation.T
        ground = pose.translation[:2] + rays[:, :2] * (pose.translation[2] / -rays[:, 2:])
        at = np.stack(folder.pixels(*datum.geodetic_of_ground(ground)), axis=-1) - [_WEST * TILE_PX, _NORTH * TILE_PX]
        maps = (at - 0.5).reshape(DRONE.height, DRONE.width, 2).astype(np.float32)
        seen = cv2.remap(self.image, maps[..., 0], maps[..., 1], cv2.INTER_LINEAR).astype(np.float32)
        light = 255.0 * (seen / 255.0) ** rng.uniform(0.8, 1.25) + rng.normal(0.0, _NOISE, seen.shape)
        noise = rng.normal(0.0, _GRAVITY_STD_RAD, 2)
        down = pose.rotation.T @ np.array([*noise, -1.0])
        altitude_m = float(pose.translation[2] * (1.0 + rng.normal(0.0, _ALTITUDE_STD)))
        image = np.clip(light, 0, 255).astype(np.uint8)
        return DroneImage(image, pose, down / np.linalg.norm(down), altitude_m)


def _soil(rng: np.random.Generator, side: int) -> Array:
    """Ground that is lighter and darker at all scales, of an even side."""
    soil = np.full((side // 2, side // 2), 100.0, np.float32)
    for cell, contrast in ((64, 18.0), (16, 10.0), (4, 7.0), (1, 6.0)):
        coarse = rng.normal(0.0, contrast, (side // 2 // cell, side // 2 // cell)).astype(np.float32)
        soil += cv2.resize(coarse, soil.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.resize(np.clip(soil, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_LINEAR))


def _box(image: Array, centre: Array, size: Array, turn_deg: float, grey: float) -> None:
    corners = cv2.boxPoints((centre.tolist(), size.tolist(), turn_deg))
    cv2.fillConvexPoly(image, np.rint(corners * 16).astype(np.int32), float(np.clip(grey, 0, 255)), cv2.LINE_AA, 4)


def _paint_fields(image: Array, rng: np.random.Generator, corner: Array) -> None:
    for _ in range(_FIELDS):
        centre, turn = corner + rng.uniform(0, _CELL_PX, 2), float(rng.uniform(0, 180))
        size, grey = rng.uniform(60, 260, 2), rng.uniform(60, 150)
        along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        rows, step = int(rng.integers(1, 14)), size[0] / 14
        _box(image, centre, size, turn, grey)
        for k in range(rows):  # furrows
            _box(
                image, centre + (k - rows / 2) * step * along, np.array([2.0, size[1]]), turn, grey + rng.normal(0, 15)
            )


def _paint_streets(image: Array, rng: np.random.Generator, corner: Array) -> None:
    middle = corner + rng.uniform(0.3, 0.7, 2) * _CELL_PX
    for turn in rng.uniform(-25, 25) + np.array([0.0, 90.0]):
        _box(image, middle, np.array([_CELL_PX * 1.2, 34.0]), float(turn), rng.uniform(70, 95))
        along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        for at in np.arange(-0.55, 0.55, 0.05) * _CELL_PX:
            _box(image, middle + at * along, np.array([rng.uniform(8, 14), 1.5]), float(turn), 210)


def _paint_clutter(image: Array, rng: np.random.Generator, corner: Array) -> None:
    for _ in range(_CLUTTER):
        centre, size = corner + rng.uniform(0, _CELL_PX, 2), rng.uniform(2, 22, 2)
        _box(image, centre, size, float(rng.uniform(0, 180)), rng.normal(110, 35))


def _paint_houses(image: Array, rng: np.random.Generator, corner: Array) -> None:
    for _ in range(_HOUSES):
        centre, turn = corner + rng.uniform(0, _CELL_PX, 2), float(rng.uniform(0, 180))
        size, grey = rng.uniform((45, 35), (95, 60)), rng.uniform(60, 190)
        along = np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
        across = np.array([-along[1], along[0]])
        _box(image, centre + 6, size, turn, 30)  # shadow
        _box(image, centre, size, turn, grey)
        _box(image, centre + across * size[1] / 4, size * [1.0, 0.5], turn, grey - 30)
        for _ in range(int(rng.integers(2, 9))):  # chimneys and windows
            at = centre + rng.uniform(-0.45, 0.45) * size[0] * along + rng.uniform(-0.4, 0.4) * size[1] * across
            _box(image, at, rng.uniform(3, 9, 2), turn, rng.choice([25.0, 60.0, 220.0]))


def _paint_cars(image: Array, rng: np.random.Generator, corner: Array) -> None:
    for _ in range(_CARS):
        centre, turn, grey = corner + rng.uniform(0, _CELL_PX, 2), float(rng.uniform(0, 180)), rng.uniform(20, 240)
        _box(image, centre, np.array([22.0, 9.0]), turn, grey)
        _box(image, centre, np.array([11.0, 7.5]), turn, 40)


def _paint_trees(image: Array, rng: np.random.Generator, corner: Array) -> None:
    for _ in range(_TREES):
        centre, radius = corner + rng.uniform(0, _CELL_PX, 2), rng.uniform(8, 22)
        for _ in range(14):
            at = centre + rng.normal(0.0, radius / 2, 2)
            cv2.circle(
                image, np.rint(at).astype(int).tolist(), int(rng.integers(2, 8)), float(rng.uniform(25, 110)), -1
            )
