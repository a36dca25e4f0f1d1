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

"""Street, drone and aerial views of simulated towns in University-1652's layout, with positions.

  python -m training.cross_view.simulate --out DIR --train 10 --test 7

Towns of train and test differ. A town's tiles are squares of its orthophoto, a place each, which overlap by three
quarters: wherever a drone is, some tile shows most of what it sees. Drone images are of other days: other cars, a tilt,
any heading. Those of test are by day, in winter and at night, which is the first part of their names. Street images
look along the roads, by day. The ground of one is the square ahead of the camera.
"""

from __future__ import annotations

import argparse
import csv
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import cv2
import numpy as np

from training.cross_view.layout import POSITION_COLUMNS, POSITIONS, TEST, TRAIN, name_view_folder
from training.data.aerial_views import hover, photograph_town
from training.framework.command import make_parser, run_command
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.progress import bar
from vloc_ros.simulation.lighting import CLEAR_DAY, NIGHT
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import in_season, with_other_cars
from vloc_ros.simulation.world import make_world

_NAME = "cross_view.simulate"
SIDE_M, STEP_M, PIXELS = 48.0, 12.0, 192
_GROUND_SIZE_M = 0.25
# height over ground relative to the side of a view, and its spread; towns lie this far apart in the table of positions
_HEIGHTS, _TILT_RAD, _APART_M = (0.85, 1.15), 0.12, 5000.0
SEEDS = {TRAIN: 71000, TEST: 74000}
# street images: focal length for 90 degrees, height, and how far ahead the ground is that they are of
_STREET_PX, _EYE_M, _AHEAD_M, STREET_COUNT = PIXELS / 2, 1.5, 12.0, 40
# drone images of a town, by condition
COUNTS: Mapping[str, Mapping[str, int]] = {TRAIN: {"day": 100}, TEST: {"day": 40, "winter": 10, "night": 20}}


@dataclass(frozen=True, slots=True)
class _Tile:
    """A square of a town: its name, its middle in the town, metres."""

    name: str
    x: float
    y: float


def export_towns(out: Path, split: str, towns: int) -> int:
    """Write the views of some towns; returns the number of tiles.

    Raises:
        InputError: the folder has that split already.
    """
    folder = out / split
    if (folder / POSITIONS).exists():
        raise InputError(f"{folder}: has been written already; name another folder with --out")
    rows, tiles = list[list[str]](), 0
    for number in bar(range(towns), description=f"{split}: towns", total=towns):
        world = make_world("town", SEEDS[split] + number)
        ground = photograph_town(world, seed=number, ground_size_m=_GROUND_SIZE_M)
        laid = _lay_tiles(ground, number)
        tiles += len(laid)
        for tile in laid:
            path = folder / name_view_folder(split, "satellite", is_query=False) / tile.name / f"{tile.name}.jpg"
            _write_image(path, _cut(ground, tile))
            rows.append(_describe(path.relative_to(folder), number, tile.x, tile.y, SIDE_M))
        for path, image, x, y, side_m in chain(_fly(world, laid, split, number), _walk(world, laid, split, number)):
            _write_image(folder / path, image)
            rows.append(_describe(path, number, x, y, side_m))
    with (folder / POSITIONS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(POSITION_COLUMNS)
        writer.writerows(rows)
    return tiles


def _lay_tiles(ground: GroundImage, town: int) -> list[_Tile]:
    height_m, width_m = (size * ground.ground_size_m for size in ground.shown.shape)
    columns, rows = (int((length - SIDE_M) / STEP_M) + 1 for length in (width_m, height_m))
    return [
        _Tile(
            f"{town:03}{row:02}{column:02}",
            ground.left_m + SIDE_M / 2 + column * STEP_M,
            ground.top_m - SIDE_M / 2 - row * STEP_M,
        )
        for row in range(rows)
        for column in range(columns)
    ]


def _cut(ground: GroundImage, tile: _Tile) -> Array:
    left = round((tile.x - SIDE_M / 2 - ground.left_m) / ground.ground_size_m)
    top = round((ground.top_m - tile.y - SIDE_M / 2) / ground.ground_size_m)
    side = round(SIDE_M / ground.ground_size_m)
    return np.asarray(cv2.resize(ground.image[top : top + side, left : left + side], (PIXELS, PIXELS)))


def _fly(world: World, tiles: list[_Tile], split: str, town: int) -> Iterator[tuple[Path, Array, float, float, float]]:
    """Path below the split's folder, image, and position and side in metres of each drone image of a town."""
    camera = Camera("PINHOLE", PIXELS, PIXELS, (float(PIXELS), float(PIXELS), PIXELS / 2, PIXELS / 2))
    middles = np.array([[tile.x, tile.y] for tile in tiles])
    low, high = middles.min(axis=0), middles.max(axis=0)
    folder = name_view_folder(split, "drone", is_query=True)
    for condition, count in COUNTS[split].items():
        seed = SEEDS[split] + 100 * town
        today = with_other_cars(in_season(world, condition) if condition == "winter" else world, seed)
        rng = np.random.default_rng([seed, zlib.crc32(condition.encode())])
        lighting = NIGHT if condition == "night" else replace(CLEAR_DAY, vignetting=0.0)
        for k in range(count):
            x, y = rng.uniform(low, high)
            side_m = SIDE_M * float(rng.uniform(*_HEIGHTS))
            pose = hover(rng, np.array([x, y, side_m]), tilt_rad=_TILT_RAD)
            image = render(today, camera, pose, lighting=lighting, seed=seed + k)
            # where the optical axis meets the ground
            axis = pose.rotation[:, 2]
            middle = x + side_m * axis[0] / -axis[2], y + side_m * axis[1] / -axis[2]
            path = Path(folder, _find_nearest(tiles, np.array(middle)), f"{condition}-{town:03}-{k:04}.jpg")
            yield path, image, *middle, side_m


def _walk(world: World, tiles: list[_Tile], split: str, town: int) -> Iterator[tuple[Path, Array, float, float, float]]:
    """As `_fly`, of street images: they look along a road, to either side of its middle and either way."""
    camera = Camera("PINHOLE", PIXELS, PIXELS, (_STREET_PX, _STREET_PX, PIXELS / 2, PIXELS / 2))
    folder, seed = name_view_folder(split, "street", is_query=True), SEEDS[split] + 100 * town + 50
    today, rng = with_other_cars(world, seed), np.random.default_rng([seed, zlib.crc32(b"street")])
    lighting = replace(CLEAR_DAY, vignetting=0.0)
    lengths = np.array([road.length_m for road in world.roads])
    for k in range(STREET_COUNT):
        road = world.roads[rng.choice(len(lengths), p=lengths / lengths.sum())]
        ends = np.array([road.start, road.end])
        start, end = ends if rng.random() < 0.5 else ends[::-1]
        ahead = (end - start) / road.length_m
        beside = np.array([ahead[1], -ahead[0]])
        x, y = start + rng.uniform(0, road.length_m - _AHEAD_M) * ahead + rng.uniform(-1.5, 1.5) * beside
        rotation = np.column_stack([[*beside, 0.0], [0.0, 0.0, -1.0], [*ahead, 0.0]])
        image = render(today, camera, Pose(rotation, np.array([x, y, _EYE_M])), lighting=lighting, seed=seed + k)
        middle = np.array([x, y]) + _AHEAD_M * ahead
        path = Path(folder, _find_nearest(tiles, middle), f"day-{town:03}-{k:04}.jpg")
        yield path, image, *middle.tolist(), 2 * _AHEAD_M


def _find_nearest(tiles: list[_Tile], middle: Array) -> str:
    """The name of the tile whose middle is nearest to (2,) metres in the town."""
    return min(tiles, key=lambda tile: float(np.hypot(tile.x - middle[0], tile.y - middle[1]))).name


def _describe(path: Path, town: int, x: float, y: float, side_m: float) -> list[str]:
    """A row of the table of positions; a site is a quarter of a town."""
    site = f"town{town:03}-{'E' if x > 60 else 'W'}{'N' if y > 60 else 'S'}"
    return [path.as_posix(), f"{x + town * _APART_M:.3f}", f"{y:.3f}", f"{side_m:.3f}", f"town{town:03}", site]


def _write_image(path: Path, image: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, 90]):
        raise InputError(f"{path}: cannot be written; check the disk")


def _run(args: argparse.Namespace) -> None:
    for split, towns in ((TRAIN, args.train), (TEST, args.test)):
        if towns:
            print(f"{split}: {export_towns(args.out, split, towns)} tiles of {towns} towns")


def main() -> int:
    """Write the views; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write")
    parser.add_argument("--train", type=int, default=0, metavar="N", help="towns to train on")
    parser.add_argument("--test", type=int, default=0, metavar="N", help="other towns, to test on")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
