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

"""What `vloc evaluate` gives: scores and a report as files, a table on the terminal."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.dependencies import require

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.core.map.landmark_map import LandmarkMap
    from vloc_ros.core.sources import QuerySource
    from vloc_ros.evaluation.scored_run import ScoredRun
    from vloc_ros.storage.output_files import Output
    from vloc_ros.storage.results import ResultRecord


def outputs_of(args: argparse.Namespace) -> list[Output]:
    """The files of --json, --report and --rerun, and the folder of --out.

    Raises:
        InputError: something of another kind is there.
    """
    from vloc_ros.cli.outputs import results_at
    from vloc_ros.storage.output_files import json_at, page_at, recording_at

    outputs = [results_at(args.out, with_truth=not args.absent)] if args.out else []
    outputs += [json_at(args.json, key="queries")] if args.json else []
    outputs += [page_at(args.report)] if args.report else []
    return [*outputs, recording_at(args.rerun)] if args.rerun else outputs


def write_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """The scores as a JSON file."""
    from vloc_ros.storage.atomic import write_bytes_atomically

    write_bytes_atomically(path, (json.dumps(scores, indent=2, allow_nan=False) + "\n").encode())


def check_outputs(args: argparse.Namespace) -> None:
    """Refuse before the work, not after it, what would fail at the end.

    Raises:
        InputError: --map-images without --report.
        MissingDependencyError: a library of the outputs is not installed.
    """
    from vloc_ros.core.errors import InputError

    if args.map_images and not args.report:
        raise InputError("--map-images is for --report, which is missing; name a page with --report")
    if args.report:
        require("--report", "plotly", "jinja2")
    if args.rerun:
        require("--rerun", "rerun")


def check_map(args: argparse.Namespace, landmark_map: LandmarkMap) -> None:
    """Refuse before the work what the map lacks for the outputs.

    Raises:
        InputError: --map-images lacks images of the map, or --rerun needs --scene.
    """
    from vloc_ros.datasets.keyframe_images import find_keyframe_images

    if args.map_images:
        find_keyframe_images(landmark_map, args.map_images)
    if args.rerun:
        landmark_map.scene(args.scene)


def write_report(
    args: argparse.Namespace,
    localizer: Localizer,
    queries: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    scored: ScoredRun,
    *,
    frame_id: str,
) -> None:
    """The page to explore, with the true poses of its images in the unit that these were scored in."""
    from vloc_ros.datasets.keyframe_images import find_keyframe_images
    from vloc_ros.evaluation.report import make_report_page
    from vloc_ros.storage.atomic import write_bytes_atomically

    alignment = scored.comparable.alignment
    page = make_report_page(
        localizer.map,
        queries,
        records,
        truth and scored.comparable.truth_in_metres(truth),
        scored.scores,
        frame_id=frame_id,
        truth_from_map=alignment and alignment.truth_from_map,
        keyframe_images=find_keyframe_images(localizer.map, args.map_images) if args.map_images else (),
    )
    write_bytes_atomically(args.report, page.encode())


def write_recording(
    args: argparse.Namespace,
    localizer: Localizer,
    queries: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    scored: ScoredRun,
) -> None:
    """The recording for the viewer of rerun; of the truth where it has a place in the map."""
    from vloc_ros.evaluation.rerun_recording import record_run
    from vloc_ros.storage.atomic import write_bytes_atomically

    shown = scored.comparable.truth_in_map(truth)
    recording = record_run(localizer.map, queries, records, shown, frame_id=args.scene)
    write_bytes_atomically(args.rerun, recording)


def print_outcome(scores: Mapping[str, Any], outputs: Sequence[Output]) -> None:
    """The table, and where the files went."""
    from vloc_ros.cli.localize_batch import explain_refusals
    from vloc_ros.evaluation.table import are_negatives, format_scores

    print(format_scores(scores))
    refused = sum(scores["refusals"].values())
    if not are_negatives(scores) and refused > scores["accepted"] and (cause := explain_refusals(scores["refusals"])):
        print(f"refused are {refused} of {scores['queries']}, {cause}")
    for output in outputs:
        print(output)
