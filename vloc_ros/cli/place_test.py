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

"""Test place recognition on a data set, as the visual geo-localization benchmark does, with intervals and chance.

  vloc place test DATASET                                              VLAD over RootSIFT, nothing to train
  vloc place test DATASET --index models/gem-efficientnet-lite0 --index models/xfeat --index vlad-sift
  vloc place test DATASET --index MODEL --scales 0.71,1,1.41 --method five_crops
  vloc place test DATASET --rerank aqe:5,3 --rerank kreciprocal:20,6,0.3 --rerank cluster:20,25 --rerank pose:10
  vloc place test DATASET --queries queries_night --report wrong.html --json scores.json

R@N is the share of queries with a positive among the first N: of all queries, as the benchmark counts, and of those
that have a positive. P@K is positives among the first K over min(K, positives). Positives are within --radius, or share
their view (--positives shared-view, of a data set that was exported from a map). Every re-ranking is measured by
itself: qe:N and aqe:N,ALPHA (query expansion), dba:N (database-side augmentation), kreciprocal:K1,K2,WEIGHT,
cluster:N,RADIUS (positions) and pose:N,RADIUS, local features and a pose, which says where the query was in metres.
Without --camera, which is for all images, their focal length is guessed as 0.9 times their width. Damaged images are
named and left out; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vloc_ros.cli.place_options import VLAD_SIFT, add_index_options, add_split_options
from vloc_ros.cli.source_options import CALIBRATION

if TYPE_CHECKING:
    from vloc_ros.cli.place_results import RerankingResult, TestOptions, TestResult
    from vloc_ros.core.geometry.pose import Array
    from vloc_ros.datasets.place_recognition.place_images import PlaceSplit
    from vloc_ros.evaluation.place_scores import Share


def register(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("dataset", type=Path, metavar="DATASET", help="folder with `images` or places.csv")
    add_split_options(parser)
    add_index_options(parser, repeatable=True)
    parser.add_argument(
        "--positives", choices=("distance", "shared-view"), default="distance", help="default: distance"
    )
    parser.add_argument("--radius", type=float, default=25.0, metavar="M", help="of positives (default: 25)")
    parser.add_argument("--max-angle", type=float, metavar="DEG", help="of positives, between headings (default: any)")
    parser.add_argument("--min-share", type=float, default=0.1, metavar="J", help="of shared views (default: 0.1)")
    parser.add_argument("--rerank", action="append", default=[], metavar="NAME:N,N", help="see above; repeatable")
    parser.add_argument("--local-features", metavar="MODEL", help="of pose (default: RootSIFT)")
    parser.add_argument("--camera", type=Path, metavar="FILE", help=CALIBRATION)
    parser.add_argument("--report", type=Path, metavar="FILE", help="page of the wrong answers on their map")
    parser.add_argument("--json", type=Path, metavar="FILE", help="scores, and a row for each query")


def run(args: argparse.Namespace) -> int:
    """Test every index and print."""
    from vloc_ros.cli.dependencies import require
    from vloc_ros.cli.place_options import open_extractor, open_index, read_split_of
    from vloc_ros.cli.place_testing import measure_index
    from vloc_ros.progress import bar
    from vloc_ros.storage.atomic import write_bytes_atomically
    from vloc_ros.storage.output_files import json_at, page_at

    if args.report:
        require("--report", "jinja2", "plotly")
    outputs = [page_at(args.report)] if args.report else []
    outputs += [json_at(args.json, key="place_recognition")] if args.json else []
    options, split = _options(args), read_split_of(args)
    positives = _positives(args, split)
    by_pose = any(one.name == "pose" for one in options.rerankings)
    extractor = open_extractor(args.local_features or VLAD_SIFT, args) if by_pose else None
    indices = [open_index(name, args) for name in args.index or (None,)]
    results = [measure_index(one, split, positives, options, extractor=extractor, progress=bar) for one in indices]
    print(_format(results))
    if args.report:
        from vloc_ros.evaluation.place_page import make_place_page

        best = max(results, key=lambda result: result.scores.recall[1].hits)
        page = make_place_page(best.index, best.rows(), best.ranking.rows[:, 0], *_drawn(best))
        write_bytes_atomically(args.report, page.encode())
    if args.json:
        content = {"place_recognition": str(args.dataset.name), "split": args.split, "queries": args.queries}
        content |= {"options": _recorded(args, options)}
        content |= {"indices": [result.as_dict() for result in results]}
        write_bytes_atomically(args.json, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())
    for output in outputs:
        print(output)
    damaged = results[0].damaged
    for message in damaged:
        print(f"vloc: warning: left out: {message}", file=sys.stderr)
    return 1 if damaged else 0


def _options(args: argparse.Namespace) -> TestOptions:
    from vloc_ros.cli.place_options import check_positives_options, scales_of, size_of
    from vloc_ros.cli.place_results import TestOptions
    from vloc_ros.evaluation.place_retrieval import Reranking
    from vloc_ros.storage.cameras import read_camera

    check_positives_options(args)
    return TestOptions(
        args.method,
        size_of(args),
        scales_of(args),
        args.radius,
        tuple(Reranking.parse(text) for text in args.rerank),
        read_camera(args.camera) if args.camera else None,
    )


def _recorded(args: argparse.Namespace, options: TestOptions) -> dict[str, Any]:
    """What the scores depend on; None where an option was not given."""
    shared = args.positives == "shared-view"
    return {
        "positives": args.positives,
        "radius_m": args.radius,
        "max_angle_deg": None if shared else args.max_angle,
        "min_share": args.min_share if shared else None,
        "separate_zones": args.separate_zones,
        "method": options.method,
        "resize": options.size,
        "scales": options.scales,
        "camera": args.camera.name if args.camera else None,
        "local_features": Path(args.local_features).name if args.local_features else None,
    }


def _positives(args: argparse.Namespace, split: PlaceSplit) -> Sequence[Array]:
    from vloc_ros.datasets.place_recognition.positives import find_positives, read_shared_views

    if args.positives == "shared-view":
        return read_shared_views(args.dataset, args.split, split, min_share=args.min_share)
    return find_positives(split.queries, split.database, radius_m=args.radius, max_angle_deg=args.max_angle)


def _drawn(result: TestResult) -> tuple[Array, Array, Sequence[Path], Sequence[Path]]:
    from vloc_ros.datasets.place_recognition.place_images import positions_of

    split = result.split
    return (
        positions_of(split.database),
        positions_of(split.queries),
        [image.path for image in split.database],
        [image.path for image in split.queries],
    )


def _format(results: Sequence[TestResult]) -> str:
    scores = results[0].scores
    lines = [
        f"{scores.queries} queries, {scores.with_positive} with a positive, {scores.database} database images",
        f"chance              {_join(f'R@{n} {100 * value:.1f} %' for n, value in scores.chance.items())}",
    ]
    for result in results:
        lines += ["", *_lines_of(result)]
    return "\n".join(lines)


def _lines_of(result: TestResult) -> list[str]:
    scores, cost = result.scores, result.cost
    network = f", {cost['gmac']:.2f} GMAC at its own size" if "gmac" in cost else ""
    lines = [
        f"{result.index}: {result.dimension} values, {4 * result.dimension} bytes ({result.dimension} in a map)"
        f"{network}, {result.describe_ms:.0f} ms to describe, {result.search_ms:.2f} ms to search",
        f"  of all queries    {_shares(scores.recall)}",
        f"  with a positive   {_shares(scores.recall_with_positive)}",
        f"  precision         {_join(f'P@{k} {100 * value:.1f} %' for k, value in scores.precision.items())}",
    ]
    if scores.aupr is not None and scores.recall_at_precision_1 is not None:
        lines.append(
            f"  confidence        recall at precision 1 {100 * scores.recall_at_precision_1:.1f} %, "
            f"AUPR {scores.aupr:.3f}"
        )
    return [*lines, *(_line_of_reranking(result, found) for found in result.rerankings)]


def _line_of_reranking(result: TestResult, found: RerankingResult) -> str:
    from vloc_ros.cli.place_results import describe_positions

    name = f"  {found.reranking!s:17} "
    if found.scores is None:
        return f"{name}refused: {found.refused}"
    before, after = result.scores.recall[1], found.scores.recall[1]
    line = f"{name}R@1 {_percent(before)} -> {_percent(after)}, {found.ms:.1f} ms a query"
    if found.position_errors_m is None:
        return line
    positions = describe_positions(result, found)
    if positions["median_m"] is None:
        return f"{line}; no query has a position"
    within = _join(f"{100 * share:.1f} % within {limit}" for limit, share in positions["within"].items())
    return (
        f"{line}; {positions['located']} of {after.of} with a position, median {positions['median_m']:.2f} m off "
        f"(their first result {positions['first_result_median_m']:.2f} m); of all {within}"
    )


def _shares(shares: dict[int, Share]) -> str:
    def text(n: int, share: Share) -> str:
        interval = share.interval
        between = f" ({100 * interval[0]:.1f} to {100 * interval[1]:.1f})" if interval else ""
        return f"R@{n} {_percent(share)}{between}"

    return _join(text(n, share) for n, share in shares.items())


def _percent(share: Share) -> str:
    return "-" if share.value is None else f"{100 * share.value:.1f} %"


def _join(parts: Iterable[str]) -> str:
    return ", ".join(parts)
