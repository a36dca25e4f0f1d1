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

"""Write a place recognition data set in the layout of the visual geo-localization benchmark.

  vloc place export --csv places.csv --out DATASET                   own images: path,x,y or path,latitude,longitude
  vloc place export --map MAP --images DIR --queries 'visit2/*' --out DATASET
                                                                     keyframes, and which views share points
  vloc place export --bag BAG --query-bag BAG2 --pose-topic TOPIC --out DATASET
  vloc place export --world street --train 12 --val 2 --test 4 --light day --light night --out DATASET

Names are `@utm_e@utm_n@...@.jpg`: x and y of the source, written exactly; headings are clockwise from the y axis. Of a
map, x points east, y north and z up (`vloc map align`), and `shared_views.csv` says which images share how much of
their view. Files are copied; images of raw topics and of worlds become JPEG, which alone the benchmark reads. Damaged
images are named and left out; the exit code is then 1. Bags without --pose-topic are of odometry, which starts anew in
each: --same-origin says that both began at one place.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.source_options import add_max_time_difference, check_max_time_difference, largest_gap_ns

if TYPE_CHECKING:
    from vloc_ros.datasets.place_recognition.writing import ExportImage, WrittenDataset

_OF = {
    "map": ("images", "scene"),
    "bag": ("query_bag", "pose_topic", "odom_topic", "same_origin", "image_topic", "base_frame"),
}
_ROLES = {"bag": "database", "query_bag": "queries"}


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--csv", type=Path, metavar="FILE", help="table of own images, see docs/place-recognition.md")
    source.add_argument("--map", type=Path, metavar="MAP", help="map folder, in metres")
    source.add_argument("--bag", type=Path, metavar="BAG", help="bag of the database")
    source.add_argument("--world", metavar="KIND", help="simulated: room, corridor, yard, apartment, street or town")
    parser.add_argument("--out", type=Path, required=True, metavar="DATASET", help="folder to write, new or empty")
    parser.add_argument("--split", choices=("train", "val", "test"), default="test", help="of a map or a bag")
    parser.add_argument("--images", type=Path, metavar="DIR", help="images that the map was built from")
    parser.add_argument("--queries", metavar="PATTERN", help="names of the map's keyframes that are queries")
    parser.add_argument("--scene", default="", metavar="FRAME", help="of a map of several scenes")
    parser.add_argument("--query-bag", type=Path, metavar="BAG", help="bag of the queries, in the same frame")
    parser.add_argument("--image-topic", metavar="TOPIC", help="of both bags")
    parser.add_argument("--pose-topic", metavar="TOPIC", help="poses in the map, of both bags")
    parser.add_argument("--odom-topic", metavar="TOPIC", help="odometry, of both bags")
    parser.add_argument("--same-origin", action="store_true", help="odometry of both bags started at one place")
    add_max_time_difference(
        parser,
        text="of a bag: of the poses before and after an image, between which its own is interpolated; others are left "
        "out (default: 0.2)",
    )
    parser.add_argument("--base-frame", metavar="FRAME", help="whose poses the topic holds")
    parser.add_argument("--spacing", type=float, default=1.0, metavar="M", help="between images of a bag (default: 1)")
    for split, count in (("train", 0), ("val", 0), ("test", 4)):
        parser.add_argument(f"--{split}", type=int, default=count, metavar="N", help=f"worlds (default: {count})")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the first world")
    parser.add_argument("--light", action="append", metavar="day|dusk|night", help="of the queries; repeatable: sets")
    parser.add_argument("--room-images", type=int, default=20, metavar="N", help="of the database in a room")


def run(args: argparse.Namespace) -> int:
    """Write the data set."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.place_recognition.writing import write_layout
    from vloc_ros.progress import bar
    from vloc_ros.storage.output_folders import check_free, fill_folder

    _check(args)
    check_free(args.out, kind="place recognition data set")
    with fill_folder(args.out) as folder:
        left_out = {option: Counter[str]() for option in _ROLES}
        written = write_layout(folder, bar(_images(args, left_out), description="writing images"))
        if args.bag:
            _check_bags(args, written, left_out)
        if not written.names:
            raise InputError(f"no image could be written, {len(written.damaged)} are damaged; expected some")
        if args.map:
            _write_shared_views(args, folder, written)
    for message in written.damaged.values():
        print(f"vloc: warning: left out: {message}", file=sys.stderr)
    print(f"written: {args.out} ({len(written.names)} images{_damaged(written)})")
    return 1 if written.damaged else 0


def _check(args: argparse.Namespace) -> None:
    from vloc_ros.core.errors import InputError

    for source, options in _OF.items():
        for option in options:
            if getattr(args, option) and not getattr(args, source):
                raise InputError(f"--{option.replace('_', '-')} goes with --{source}; leave it out")
    if args.map and not (args.images and args.queries):
        raise InputError("--map needs --images, what it was built from, and --queries, a pattern of keyframe names")
    if args.bag and not args.query_bag:
        raise InputError("--bag needs --query-bag, the images to find in it")
    if args.bag and not (args.pose_topic or args.same_origin):
        raise InputError(
            "--bag without --pose-topic takes odometry, which starts anew in each bag, expected one frame; "
            "give --pose-topic, or --same-origin where both recordings started at one place, headed the same way"
        )
    check_max_time_difference(args)
    if args.seed < 0:
        raise InputError(f"--seed is {args.seed}, expected 0 or more")
    if min(args.train, args.val, args.test) < 0 or args.room_images < 2 or not args.spacing >= 0:
        raise InputError("found a number of worlds below 0, of images below 2 or a negative --spacing; correct it")


def _images(args: argparse.Namespace, left_out: dict[str, Counter[str]]) -> Iterator[ExportImage]:
    from vloc_ros.datasets.place_recognition import sources
    from vloc_ros.datasets.place_recognition.tables import read_table
    from vloc_ros.datasets.place_recognition.writing import export_row
    from vloc_ros.storage.maps import read_map

    if args.csv:
        return iter([export_row(row) for row in read_table(args.csv)])
    if args.map:
        given = {"queries": args.queries, "split": args.split, "scene": args.scene}
        return iter(sources.images_of_map(read_map(args.map), args.images, **given))
    if args.bag:
        topics = {n: getattr(args, n) for n in ("image_topic", "pose_topic", "odom_topic", "base_frame")}
        given = {"split": args.split, "spacing_m": args.spacing, "largest_gap_ns": largest_gap_ns(args), **topics}
        return chain.from_iterable(
            sources.images_of_bag(getattr(args, option), role=role, left_out=left_out[option], **given)
            for option, role in _ROLES.items()
        )
    worlds = {split: getattr(args, split) for split in ("train", "val", "test")}
    lights = tuple(dict.fromkeys(args.light or ("day",)))
    return sources.images_of_worlds(sources.SimulatedPlaces(args.world, worlds, args.seed, args.room_images, lights))


def _check_bags(args: argparse.Namespace, written: WrittenDataset, left_out: dict[str, Counter[str]]) -> None:
    """Say what is left out; raise if a role is empty."""
    from vloc_ros.cli.source_options import note
    from vloc_ros.core.errors import InputError

    for option, role in _ROLES.items():
        bag, reasons = getattr(args, option), left_out[option]
        damaged = sum(source.startswith(f"{bag} {role} ") for source in written.damaged)
        listed = [f"{count} {reason}" for reason, count in reasons.items()]
        if not any(f"/{role}/" in name for name in written.names.values()):
            found = "; ".join([*listed, f"{damaged} are damaged"] if damaged else listed) or "there are none"
            raise InputError(
                f"{bag}: gives no image of the {role}, expected some; of its images {found}. Record poses over the "
                "whole time of the images, or give --max-time-difference"
            )
        for text in listed:
            note(f"{bag}: {text}: left out")


def _write_shared_views(args: argparse.Namespace, folder: Path, written: WrittenDataset) -> None:
    """Which images share how much of their view, by the names that were written."""
    from vloc_ros.datasets.place_recognition.positives import SHARED_VIEWS, format_shared_views
    from vloc_ros.datasets.place_recognition.sources import shared_views_of_map
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.maps import read_map

    rows = shared_views_of_map(read_map(args.map), queries=args.queries, split=args.split, scene=args.scene)
    names = written.names
    kept = [(split, names[q], names[d], share) for split, q, d, share in rows if q in names and d in names]
    write_bytes_atomically(folder / SHARED_VIEWS, format_shared_views(kept).encode())


def _damaged(written: WrittenDataset) -> str:
    return f", {len(written.damaged)} damaged ones left out" if written.damaged else ""
