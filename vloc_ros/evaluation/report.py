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

"""The report on a set of images: one page to explore, with every query, its error and, of some, its image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import QuerySource
from vloc_ros.evaluation.page import render_page
from vloc_ros.evaluation.plotly_script import packed_plotly
from vloc_ros.evaluation.query_rows import make_query_rows
from vloc_ros.evaluation.report_images import choose_images, make_images
from vloc_ros.evaluation.scores import compute_errors
from vloc_ros.evaluation.table import (
    accuracy_rows,
    alignment_text,
    consistency_rows,
    length_text,
    nees_text,
    rates_text,
)
from vloc_ros.evaluation.trajectory_view import view_from_above
from vloc_ros.storage.results import ResultRecord
from vloc_ros.storage.runs import ROWS, QueryRow, row_from_values

# per degree of freedom: above, or below its inverse, the covariances are far from consistent
_FAR_NEES = 3.0
_POSES = {"truth", "map_from_rig"}


def make_report_page(
    landmark_map: LandmarkMap,
    sources: Sequence[QuerySource],
    records: Sequence[ResultRecord],
    truth: Sequence[Pose] | None,
    scores: Mapping[str, Any],
    *,
    frame_id: str = "",
    truth_from_map: Similarity | None = None,
    keyframe_images: Sequence[Path] = (),
) -> str:
    """Make the report as HTML.

    Args:
        landmark_map: the map of the localizer.
        sources: the images, in the order of `records`; only those that are shown are read.
        records: the results.
        truth: true map_from_rig of every image, None for negatives.
        scores: from `score_results` or `score_negatives`.
        frame_id: frame of the scene of the ground truth; empty where the map has only one.
        truth_from_map: the alignment of the results with the ground truth; None where they are of one frame.
        keyframe_images: file of every keyframe of the map; none where they are not at hand.

    Raises:
        InputError: the counts differ, or an image cannot be read.
    """
    rows = _rows(records, truth, scores, frame_id)
    chosen = choose_images(rows)
    figures = _figures(landmark_map, scores, negatives=truth is None)
    view = None if truth is None else _view(landmark_map.part(frame_id), rows, truth_from_map, figures["with_errors"])
    data = {
        **{name: figures[name] for name in ("negatives", "with_errors", "latency_ms")},
        "rows": [query_values(row) for row in rows],
        "view": view,
        **make_images(landmark_map, sources, records, chosen, keyframe_images),
    }
    counts = {"shown": len(chosen), "queries": len(rows), "with_keyframes": bool(keyframe_images)}
    return render_page("report.html", data, plotly=packed_plotly(), **figures, **counts)


def _figures(landmark_map: LandmarkMap, scores: Mapping[str, Any], *, negatives: bool) -> dict[str, Any]:
    """What the page says by the scores alone."""
    return {
        "negatives": negatives,
        "with_errors": not negatives and not scores.get("not_comparable"),
        "title": "Negatives" if negatives else "Localization report",
        "subtitle": _subtitle(landmark_map, scores, negatives=negatives),
        "tiles": _negative_tiles(scores) if negatives else _tiles(scores),
        "not_comparable": scores.get("not_comparable"),
        "measures": [*accuracy_rows(scores), *consistency_rows(scores), _map_size(scores)],
        "latency_ms": scores["latency_ms"],
        "live": scores.get("live"),
    }


def _rows(
    records: Sequence[ResultRecord], truth: Sequence[Pose] | None, scores: Mapping[str, Any], frame_id: str
) -> list[QueryRow]:
    """The rows of the scores, which begin with those of the results; made here where the scores have none."""
    if truth is not None and len(truth) != len(records):
        raise InputError(f"{len(truth)} true poses for {len(records)} images, expected one for each")
    values = scores.get(ROWS)
    if values is None:
        errors = None if truth is None else compute_errors(records, truth, frame_id=frame_id)
        values = make_query_rows(records, truth=truth, errors=errors)
    return [row_from_values(row) for row in values[: len(records)]]


def _view(
    part: LandmarkMap, rows: Sequence[QueryRow], truth_from_map: Similarity | None, with_errors: bool
) -> dict[str, Any]:
    """The view from above, with the truth as it lies in the map; without it where that is not known."""
    truth = [row.truth if with_errors else None for row in rows]
    if truth_from_map is not None:
        map_from_truth = truth_from_map.inverse()
        truth = [pose and map_from_truth.apply_to_pose(pose) for pose in truth]
    return view_from_above(part, rows, truth)


def query_values(row: QueryRow) -> dict[str, Any]:
    """A row as values for a page, without its poses."""
    return {name: getattr(row, name) for name in QueryRow.__slots__ if name not in _POSES}


def _subtitle(landmark_map: LandmarkMap, scores: Mapping[str, Any], *, negatives: bool) -> str:
    images = "1 image" if scores["queries"] == 1 else f"{scores['queries']} images"
    text = f"{images}, localized in the map “{landmark_map.name}” of {len(landmark_map.points)} points"
    if scores.get("live"):
        text += ", played live to the ROS 2 nodes"
    if scores.get("alignment"):
        text += f". Aligned with the ground truth: {alignment_text(scores['alignment'])}"
    return f"{text}. The images are of other places: all must be refused." if negatives else text


def _map_size(scores: Mapping[str, Any]) -> tuple[str, str]:
    return "map on disk", f"{scores['map_bytes'] / 1e6:.2f} MB"


def _tiles(scores: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Headline figures: value, label, whether it is bad."""
    median, rotation, within = (
        scores["median_translation_m"],
        scores["median_rotation_deg"],
        scores["recall"]["5cm_5deg"],
    )
    accuracy = [
        ("infinite" if median is None else length_text(median), "median position error", median is None),
        ("infinite" if rotation is None else f"{rotation:.2f}°", "median rotation error", rotation is None),
    ]
    accuracy = [] if within is None else [*accuracy, (f"{within:.1%}", "within 5 cm and 5°", False)]
    accepted = (f"{scores['accepted']} / {scores['queries']}", "accepted", False)
    trust = [*_false_accepts(scores, "false accepts"), *_nees(scores)]
    return [*accuracy, accepted, *trust, *_drops(scores), *_latency(scores)]


def _negative_tiles(scores: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    images = (f"{scores['queries']}", "images", False)
    return [images, *_false_accepts(scores, "accepted, all falsely"), *_drops(scores), *_latency(scores)]


def _drops(scores: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Images of a live run that the localizer never had."""
    live = scores.get("live")
    return [] if live is None else [(f"{live['dropped']} / {live['images']}", f"dropped, {rates_text(live)}", False)]


def _false_accepts(scores: Mapping[str, Any], label: str) -> list[tuple[str, str, bool]]:
    count = scores["false_accepts"]
    return [] if count is None else [(f"{count}", label, count > 0)]


def _nees(scores: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Bad where the covariances are far from consistent, either way."""
    covariance = scores["covariance"]
    if covariance is None:
        return []
    value = covariance["nees_per_dof"]
    consistent = value is not None and 1 / _FAR_NEES <= value <= _FAR_NEES
    return [(nees_text(value), "NEES, 1 is consistent", not consistent)]


def _latency(scores: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Unknown where no query came to a stage."""
    total = scores["latency_ms"].get("total")
    return [(f"{total['p50']:.0f} ms" if total else "unknown", "per image, median", False)]
