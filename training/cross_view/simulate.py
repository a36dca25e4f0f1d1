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
any heading. Those of test are by day, in winter and at night, which is the first part of their names. The view `level`
has the same images, laid on the ground by gravity and altitude as an IMU and a barometer measure them.
Street images look along the roads, by day. The ground of one is the square ahead of the camera.
"""

from __future__ import annotations

import argparse
import csv
import sys
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from training.cross_view.layout import (
    DRONE,
    HEADING,
    LEVEL,
    POSITION_COLUMNS,
    POSITIONS,
    TEST,
    TRAIN,
    name_view_folder,
)
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
from vloc_ros.simulation.town import SEASONS, in_season, with_other_cars
from vloc_ros.simulation.world import make_world

_NAME = "cross_view.simulate"
SIDE_M, STEP_M, PIXELS = 48.0, 12.0, 192
_CAMERA = Camera("PINHOLE", PIXELS, PIXELS, (float(PIXELS), float(PIXELS), PIXELS / 2, PIXELS / 2))
_GROUND_SIZE_M = 0.25
# height over ground relative to the side of a view, and its spread; towns lie this far apart in the table of positions
_HEIGHTS, _TILT_RAD, _APART_M = (0.85, 1.15), 0.12, 5000.0
SEEDS = {TRAIN: 71000, TEST: 74000}
# street images: focal length for 90 degrees, height, and how far ahead the ground is that they are of
_STREET_PX, _EYE_M, _AHEAD_M, STREET_COUNT = PIXELS / 2, 1.5, 12.0, 40
# drone images of a town, by condition
COUNTS: Mapping[str, Mapping[str, int]] = {
    TRAIN: {"day": 60, "autumn": 20, "winter": 30, "night": 40},
    TEST: {"day": 40, "winter": 20, "night": 20},
}
# what an IMU and a barometer know: standard deviation of each tilt angle, and of the altitude relative to itself
_GRAVITY_STD_RAD, _ALTITUDE_STD = 0.015, 0.025

# x, y and side in metres in the town, and the bearing of the upper edge in degrees
Ground = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Flown:
    """A drone image: its path below the split's folder, the pixels, and the ground that it shows.

    Attributes:
        level: the same laid on the ground, see `lay_on_ground`; its file has the same name.
        heading_deg: bearing of the image's upper edge on the ground.
    """

    name: Path
    image: Array
    level: Array
    x: float
    y: float
    side_m: float
    heading_deg: float


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
            rows.append(_describe(path.relative_to(folder), number, (tile.x, tile.y, SIDE_M, 0.0)))
        for flown in _fly(world, laid, split, number):
            for view, image, side_m in ((DRONE, flown.image, flown.side_m), (LEVEL, flown.level, SIDE_M)):
                path = Path(name_view_folder(split, view, is_query=True), flown.name)
                _write_image(folder / path, image)
                rows.append(_describe(path, number, (flown.x, flown.y, side_m, flown.heading_deg)))
        for path, image, ground in _walk(world, laid, split, number):
            _write_image(folder / path, image)
            rows.append(_describe(path, number, ground))
    with (folder / POSITIONS).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*POSITION_COLUMNS, HEADING))
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


def _fly(world: World, tiles: list[_Tile], split: str, town: int) -> Iterator[_Flown]:
    """The drone images of a town."""
    middles = np.array([[tile.x, tile.y] for tile in tiles])
    low, high = middles.min(axis=0), middles.max(axis=0)
    for condition, count in COUNTS[split].items():
        seed = SEEDS[split] + 100 * town
        today = with_other_cars(in_season(world, condition) if condition in SEASONS else world, seed)
        rng = np.random.default_rng([seed, zlib.crc32(condition.encode())])
        lighting = NIGHT if condition == "night" else replace(CLEAR_DAY, vignetting=0.0)
        for k in range(count):
            x, y = rng.uniform(low, high)
            side_m = SIDE_M * float(rng.uniform(*_HEIGHTS))
            pose = hover(rng, np.array([x, y, side_m]), tilt_rad=_TILT_RAD)
            image = render(today, _CAMERA, pose, lighting=lighting, seed=seed + k)
            axis, up = pose.rotation[:, 2], -pose.rotation[:, 1]
            # where the optical axis meets the ground
            middle = x + side_m * axis[0] / -axis[2], y + side_m * axis[1] / -axis[2]
            name = Path(_find_nearest(tiles, np.array(middle)), f"{condition}-{town:03}-{k:04}.jpg")
            level = lay_on_ground(image, pose, seed=seed + k)
            yield _Flown(name, image, level, *middle, side_m, float(np.degrees(np.arctan2(up[0], up[1]))))


def _walk(world: World, tiles: list[_Tile], split: str, town: int) -> Iterator[tuple[Path, Array, Ground]]:
    """Street images: they look along a road, to either side of its middle and either way.

    Yields:
        Path below the split's folder, pixels, and the ground ahead; its heading is that of the view.
    """
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
        heading_deg = float(np.degrees(np.arctan2(ahead[0], ahead[1])))
        yield path, image, (*middle.tolist(), 2 * _AHEAD_M, heading_deg)


def _find_nearest(tiles: list[_Tile], middle: Array) -> str:
    """The name of the tile whose middle is nearest to (2,) metres in the town."""
    return min(tiles, key=lambda tile: float(np.hypot(tile.x - middle[0], tile.y - middle[1]))).name


def lay_on_ground(image: Array, pose: Pose, *, seed: int) -> Array:
    """A drone's image seen from straight above, `SIDE_M` of ground, by what its IMU and barometer say.

    The middle and the direction of the upper edge stay. The heading is not used. Ground beyond the image is mirrored.

    Args:
        image: (192, 192, 3) uint8.
        pose: the true one, in the map; gravity and altitude are measured with errors.
        seed: of the errors.
    """
    rng = np.random.default_rng([seed, 4])
    error = Pose.from_rotation_vector([*rng.normal(0.0, _GRAVITY_STD_RAD, 2), 0.0], np.zeros(3))
    down = pose.rotation.T @ error.rotation @ np.array([0.0, 0.0, -1.0])
    altitude_m = float(pose.translation[2] * (1.0 + rng.normal(0.0, _ALTITUDE_STD)))
    backward = np.array([0.0, 1.0, 0.0]) - down[1] * down
    backward /= np.linalg.norm(backward)
    right, middle = np.cross(backward, down), np.array([0.0, 0.0, altitude_m / down[2]])
    size_m = SIDE_M / PIXELS
    corner = middle - (right + backward) * (PIXELS - 1) / 2 * size_m
    ground = np.column_stack([right * size_m, backward * size_m, corner])
    focal = float(PIXELS)
    to_pixels = np.array([[focal, 0.0, PIXELS / 2 - 0.5], [0.0, focal, PIXELS / 2 - 0.5], [0.0, 0.0, 1.0]]) @ ground
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REFLECT_101
    return np.asarray(cv2.warpPerspective(image, to_pixels, (PIXELS, PIXELS), flags=flags, borderMode=border))


def _describe(path: Path, town: int, ground: Ground) -> list[str]:
    """A row of the table of positions: x, y, side and heading; a site is a quarter of a town."""
    x, y, side_m, heading_deg = ground
    site = f"town{town:03}-{'E' if x > 60 else 'W'}{'N' if y > 60 else 'S'}"
    place = [f"{x + town * _APART_M:.3f}", f"{y:.3f}", f"{side_m:.3f}"]
    return [path.as_posix(), *place, f"town{town:03}", site, f"{heading_deg:.2f}"]


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
