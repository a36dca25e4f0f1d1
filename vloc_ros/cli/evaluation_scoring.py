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

"""How `vloc evaluate` compares results with the ground truth: its options, and the scores that follow."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.localizer_options import config_from
from vloc_ros.cli.pose_sources import add_scale_unknown, assumed_scale, check_scale_unknown
from vloc_ros.cli.source_options import add_max_time_difference, check_max_time_difference

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.evaluation.scored_run import ScoredRun
    from vloc_ros.storage.results import ResultRecord


def add_scoring_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--align",
        action="store_true",
        help="move the accepted poses onto the true ones first, by least squares (Umeyama), as evo's --align: for a "
        "map whose frame is not that of the truth",
    )
    parser.add_argument(
        "--correct-scale", action="store_true", help="with --align: scale them too, for a map whose scale is unknown"
    )
    add_scale_unknown(parser, text="--align --correct-scale then compares them with a map in metres")
    add_max_time_difference(
        parser,
        text="of an image and its pose in --poses (default: 0.01); or of the poses before and after it in a bag or "
        "EuRoC, between which the true one is interpolated (default: 0.2); others are left out",
    )
    parser.add_argument(
        "--rpe-delta",
        type=float,
        metavar="METRES",
        help="length of the path that the relative pose error is over (default: from each accepted pose to the next)",
    )


def check_scoring_options(args: argparse.Namespace) -> None:
    """Combinations and values that argparse cannot rule out.

    Raises:
        InputError: one of them.
    """
    from vloc_ros.core.errors import InputError

    if args.correct_scale and not args.align:
        raise InputError("--correct-scale goes with --align, found it alone; give both")
    check_scale_unknown(args)
    if args.absent and (args.align or args.rpe_delta is not None):
        option = "--align" if args.align else "--rpe-delta"
        raise InputError(f"{option} needs true poses, found --absent; give --poses or --truth-topic, or leave it out")
    check_max_time_difference(args, also=("poses",))
    if args.rpe_delta is not None and not 0 < args.rpe_delta < float("inf"):
        raise InputError(f"--rpe-delta is {args.rpe_delta:g}, expected metres above 0")


def score(
    args: argparse.Namespace,
    localizer: Localizer,
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    frame_id: str,
) -> ScoredRun:
    """The scores of results with true poses, or without any for negatives, and what the run was made with."""
    from vloc_ros.evaluation.run_description import describe_run
    from vloc_ros.evaluation.scored_run import ScoringOptions, score_run
    from vloc_ros.storage.maps import map_bytes

    scored = score_run(
        records,
        truth,
        landmark_map=localizer.map,
        map_bytes=map_bytes(args.map),
        options=ScoringOptions(args.align, args.correct_scale, args.rpe_delta, not args.scale_unknown),
        frame_id=frame_id,
    )
    scored.scores["assumed_scale"] = assumed_scale(args) or None
    mode = f"{'live ' * args.live}{'sequence' if args.sequence else 'single'}"
    scored.scores["run"] = describe_run(
        localizer.map,
        args.map,
        images=args.scans or args.bag or args.images,
        config=config_from(args),
        models={"recognizer": args.recognizer, "encoder": args.encoder, "matcher": args.matcher},
        mode=mode,
    )
    return scored


def lacks_alignment(args: argparse.Namespace, scored: ScoredRun) -> bool:
    """Whether --align was given and the results could not be aligned; the scores say why."""
    return bool(args.align and scored.comparable.not_comparable)


def unscored_row(record: ResultRecord, status: str) -> dict[str, Any]:
    """The row of an image without a score: it cannot be used, or the nodes dropped it."""
    from vloc_ros.evaluation.query_rows import make_unscored_row

    return make_unscored_row(record.image, record.stamp_ns, status, record.result.reason)
