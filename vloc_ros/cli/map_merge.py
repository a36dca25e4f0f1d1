"""Put several maps into one, so that a robot is found in any of them.

  vloc map merge KITCHEN HALL --frames kitchen hall --out HOUSE

Each map stays a scene with a frame of its own: a pose is given in the frame of the scene that it is in. Without
--frames the maps' own frames are kept, which must then differ.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.core.landmark_map import LandmarkMap


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("maps", type=Path, nargs="+", metavar="MAP", help="map folders, from `vloc map build`")
    parser.add_argument("--frames", nargs="+", metavar="FRAME", help="ROS frame of each map, in the same order")
    parser.add_argument("--name", help="for people; default: the name of the folder")
    parser.add_argument("--out", type=Path, required=True, metavar="MAP", help="map folder to write")


def run(args: argparse.Namespace) -> int:
    """Merge the maps and write the result."""
    from vloc_ros.cli.map_description import described, table
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.merging import merged
    from vloc_ros.storage.maps import read_map, write_map

    check_options(args)
    maps = [read_map(folder) for folder in args.maps]
    whole = merged(_in_frames(maps, args.frames), name=args.name or args.out.resolve().name, config=MappingConfig())
    write_map(whole, args.out)
    print(table(described(args.out)))
    print(f"written: {args.out}")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """Combinations that argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.out.resolve() in {folder.resolve() for folder in args.maps}:
        raise InputError(f"--out is {args.out}, one of the maps; name another folder, a map is not changed in place")
    if args.frames and len(args.frames) != len(args.maps):
        raise InputError(f"--frames names {len(args.frames)} frames, expected one for each of {len(args.maps)} maps")


def _in_frames(maps: Sequence[LandmarkMap], frames: Sequence[str] | None) -> list[LandmarkMap]:
    from vloc_ros.core.errors import InputError

    if not frames:
        return list(maps)
    if several := [m for m in maps if len(m.scenes) > 1]:
        name, own = several[0].name, ", ".join(several[0].frame_ids)
        raise InputError(f"--frames names one frame a map, the map {name} has the scenes {own}; merge it without")
    return [replace(m, scenes=(replace(m.scene(), frame_id=frame),)) for m, frame in zip(maps, frames, strict=True)]
