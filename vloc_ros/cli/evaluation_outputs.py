"""What `vloc evaluate` gives: scores and a report as files, a table on the terminal."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vloc_ros.core.geometry.pose import Pose
    from vloc_ros.core.localization.localizer import Localizer
    from vloc_ros.core.sources import QuerySource
    from vloc_ros.evaluation.scored_run import ScoredRun
    from vloc_ros.storage.output_files import Output
    from vloc_ros.storage.results import ResultRecord


def outputs_of(args: argparse.Namespace) -> list[Output]:
    """The files of --json and --report, and the folder of --out.

    Raises:
        InputError: something of another kind is there.
    """
    from vloc_ros.cli.outputs import results_at
    from vloc_ros.storage.output_files import json_at, page_at

    outputs = [results_at(args.out)] if args.out else []
    outputs += [json_at(args.json, key="queries")] if args.json else []
    return [*outputs, page_at(args.report)] if args.report else outputs


def write_poses(folder: Path, records: Sequence[ResultRecord], truth: Sequence[Pose] | None) -> None:
    """The results, as found, and the true poses of the first of them, for other tools."""
    from vloc_ros.storage.results import write_results, write_truth

    write_results(folder, records)
    if truth is not None:
        write_truth(folder, records[: len(truth)], truth)


def write_scores(path: Path, scores: Mapping[str, Any]) -> None:
    """The scores as a JSON file."""
    from vloc_ros.storage.atomic import write_bytes_atomically

    write_bytes_atomically(path, (json.dumps(scores, indent=2, allow_nan=False) + "\n").encode())


def write_report(
    path: Path,
    localizer: Localizer,
    queries: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    scored: ScoredRun,
    *,
    frame_id: str,
) -> None:
    """The page with figures and the worst cases."""
    from vloc_ros.evaluation.report import make_report_page
    from vloc_ros.storage.atomic import write_bytes_atomically

    alignment = scored.comparable.alignment
    truth_from_map = alignment and alignment.truth_from_map
    page = make_report_page(
        localizer.map, queries, records, truth, scored.scores, frame_id=frame_id, truth_from_map=truth_from_map
    )
    write_bytes_atomically(path, page.encode())


def print_outcome(scores: Mapping[str, Any], outputs: Sequence[Output]) -> None:
    """The table, and where the files went."""
    from vloc_ros.evaluation.table import format_scores

    print(format_scores(scores))
    for output in outputs:
        print(output)
