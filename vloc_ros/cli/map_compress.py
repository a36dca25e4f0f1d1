"""Make a map smaller: fewer points, chosen so that from everywhere enough of them are seen.

  vloc map compress MAP --budget 0.2 --out SMALL       a fifth of the map's bytes
  vloc map compress MAP --points 2000 --out SMALL      so many points

Landmarks keep their ids. A map that is small enough to be searched as a whole loses its place index, which is then
never asked. Evaluate the result before a robot relies on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vloc_ros.core.landmark_map import LandmarkMap

_LEAST_POINTS = 50


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--budget", type=float, metavar="PART", help="bytes on disk over those of MAP, above 0 up to 1")
    size.add_argument("--points", type=int, metavar="N", help=f"number of points, {_LEAST_POINTS} or more")
    parser.add_argument("--out", type=Path, required=True, metavar="SMALL", help="map folder to write, not MAP itself")


def run(args: argparse.Namespace) -> int:
    """Compress the map and write it."""
    from vloc_ros.core.config import ProposalConfig
    from vloc_ros.mapping.compression import points_by_worth, with_points
    from vloc_ros.storage.maps import map_bytes, map_hash, read_map, size_on_disk, write_map

    check_options(args)
    landmark_map = read_map(args.map)
    before, points_before = map_bytes(args.map), len(landmark_map.points)
    order = points_by_worth(landmark_map)
    provenance = {**landmark_map.provenance, "compressed_from": {"map": map_hash(args.map), "points": points_before}}

    def best(count: int) -> LandmarkMap:
        small = replace(with_points(landmark_map, order[:count]), provenance=provenance)
        return replace(small, places={}) if count <= ProposalConfig().whole_map_max_points else small

    count = args.points or _largest(lambda n: size_on_disk(best(n)) <= args.budget * before, points_before)
    small = best(_checked(count, args, points_before, least_bytes=size_on_disk(best(_LEAST_POINTS)), before=before))
    digest = write_map(small, args.out)
    after = map_bytes(args.out)
    print(f"{len(small.points)} of {points_before} points, {after} of {before} bytes ({after / before:.1%})")
    if landmark_map.places and not small.places:
        print("without a place index: the map is small enough to be searched as a whole")
    print(f"map {digest[:12]} written: {args.out}")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """What argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.out.resolve() == args.map.resolve():
        raise InputError(f"--out is {args.out}, the map itself; name another folder, a map is not changed in place")
    if args.budget is not None and not 0.0 < args.budget <= 1.0:
        raise InputError(f"--budget is {args.budget:g}, expected a part of the map's bytes above 0 up to 1")


def _largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest number up to `most` that fits, 0 when none does; what fits does so with less too."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _checked(count: int, args: argparse.Namespace, most: int, *, least_bytes: int, before: int) -> int:
    from vloc_ros.core.errors import InputError

    if count > most:
        raise InputError(f"--points is {count}, expected at most the {most} that the map has")
    if count < _LEAST_POINTS and args.budget is not None:
        raise InputError(
            f"--budget {args.budget:g} leaves {count} points, expected {_LEAST_POINTS} or more: at least "
            f"{least_bytes / before:.3f} of the map's bytes"
        )
    if count < _LEAST_POINTS:
        raise InputError(f"--points is {count}, expected {_LEAST_POINTS} or more")
    return count
