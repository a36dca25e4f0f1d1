"""How well are these images localized?

  vloc evaluate --map MAP --images DIR --poses TUM --camera YAML     images with true poses
  vloc evaluate --map MAP --images DIR --absent                      images of somewhere else
  vloc evaluate --map MAP --bag BAG --truth-topic TOPIC              images of a bag
  vloc evaluate --map MAP --bag BAG --truth-topic TOPIC --live       through the ROS 2 nodes, at the bag's own rate

True poses are TUM rows of map_from_camera, one per image in name order (in a bag: in the order of recording); those of
a topic are of --base-frame. A refused image counts as infinitely wrong; an accepted one outside 50 cm or 5 degrees is a
false accept, and with --absent every acceptance is. Images of a bag at whose time TF or the topic has nothing are left
out, and counted; so are images that cannot be used, such as damaged ones, with which the exit code is 1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.localize_batch import localize_with_progress
from vloc_ros.cli.localizer_options import add_localizer_options, config_from, localizer_from

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.core.tracking.fix_filter import FixFilter
    from vloc_ros.evaluation.batch_localization import QuerySource
    from vloc_ros.storage.output_files import Output
    from vloc_ros.storage.results import ResultRecord


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_localizer_options(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--images", type=Path, metavar="DIR", help="folder of jpg or png images")
    source.add_argument("--bag", type=Path, metavar="BAG", help="rosbag2 or MCAP file with images")
    truth = parser.add_mutually_exclusive_group(required=True)
    truth.add_argument("--poses", type=Path, metavar="TUM", help="true poses, map_from_camera")
    truth.add_argument("--truth-topic", metavar="TOPIC", help="topic of the bag with the true poses")
    truth.add_argument("--absent", action="store_true", help="the images are of somewhere else: all must be refused")
    parser.add_argument("--camera", type=Path, metavar="YAML", help="ROS camera_info; may be left out with --absent")
    parser.add_argument("--image-topic", metavar="TOPIC", help="of the bag; needed where it holds several")
    parser.add_argument("--camera-info-topic", metavar="TOPIC", help="of the bag; beside the image topic by default")
    parser.add_argument(
        "--rectified", action="store_true", help="the bag's images are rectified: P of camera_info is their calibration"
    )
    parser.add_argument(
        "--base-frame",
        default="base_link",
        metavar="FRAME",
        help="of the bag's TF: whose pose is asked for and is in the truth topic (default: %(default)s)",
    )
    parser.add_argument(
        "--odom-frame",
        default="odom",
        metavar="FRAME",
        help="of the bag's TF, for --live and --sequence; '' where there is no odometry (default: %(default)s)",
    )
    parser.add_argument(
        "--live", action="store_true", help="play the bag to the ROS 2 nodes and score what they publish"
    )
    parser.add_argument(
        "--sequence",
        action="store_true",
        help="the images in their order, as a robot sees them: the last fix tells where to look, a jump is held until "
        "it is confirmed",
    )
    parser.add_argument(
        "--scene", default="", metavar="FRAME", help="of a map of several scenes, the one that the true poses are in"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N images")
    parser.add_argument("--json", type=Path, metavar="F", help="write the scores as JSON")
    parser.add_argument("--report", type=Path, metavar="HTML", help="write a page with figures and the worst cases")


def run(args: argparse.Namespace) -> int:
    """Evaluate offline, or live where it is asked."""
    check_options(args)
    if args.live:
        from vloc_ros.cli.live import evaluate_live

        return int(evaluate_live(args))
    outputs = outputs_of(args)
    questions, truth, odometry, left_out = read_questions(args)
    localizer = localizer_from(args)
    frame_id = frame_of_truth(args, localizer, truth)
    in_sequence = _fix_filter(args) if args.sequence else None
    records = localize_with_progress(localizer, questions, in_sequence=in_sequence, odom_from_camera=odometry)
    unusable = sum(not record.usable for record in records)
    questions, records, truth = _usable(questions, records, truth)
    scores = scores_of(records, truth, args.map, frame_id) | {"left_out": left_out, "unusable": unusable}
    if args.json:
        write_scores(args.json, scores)
    if args.report:
        write_report(args.report, localizer, questions, records, truth, scores, frame_id=frame_id)
    print_outcome(scores, outputs)
    return 1 if unusable else 0


def _usable(
    questions: Sequence[QuerySource], records: Sequence[ResultRecord], truth: Sequence[Pose] | None
) -> tuple[list[QuerySource], list[ResultRecord], list[Pose] | None]:
    """Those of the images that could be asked."""
    kept = [i for i, record in enumerate(records) if record.usable]
    return [questions[i] for i in kept], [records[i] for i in kept], truth and [truth[i] for i in kept]


def frame_of_truth(args: argparse.Namespace, localizer: Localizer, truth: Sequence[Pose] | None) -> str:
    """The scene that the true poses are in; empty without any."""
    return "" if truth is None else localizer.map.scene(args.scene).frame_id


def _fix_filter(args: argparse.Namespace) -> FixFilter:
    from vloc_ros.core.tracking.fix_filter import FixFilter

    return FixFilter(config_from(args).fix_filter)


def check_options(args: argparse.Namespace) -> None:
    """Combinations that argparse cannot rule out."""
    from vloc_ros.core.errors import InputError

    if args.images and (args.live or args.truth_topic):
        raise InputError("--live and --truth-topic need --bag, found --images; make one with `vloc bag make`")
    if args.bag and args.camera:
        raise InputError("--camera goes with --images, found --bag; a bag brings its calibration")
    if args.images and args.poses and not args.camera:
        raise InputError("--poses without --camera: the calibration is missing; give its camera_info YAML")
    if args.report:
        check_drawing()
    if args.limit is not None and args.limit < 1:
        raise InputError(f"--limit is {args.limit}, expected 1 or more")


def check_drawing() -> None:
    """Say before the work, not after it, that the report's figures cannot be drawn."""
    from vloc_ros.core.errors import MissingDependencyError

    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError("--report needs matplotlib; install it with pip install 'vloc_ros[evaluation]'")


def read_questions(
    args: argparse.Namespace,
) -> tuple[list[QuerySource], Sequence[Pose] | None, Sequence[Pose | None], int]:
    """The images to ask, their true map_from_camera (None for images of somewhere else), odom_from_camera, left out."""
    from vloc_ros.datasets.image_folders import questions_from, stamps_for, true_poses
    from vloc_ros.storage.cameras import read_camera
    from vloc_ros.storage.images import list_images

    if args.bag:
        return _read_bag(args)
    paths = list_images(args.images)
    camera = read_camera(args.camera) if args.camera else None
    if args.absent:
        if camera is None:
            print("no --camera: taking a focal length of 0.9 x the image width")
        questions = questions_from(paths, stamps_for(paths), camera)[: args.limit]
        return questions, None, [None] * len(questions), 0
    trajectory = true_poses(paths, args.poses)
    questions = questions_from(paths, trajectory.stamps_ns, camera)[: args.limit]
    return questions, trajectory.poses[: args.limit], [None] * len(questions), 0


def _read_bag(
    args: argparse.Namespace,
) -> tuple[list[QuerySource], Sequence[Pose] | None, Sequence[Pose | None], int]:
    from vloc_ros.datasets.bag_queries import read_bag_queries

    source = read_bag_queries(args)
    odometry = [
        odom_from_base and odom_from_base @ base_from_camera
        for odom_from_base, base_from_camera in zip(source.odom_from_base(), source.base_from_camera, strict=True)
    ]
    if source.truth is None:
        return source.questions, None, odometry, source.left_out
    pairs = zip(source.truth, source.base_from_camera, strict=True)
    truth = [map_from_base @ base_from_camera for map_from_base, base_from_camera in pairs]
    return source.questions, truth, odometry, source.left_out


def scores_of(
    records: Sequence[ResultRecord], truth: Sequence[Pose] | None, map_folder: Path, frame_id: str
) -> dict[str, Any]:
    """The scores of answers with true poses, or without any for images of somewhere else."""
    from vloc_ros.evaluation.scores import score, score_absent
    from vloc_ros.storage.maps import map_bytes

    size = map_bytes(map_folder)
    if truth is None:
        return score_absent(records, map_bytes=size)
    return score(records, truth, map_bytes=size, frame_id=frame_id)


def write_scores(path: Path, scores: dict[str, Any]) -> None:
    """The scores as a JSON file."""
    from vloc_ros.storage.atomic import write_bytes_atomically

    write_bytes_atomically(path, (json.dumps(scores, indent=2, allow_nan=False) + "\n").encode())


def write_report(
    path: Path,
    localizer: Localizer,
    questions: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    scores: dict[str, Any],
    *,
    frame_id: str,
) -> None:
    """The page with figures and the worst cases."""
    from vloc_ros.evaluation.report import report_page
    from vloc_ros.storage.atomic import write_bytes_atomically

    page = report_page(localizer.map, questions, records, truth, scores, frame_id=frame_id)
    write_bytes_atomically(path, page.encode())


def outputs_of(args: argparse.Namespace) -> list[Output]:
    """The files that are asked for.

    Raises:
        InputError: something of another kind is there.
    """
    from vloc_ros.storage.output_files import json_at, page_at

    scores = [json_at(args.json, key="queries")] if args.json else []
    return [*scores, page_at(args.report)] if args.report else scores


def print_outcome(scores: dict[str, Any], outputs: Sequence[Output]) -> None:
    """The table, and where the files went."""
    from vloc_ros.evaluation.table import table

    print(table(scores))
    for output in outputs:
        print(output)
