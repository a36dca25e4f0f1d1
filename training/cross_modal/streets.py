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

"""Simulated drives with a camera and a spinning LiDAR, in the layout of KITTI's odometry benchmark.

  python -m training.cross_modal.streets --out DATA --split train --worlds 4 --kind town

Every world gives several sequences in one frame: `day`, whose places are the database, and drives of another day, when
other cars are parked: `other_day`, `night`, whose images are dark, and `reverse`, in the opposite direction.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from training.framework.command import make_parser, run_command
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.progress import bar
from vloc_ros.simulation.lidar import scan_world
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.lighting import CLEAR_DAY, NIGHT, Lighting
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.output_folders import check_free, fill_folder

_NAME = "cross_modal.streets"
KINDS = ("town", "street")
# seeds of the first world of each split: no world is in two of them
FIRST_SEED = {"train": 310_000, "val": 320_000, "test": 330_000}
CAMERA = Camera("PINHOLE", 416, 160, (240.0, 240.0, 208.0, 80.0))
# the camera is a little ahead of the LiDAR, beside and below it, as on KITTI's car
LIDAR_FROM_CAMERA = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.array([0.27, 0.06, -0.08]))
_FULL_INTENSITY = 255.0


@dataclass(frozen=True, slots=True)
class StreetDrive:
    """One drive through a world.

    Attributes:
        spacing_m: from record to record.
        lighting: of its images.
        is_other_day: whether other cars are parked than by the first drive.
        is_reverse: whether it goes in the opposite direction.
    """

    spacing_m: float
    lighting: Lighting = CLEAR_DAY
    is_other_day: bool = True
    is_reverse: bool = False


DRIVES = {
    "day": StreetDrive(5.0, is_other_day=False),
    "other_day": StreetDrive(11.0),
    "night": StreetDrive(11.0, NIGHT),
    "reverse": StreetDrive(11.0, is_reverse=True),
}


def write_sequence(
    root: Path, name: str, world: World, drive: StreetDrive, *, seed: int, longest_m: float = np.inf
) -> int:
    """Drive through a world and write what camera and LiDAR record; the number of records.

    Args:
        root: gets sequences/NAME and poses/NAME.txt.
        name: of the sequence.
        world: with roads.
        drive: how to drive.
        seed: of the route's sway, the parked cars and the noise.
        longest_m: where the drive ends, along the route.
    """
    folder = root / "sequences" / name
    for part in ("image_2", "velodyne"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    (root / "poses").mkdir(exist_ok=True)
    scene = with_other_cars(world, seed) if drive.is_other_day else world
    route = drive_with_lidar(
        scene, spacing_m=drive.spacing_m, seed=seed, backwards=drive.is_reverse, longest_m=longest_m
    )
    for number in bar(range(len(route)), description=name):
        _write_record(folder, number, route, drive.lighting)
    camera_from_lidar = LIDAR_FROM_CAMERA.inverse()
    rows = [camera_from_lidar @ pose @ LIDAR_FROM_CAMERA for pose in route.map_from_lidar]
    write_bytes_atomically(root / "poses" / f"{name}.txt", "".join(map(_row, rows)).encode())
    fx, fy, cx, cy = CAMERA.intrinsics
    # KITTI has the centre of the first pixel at 0
    projection = f"{fx} 0 {cx - 0.5} 0 0 {fy} {cy - 0.5} 0 0 0 1 0"
    lines = [f"P{k}: {projection}\n" for k in range(4)] + [f"Tr: {_row(camera_from_lidar)}"]
    write_bytes_atomically(folder / "calib.txt", "".join(lines).encode())
    write_bytes_atomically(folder / "times.txt", "".join(f"{k * 0.5:e}\n" for k in range(len(route))).encode())
    return len(route)


def _write_record(folder: Path, number: int, route: LidarDrive, lighting: Lighting) -> None:
    map_from_lidar, seed = route.map_from_lidar[number], route.seed
    image = render(route.world, CAMERA, map_from_lidar @ LIDAR_FROM_CAMERA, lighting=lighting, seed=seed + number)
    written = cv2.imwrite(str(folder / "image_2" / f"{number:06d}.png"), image)
    assert written
    scan = scan_world(route.world, map_from_lidar, route.pattern, seed=seed, scan=number)
    rows = np.column_stack([scan.points, scan.intensity / _FULL_INTENSITY]).astype("<f4")
    write_bytes_atomically(folder / "velodyne" / f"{number:06d}.bin", rows.tobytes())


def _row(pose: Pose) -> str:
    matrix: Array = pose.matrix[:3]
    return " ".join(f"{value:.9e}" for value in matrix.ravel()) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the drives of some worlds; 0 when it worked, 1 for an expected failure."""
    return run_command(_NAME, _run, _parse(arguments))


def _run(args: argparse.Namespace) -> None:
    if args.worlds < 1 or args.longest <= 0 or args.first < 0:
        raise InputError(f"--worlds {args.worlds}, --first {args.first}, --longest {args.longest:g}: expected more")
    check_free(args.out, kind="data set of simulated drives")
    count = 0
    with fill_folder(args.out) as root:
        for number in range(args.first, args.first + args.worlds):
            seed = FIRST_SEED[args.split] + number
            world = make_world(args.kind, seed)
            for k, name in enumerate(args.drive or DRIVES):
                sequence = f"{args.split}{number}-{name}"
                drive_seed = seed + 1000 * (k + 1)
                count += write_sequence(root, sequence, world, DRIVES[name], seed=drive_seed, longest_m=args.longest)
    print(f"written: {args.out} ({count} records of {args.worlds} worlds)")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write, new or empty")
    parser.add_argument("--split", choices=sorted(FIRST_SEED), default="train", help="default: %(default)s")
    parser.add_argument("--kind", choices=KINDS, default="town", help="default: %(default)s")
    parser.add_argument("--worlds", type=int, default=1, metavar="N", help="number of worlds (default: 1)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="number of the first (default: 0)")
    parser.add_argument("--drive", action="append", choices=sorted(DRIVES), help="repeatable; default: all")
    parser.add_argument("--longest", type=float, default=np.inf, metavar="M", help="length of a drive; default: whole")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
