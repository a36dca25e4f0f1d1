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

"""Put several maps into one, so that a robot is found in any of them.

  vloc map merge KITCHEN HALL --frames kitchen hall --out HOUSE

Each map stays a scene with a frame of its own: a pose is given in the frame of the scene that it is in. Without
--frames the maps' own frames are kept, which must then differ.

  vloc map merge MONDAY TUESDAY --frames kitchen tuesday --align same --out KITCHEN    known to be of one place
  vloc map merge KITCHEN HALL CELLAR --frames kitchen hall cellar --align auto --out HOUSE

With --align, a map that shows the same place as an earlier one is moved into its frame and becomes part of its scene.
auto does so only where nearly all that both maps should hold is in both; maps of places that only look alike stay
apart. same takes them for one place, and is an error where no alignment is found.

The retrieval index of a global descriptor model stays where one model has encoded all maps.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkMap


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("maps", type=Path, nargs="+", metavar="MAP", help="map folders, from `vloc map build`")
    parser.add_argument("--frames", nargs="+", metavar="FRAME", help="ROS frame of each map, in the same order")
    parser.add_argument(
        "--align",
        choices=("never", "auto", "same"),
        default="never",
        help="join maps of one place: %(default)s",
    )
    parser.add_argument("--name", help="for people; default: the name of the folder")
    parser.add_argument("--out", type=Path, required=True, metavar="MAP", help="map folder to write")


def run(args: argparse.Namespace) -> int:
    """Merge the maps and write the result."""
    from vloc_ros.cli.map_description import describe_map, format_description
    from vloc_ros.cli.outputs import map_at
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.indexing.global_descriptors import describe_incomplete_indices
    from vloc_ros.mapping.maps.map_registration import Align, register_maps
    from vloc_ros.mapping.maps.merge import merge_maps
    from vloc_ros.storage.maps import read_map, write_map

    check_options(args)
    out = map_at(args.out)
    maps = [read_map(folder) for folder in args.maps]
    name = args.name or args.out.resolve().name
    scenes, decisions = register_maps(_in_frames(maps, args.frames), Align(args.align), bar)
    print(*decisions, sep="\n", end="\n" if decisions else "")
    one = replace(scenes[0], name=name)
    whole = one if len(scenes) == 1 else merge_maps(scenes, name=name, config=MappingConfig())
    write_map(whole, args.out)
    print(format_description(describe_map(args.out)))
    print(*describe_incomplete_indices(maps, whole), out, sep="\n")
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
