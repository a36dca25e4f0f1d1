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

"""Where were these images taken, or these scans?

Localizes every image of a folder or a bag, or every scan of a recording in a map with LiDAR places, and writes
poses.txt (rows of the accepted: map_from_camera, or of the base that the LiDAR is on) and results.jsonl (one line for
every image) into RESULTS. Rows are TUM's where the images have times: in their names (seconds with a decimal point, or
nanoseconds), by --times or in a bag. Otherwise they begin with the image's name, `IMAGE x y z qx qy qz qw`, which
--poses of other commands reads; a tool that pairs by time cannot. An image that cannot be used, such as a damaged one,
is named and has a line with the reason; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import add_camera, explain_missing_camera, has_camera, read_given_camera
from vloc_ros.cli.image_folders import report_images_passed_over
from vloc_ros.cli.lidar_options import add_scan_options, add_scans, read_scans
from vloc_ros.cli.localizer_options import add_localizer_options, localizer_from
from vloc_ros.cli.source_options import check_source_options, note

if TYPE_CHECKING:
    from vloc_ros.core.sources import QuerySource
    from vloc_ros.storage.results import ResultRecord


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_localizer_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 or MCAP file with images")
    add_scans(source)
    add_scan_options(parser)
    add_camera(parser, text="; needed with --images; with --bag it takes the place of the bag's")
    parser.add_argument("--image-topic", metavar="TOPIC", help="of the bag; needed where it holds several")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="of the bag; beside the image topic by default")
    parser.add_argument(
        "--rectified", action="store_true", help="the bag's images are rectified: P of camera_info is their calibration"
    )
    parser.add_argument(
        "--times",
        type=Path,
        metavar="TUM",
        help="times of the images, in name order: rows that begin with one, such as those of their true poses",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="RESULTS", help="folder to write")
    parser.add_argument("--json", action="store_true", help="print a summary for machines instead of for people")


def run(args: argparse.Namespace) -> int:
    """Localize the images or scans."""
    from vloc_ros.cli.localize_batch import explain_refusals, localize_with_progress
    from vloc_ros.cli.outputs import results_at
    from vloc_ros.storage.results import write_results

    out = results_at(args.out)
    queries, timed = _read_queries(args)
    localizer = localizer_from(args)
    records = localize_with_progress(localizer, queries)
    if not timed:
        records = [replace(record, stamp_ns=None) for record in records]
    write_results(args.out, records, metric=localizer.map.metric)
    accepted, unusable = sum(record.result.ok for record in records), sum(not record.usable for record in records)
    if args.json:
        counts = {"queries": len(records), "accepted": accepted, "unusable": unusable}
        json.dump({**counts, "results": str(args.out)}, sys.stdout)
        print()
    else:
        also = f", {unusable} could not be used" if unusable else ""
        kind = "scans" if args.scans else "images"
        print(f"{accepted} of {len(records)} {kind} localized{also}; poses.txt and results.jsonl {out}")
        if refusals := _count_refusals(records):
            counted = ", ".join(f"{status.replace('_', ' ')} {count}" for status, count in refusals.items())
            print(f"refused: {counted}; reasons in results.jsonl")
            if cause := explain_refusals(refusals):
                print(cause)
    return 1 if unusable else 0


def _read_queries(args: argparse.Namespace) -> tuple[Sequence[QuerySource], bool]:
    """The images or scans, and whether they have times."""
    from vloc_ros.core.errors import InputError

    if args.scans:
        return _read_scans(args), True
    if args.cloud_topic or args.compensated:
        raise InputError(
            f"--cloud-topic and --compensated go with --scans, found {'--bag' if args.bag else '--images'}"
        )
    check_source_options(args, of_images=("focal", "times"))
    return (_read_bag(args), True) if args.bag else _read_images(args)


def _read_bag(args: argparse.Namespace) -> Sequence[QuerySource]:
    """The images of a bag, whose stamps are their times."""
    from vloc_ros.datasets.bag_queries import read_bag_images
    from vloc_ros.storage.cameras import read_camera

    queries, left_out = read_bag_images(
        args.bag,
        image_topic=args.image_topic,
        camera_info_topic=args.camera_info_topic,
        rectified=args.rectified,
        camera=read_camera(args.camera) if args.camera else None,
    )
    if left_out:
        note(f"{left_out} images have stamps that are not in the order of recording: left out")
    return queries


def _read_images(args: argparse.Namespace) -> tuple[Sequence[QuerySource], bool]:
    """The images of a folder, and whether they have times."""
    from vloc_ros.core.errors import InputError
    from vloc_ros.datasets.image_folders import make_query_sources
    from vloc_ros.storage.images import list_images
    from vloc_ros.storage.pose_files import read_times, stamps_in_names

    if not has_camera(args):
        raise InputError(explain_missing_camera(args))
    report_images_passed_over(args.images)
    paths = list_images(args.images)
    names = [path.name for path in paths]
    stamps_ns = read_times(args.times, names) if args.times else stamps_in_names(names)
    return make_query_sources(paths, stamps_ns, read_given_camera(args)), stamps_ns is not None


def _read_scans(args: argparse.Namespace) -> Sequence[QuerySource]:
    """The scans of a recording, all of which have times."""
    from vloc_ros.core.errors import InputError

    if args.image_topic or args.camera_info_topic or args.rectified:
        raise InputError("--image-topic, --camera-info-topic and --rectified go with --bag, found --scans")
    if has_camera(args) or args.times:
        raise InputError("--camera, --focal and --times go with --images, found --scans")
    return read_scans(args).queries()


def _count_refusals(records: Sequence[ResultRecord]) -> dict[str, int]:
    """How many usable images were refused by each status, the most frequent first."""
    counts = Counter(record.result.status.value for record in records if record.usable and not record.result.ok)
    return dict(counts.most_common())
