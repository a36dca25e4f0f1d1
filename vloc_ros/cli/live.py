"""Live evaluation: a bag is played through DDS to the ROS 2 nodes at its own rate, and what they publish is scored.

The nodes run as processes in a ROS domain of their own. Every published pose is compared with TF map -> odom composed
with the odometry, and with the offline answer for the same image: so that there is one, every image is answered by
itself, unless they are asked for in sequence.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vloc_ros.datasets.bag_queries import BagQueries
    from vloc_ros.evaluation.live import LiveRecording
    from vloc_ros.evaluation.live_processes import Children

_TOLERANCE_S = 0.1
_IMAGE_DEPTH = 50
_END_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 60.0


def evaluate_live(args: argparse.Namespace) -> int:
    """Play, record, compare with the offline localizer, and report; 1 when a check fails."""
    from vloc_ros.cli.evaluate import frame_of_truth, outputs_of, print_outcome, write_report, write_scores
    from vloc_ros.cli.localize_batch import localize_with_progress
    from vloc_ros.cli.localizer_options import localizer_from
    from vloc_ros.core.errors import InputError, MapError
    from vloc_ros.datasets.bag_queries import read_bag_queries
    from vloc_ros.evaluation.live import check_lines, live_scores, seen_by_camera
    from vloc_ros.storage.maps import map_bytes

    outputs, localizer = outputs_of(args), localizer_from(args)
    if not localizer.map.metric:
        raise MapError(
            f"{args.map}: its scale is unknown, expected metres for ROS; align it first with `vloc map align`"
        )
    source = read_bag_queries(args)
    frame_id = frame_of_truth(args, localizer, source.truth)
    offline = localize_with_progress(localizer, source.questions)
    if unusable := [record.image for record in offline if not record.usable]:
        raise InputError(
            f"{args.bag}: {len(unusable)} images cannot be used ({unusable[0]}), expected images that the nodes can "
            "answer; evaluate it without --live"
        )
    with tempfile.TemporaryDirectory(prefix="vloc_live_") as folder:
        recording = play(args, source, Path(folder))
    size = map_bytes(args.map)
    scores = live_scores(recording, source, offline, map_bytes=size, frame_id=frame_id, in_sequence=args.sequence)
    scores["left_out"] = source.left_out
    if args.json:
        write_scores(args.json, scores)
    if args.report:
        shown, truth = seen_by_camera(recording, source, offline)
        write_report(args.report, localizer, source.questions, shown, truth, scores, frame_id=frame_id)
    print_outcome(scores, outputs)
    print("\n".join(check_lines(scores["live"])))
    return 0 if scores["live"]["passed"] else 1


def play(args: argparse.Namespace, source: BagQueries, folder: Path) -> LiveRecording:
    """Run the nodes until the bag has been played and every image is answered."""
    from vloc_ros.evaluation.live import read_recording
    from vloc_ros.evaluation.live_processes import Children, free_domain

    parameters = write_parameters(args, folder / "parameters.yaml")
    out, log = folder / "recording.jsonl", folder / "played.jsonl"
    played = len(source.stamps_ns) + source.left_out
    with free_domain() as environment, Children(environment, folder) as children:
        children.start("map_server", map=str(Path(args.map).resolve()))
        children.start("recorder", out=str(out), expected=played)
        _start_localizer(children, args, source, parameters, cache=folder / "cache")
        player = children.start(
            "player",
            bag=str(Path(args.bag).resolve()),
            wait_for=source.image_topic,
            wait_for_localizer="localizer",
            wait_timeout_s=_START_TIMEOUT_S,
            limit=args.limit or 0,
            log=str(log),
        )
        print(f"playing {args.bag} live, {played} images", file=sys.stderr)
        children.wait_for(player)
        children.end_of("recorder", within_s=_END_TIMEOUT_S)
        return read_recording(out, log, tolerance_ns=round(_TOLERANCE_S * 1e9), image_topic=source.image_topic)


def models(args: argparse.Namespace) -> dict[str, str]:
    """The node's parameters for the models that the offline localizer has."""
    given = {"recognizer": args.recognizer, "encoder": args.encoder}
    return {name: str(folder.resolve()) for name, folder in given.items() if folder}


def _start_localizer(
    children: Children, args: argparse.Namespace, source: BagQueries, parameters: Path, *, cache: Path
) -> None:
    """With the bag's topics and frames; images are taken one by one as they were recorded, none dropped."""
    remaps = {"camera_info": source.camera_info_topic}
    remaps["image/compressed" if source.compressed else "image"] = source.image_topic
    children.start(
        "localizer",
        params_file=parameters,
        remaps=remaps,
        map_cache=str(cache),
        image_transport="compressed" if source.compressed else "raw",
        image_rectified=args.rectified,
        image_reliability="reliable",
        image_depth=_IMAGE_DEPTH,
        base_frame=source.base_frame,
        odom_frame=source.odom_frame or "odom",
        publish_tf="map_odom" if source.odom_frame else "map_base",
        transform_tolerance_s=_TOLERANCE_S,
        carry_last_fix=args.sequence,
        **{"fix_filter.enabled": args.sequence},
        **models(args),
    )


def write_parameters(args: argparse.Namespace, path: Path) -> Path:
    """The localizer's parameters, as `--params` and `--set` give them, as a ROS parameter file."""
    import yaml

    from vloc_ros.cli.localizer_options import config_from
    from vloc_ros.core.config import parameters_of

    values: dict[str, Any] = {leaf.name: leaf.value for leaf in parameters_of(config_from(args))}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}), encoding="utf-8")
    return path
