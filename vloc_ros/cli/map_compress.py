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

"""Make a map smaller: fewer points, chosen so that every keyframe still sees enough of them.

  vloc map compress MAP --budget 0.2 --out SMALL       a fifth of the map's bytes
  vloc map compress MAP --points 2000 --out SMALL      so many points

Landmarks keep their ids. The keypoint model that a map may carry stays whole, and does not count. A map that is small
enough to be searched as a whole, by default, loses its VLAD index, which is then never used. Evaluate the result before
a robot relies on it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.progress import bar

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkMap

_MOST_COUNTED_EXACTLY = 50_000
# part of the budget that is aimed at, that is near enough, and how often: bytes are nearly in proportion to points
_AIM, _NEAR_ENOUGH, _AIMS = 0.997, 0.99, 8


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("map", type=Path, metavar="MAP", help="map folder, from `vloc map build`")
    size = parser.add_mutually_exclusive_group(required=True)
    size.add_argument("--budget", type=float, metavar="PART", help="bytes on disk over those of MAP, above 0 up to 1")
    size.add_argument("--points", type=int, metavar="N", help="number of points, 50 for each scene or more")
    parser.add_argument("--out", type=Path, required=True, metavar="SMALL", help="map folder to write, not MAP itself")


def run(args: argparse.Namespace) -> int:
    """Compress the map and write it."""
    from vloc_ros.cli.outputs import map_at, name_at
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.retrieval.vlad import VLAD
    from vloc_ros.mapping.config import MappingConfig
    from vloc_ros.mapping.indexing.vlad_index import MAX_SEARCHED_WHOLE, ensure_searchable
    from vloc_ros.mapping.maps.compress import MIN_POINTS_PER_SCENE, PointRanking, keep_points
    from vloc_ros.storage.maps import keypoint_model_bytes, map_bytes, map_hash, read_map, size_on_disk, write_map

    check_options(args)
    out, landmark_map = map_at(args.out), read_map(args.map)
    of_model, points_before = keypoint_model_bytes(args.map), len(landmark_map.points)
    before = map_bytes(args.map) - of_model
    ranking = PointRanking(landmark_map, bar)
    provenance = {**landmark_map.provenance, "compressed_from": {"map": map_hash(args.map), "points": points_before}}
    name = name_at(args.out, landmark_map.name, source=args.map)

    def best(count: int) -> LandmarkMap:
        small = replace(keep_points(landmark_map, ranking.best(count)), name=name, provenance=provenance)
        if count > MAX_SEARCHED_WHOLE:
            return ensure_searchable(small, MappingConfig())
        return small.without_retrieval(VLAD)

    def size(count: int) -> int:
        return size_on_disk(best(count)) - of_model

    least = MIN_POINTS_PER_SCENE * len(landmark_map.scenes)
    if args.points is not None:
        count = _points(args.points, least, points_before)
    else:
        count = _within(args.budget * before, size, least, points_before, whole=before)
    if count < least:
        part = size(least) / before
        raise InputError(f"--budget {args.budget:g} leaves fewer than {least} points, expected {part:.3f} or more")
    small = best(count)
    digest = write_map(small, args.out)
    after = map_bytes(args.out) - of_model
    beside = f", beside {of_model} bytes of its keypoint model" if of_model else ""
    print(f"{len(small.points)} of {points_before} points, {after} of {before} bytes ({after / before:.1%}){beside}")
    if VLAD in landmark_map.retrieval and VLAD not in small.retrieval:
        searched = f"up to {MAX_SEARCHED_WHOLE} points (candidates.whole_map_max_points) are searched as a whole"
        print(f"without the retrieval index {VLAD}: {searched}")
    print(f"map {digest[:12]} {out}")
    return 0


def check_options(args: argparse.Namespace) -> None:
    """What argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.out.resolve() == args.map.resolve():
        raise InputError(f"--out is {args.out}, the map itself; name another folder, a map is not changed in place")
    if args.budget is not None and not 0.0 < args.budget <= 1.0:
        raise InputError(f"--budget is {args.budget:g}, expected a part of the map's bytes above 0 up to 1")


def _within(target: float, size: Callable[[int], int], least: int, most: int, *, whole: int) -> int:
    """The largest number of points that takes no more than a target, one less than `least` where even that is too many.

    Of many points, whose bytes take seconds to be counted, the number is aimed at along the line through the last two.
    """
    if most <= _MOST_COUNTED_EXACTLY:
        return _largest(lambda count: size(count) <= target, least, most)
    last, count, fitting = (most, whole), round(most * target / whole), least - 1
    for _ in range(_AIMS):
        count = min(max(count, least), most)
        taken = size(count)
        fitting = max(fitting, count) if taken <= target else fitting
        if taken <= target and (count == most or taken > _NEAR_ENOUGH * target):
            break
        bytes_per_point = (last[1] - taken) / (last[0] - count) if count != last[0] else taken / count
        last, count = (count, taken), count + int((_AIM * target - taken) / max(bytes_per_point, 1.0))
    return fitting


def _largest(fits: Callable[[int], bool], least: int, most: int) -> int:
    """The largest number from `least` to `most` that fits, or `least` - 1 if none does.

    What fits has to fit with less too.
    """
    low, high = least - 1, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _points(count: int, least: int, most: int) -> int:
    from vloc_ros.core.errors import InputError

    if not least <= count <= most:
        raise InputError(f"--points is {count}, expected {least} to the {most} that the map has")
    return count
