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

"""How well are these images localized?

  vloc evaluate --map MAP --images DIR --poses TUM --camera YAML     images with true poses
  vloc evaluate --map MAP --images DIR --colmap MODEL                poses and calibration of a COLMAP model; also
                                                                     --transforms, --kitti, --euroc
  vloc evaluate --map MAP --images DIR --absent                      negatives: images of another place
  vloc evaluate --map MAP --bag BAG --truth-topic TOPIC              images of a bag
  vloc evaluate --map MAP --bag BAG --truth-topic TOPIC --live       through the ROS 2 nodes, at the bag's own rate
  vloc evaluate --map MAP --scans PATH --poses TUM                   scans of a LiDAR, with poses of the base

True poses are rows of map_from_camera, as for `vloc map build`: TUM's, KITTI's, or rows that begin with an
image's name. They are paired with the images by name, by time (--max-time-difference) or one by one; those of a topic
are of --base-frame. Recalls and medians are over all queries, of which a refused one counts as infinitely wrong; APE
and RPE, as evo has them, are over the accepted poses alone. An accepted one outside 50 cm or 5 degrees is a false
accept, and with --absent every acceptance is. Images without a true pose, at whose time TF of a bag has nothing, or
whose stamps in a bag are not in the order of recording, are left out and counted. So are images that cannot be used,
such as damaged ones; the exit code is then 1, as it is where --align finds no alignment.

A map from images alone has a frame and a scale of its own: `--align --correct-scale` compares it with the truth.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vloc_ros.cli.camera_options import add_camera, explain_missing_camera, has_camera
from vloc_ros.cli.evaluation_inputs import EvaluationImages, frame_of_truth, read_images
from vloc_ros.cli.evaluation_outputs import (
    check_map,
    check_outputs,
    outputs_of,
    print_outcome,
    write_recording,
    write_report,
    write_scores,
)
from vloc_ros.cli.evaluation_scoring import (
    add_scoring_options,
    check_scoring_options,
    lacks_alignment,
    score,
    unscored_row,
)
from vloc_ros.cli.lidar_options import add_scan_options, add_scans
from vloc_ros.cli.localize_batch import localize_with_progress
from vloc_ros.cli.localizer_options import add_localizer_options, config_from, localizer_from
from vloc_ros.cli.pose_sources import POSE_SOURCES, add_pose_sources
from vloc_ros.cli.source_options import check_source_options

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.sources import QuerySource
    from vloc_ros.core.tracking.fix_filter import FixFilter
    from vloc_ros.storage.results import ResultRecord


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_localizer_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 or MCAP file with images")
    add_scans(source)
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--poses", type=Path, metavar="TUM", help="true poses, map_from_camera; TUM or KITTI")
    truth.add_argument("--truth-topic", metavar="TOPIC", help="topic of the bag with the true poses")
    truth.add_argument("--absent", action="store_true", help="negatives: images of another place, all must be refused")
    add_pose_sources(truth)
    add_camera(parser, text="; may be left out with --absent; with --bag it takes the place of the bag's")
    parser.add_argument(
        "--times",
        type=Path,
        metavar="FILE",
        help="times of all images of the folder, a row each in name order, as KITTI's times.txt; in place of those "
        "in their names or with their poses",
    )
    parser.add_argument(
        "--live", action="store_true", help="play the bag to the ROS 2 nodes and score what they publish"
    )
    parser.add_argument(
        "--sequence",
        action="store_true",
        help="the images in their order, as on a robot: the last fix is the prior, jumps are held until confirmed",
    )
    parser.add_argument(
        "--scene", default="", metavar="FRAME", help="of a map of several scenes, the one that the true poses are in"
    )
    add_scan_options(parser)
    add_scoring_options(parser)
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    _add_bag_topics(parser.add_argument_group("topics and frames of a bag"))
    _add_outputs(parser.add_argument_group("outputs"))


def _add_bag_topics(group: argparse._ArgumentGroup) -> None:
    """Declare topics and frames of a bag."""
    group.add_argument("--image-topic", metavar="TOPIC", help="of the bag; needed where it holds several")
    group.add_argument("--camera-info-topic", metavar="TOPIC", help="of the bag; beside the image topic by default")
    group.add_argument(
        "--rectified", action="store_true", help="the bag's images are rectified: P of camera_info is their calibration"
    )
    group.add_argument(
        "--tf-topic", metavar="TOPIC", help="of the bag: transforms; static ones on TOPIC_static (default: /tf)"
    )
    group.add_argument(
        "--base-frame",
        metavar="FRAME",
        help="of the bag's TF: the frame to localize, whose poses --truth-topic holds (default: base_link; without TF "
        "the camera's own, where --truth-topic is not given)",
    )
    group.add_argument(
        "--odom-frame",
        metavar="FRAME",
        help="of the bag's TF, for --live and --sequence; '' where there is no odometry (default: odom)",
    )


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    """Declare what is written."""
    group.add_argument(
        "--out",
        type=Path,
        metavar="RESULTS",
        help="folder to write: poses.txt (the accepted, not aligned), truth.txt, results.jsonl; where images have "
        "times, `evo_ape tum truth.txt poses.txt` gives the same APE",
    )
    group.add_argument("--json", type=Path, metavar="F", help="write the scores, and a row for each image, as JSON")
    group.add_argument("--report", type=Path, metavar="HTML", help="write a page to explore, with every query")
    group.add_argument(
        "--map-images", type=Path, metavar="DIR", help="for --report: the images of the map, shown beside the queries"
    )
    group.add_argument(
        "--rerun", type=Path, metavar="RRD", help="write a recording for the viewer of rerun: images, poses, truth"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate offline, or through the nodes with --live."""
    from vloc_ros.storage.results import write_results

    check_options(args)
    if args.live:
        from vloc_ros.cli.live import evaluate_live

        return evaluate_live(args)
    outputs = outputs_of(args)
    images = read_images(args)
    _check_times(args, images)
    localizer = localizer_from(args)
    check_map(args, localizer.map)
    frame_id = frame_of_truth(args, localizer, images.truth)
    in_sequence = _fix_filter(args) if args.sequence else None
    found = localize_with_progress(
        localizer, images.queries, in_sequence=in_sequence, odom_from_camera=images.odom_from_camera
    )
    queries, records, truth, unusable = _divide(images, found)
    scored = score(args, localizer, records, truth, frame_id)
    scored.scores.update(left_out=images.left_out, unusable=len(unusable))
    scored.scores["images"] += [unscored_row(record, "unusable") for record in unusable]
    if args.out:
        write_results(
            args.out,
            [*records, *unusable],
            truth,
            metric=localizer.map.metric,
            truth_metric=not args.scale_unknown,
        )
    if args.json:
        write_scores(args.json, scored.scores)
    if args.report:
        write_report(args, localizer, queries, records, truth, scored, frame_id=frame_id)
    if args.rerun:
        write_recording(args, localizer, queries, records, truth, scored)
    print_outcome(scored.scores, outputs)
    return 1 if unusable or lacks_alignment(args, scored) else 0


def _check_times(args: argparse.Namespace, images: EvaluationImages) -> None:
    from vloc_ros.core.errors import InputError

    if args.sequence and not images.timed:
        raise InputError(
            f"--sequence needs the time of each image, {args.images} has images without; name them by their time in "
            "nanoseconds, or as seconds with a decimal point, or give all times in a file with --times"
        )


def _divide(
    images: EvaluationImages, records: Sequence[ResultRecord]
) -> tuple[list[QuerySource], list[ResultRecord], list[Pose] | None, list[ResultRecord]]:
    """Queries, results and true poses of the images that could be used, and the results of the others."""
    if not images.timed:
        records = [replace(record, stamp_ns=None) for record in records]
    kept = [i for i, record in enumerate(records) if record.usable]
    truth = None if images.truth is None else [images.truth[i] for i in kept]
    unusable = [record for record in records if not record.usable]
    return [images.queries[i] for i in kept], [records[i] for i in kept], truth, unusable


def _fix_filter(args: argparse.Namespace) -> FixFilter:
    from vloc_ros.core.tracking.fix_filter import FixFilter

    return FixFilter(config_from(args).fix_filter)


def check_options(args: argparse.Namespace) -> None:
    """Combinations that argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.images and (args.live or args.truth_topic):
        raise InputError("--live and --truth-topic need --bag, found --images; make one with `vloc bag make`")
    if args.scans:
        _check_scans(args)
    else:
        check_source_options(args, of_images=("times", "scale_unknown", "focal", *POSE_SOURCES))
    check_scoring_options(args)
    if args.images and args.poses and not has_camera(args):
        raise InputError(explain_missing_camera(args, "--poses"))
    check_outputs(args)
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit is {args.limit}, expected 1 or more")


def _check_scans(args: argparse.Namespace) -> None:
    """Refuse options of images beside --scans."""
    from vloc_ros.core.errors import InputError

    of_images = ("live", "sequence", "report", "rerun", "times", "image_topic", "map_images")
    of_images += ("camera", "focal", *POSE_SOURCES)
    if given := next((name for name in of_images if getattr(args, name) not in (None, False)), None):
        raise InputError(f"--{given.replace('_', '-')} is of images, found --scans; leave it out")
