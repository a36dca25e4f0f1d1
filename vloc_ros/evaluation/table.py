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

"""The scores as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vloc_ros.evaluation.scores import RECALL_LIMITS


def format_scores(scores: Mapping[str, Any]) -> str:
    """Format the scores of `score_results` or `score_negatives` as lines of aligned text."""
    rows = [*accuracy_rows(scores), *consistency_rows(scores), *latency_rows(scores)]
    rows.append(("map on disk", f"{scores['map_bytes'] / 1e6:.2f} MB"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def are_negatives(scores: Mapping[str, Any]) -> bool:
    """Whether they are those of `score_negatives`, which have no accuracy."""
    return scores["recall"]["5cm_5deg"] is None and scores["false_accepts"] is not None


def accuracy_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the counts and the accuracy: recalls over all queries, APE and RPE over the accepted alone."""
    queries = scores["queries"]
    rows = [*_left_out_rows(scores), ("queries", f"{queries}")]
    wanted = "; negatives: all must be refused" if are_negatives(scores) else ""
    rows.append(("accepted", f"{scores['accepted']} ({scores['accepted'] / queries:.1%}){wanted}"))
    rows += [(f"refused: {reason.replace('_', ' ')}", f"{count}") for reason, count in scores["refusals"].items()]
    if scores.get("not_comparable"):
        return [*rows, ("accuracy", f"not comparable: {scores['not_comparable']}")]
    if scores.get("assumed_scale"):
        rows.append(("scale of the truth", f"unknown: {scores['assumed_scale']}"))
    if scores.get("alignment"):
        rows.append(("aligned with the truth", alignment_text(scores["alignment"])))
    if scores["recall"]["5cm_5deg"] is not None:
        rows.append(("median error of all queries", median_text(scores)))
        rows += [
            (f"within {limit_text(name)}", f"{value:.1%} of all queries") for name, value in scores["recall"].items()
        ]
    return [*rows, ("false accepts", f"{scores['false_accepts']}"), *_pose_error_rows(scores)]


def _left_out_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Images that are no queries."""
    rows = []
    if live := scores.get("live"):
        rows.append(("dropped", drops_text(live)))
        if missing := live["images"] - live["answered"]:
            rows.append(("without a status", f"{missing} of {live['images']}"))
    if scores.get("unusable"):
        rows.append(("left out: cannot be used", f"{scores['unusable']}"))
    if scores.get("left_out"):
        rows.append(("left out: without a true pose, or TF", f"{scores['left_out']}"))
    return rows


def drops_text(live: Mapping[str, Any]) -> str:
    """`54 of 80, 1.6 of 6.0 Hz handled`."""
    return f"{live['dropped']} of {live['images']}, {rates_text(live)}"


def rates_text(live: Mapping[str, Any]) -> str:
    """`1.6 of 6.0 Hz handled`, by the images' rate; their number where that is unknown."""
    if live["rate_hz"] is None:
        return f"{live['handled']} handled"
    return f"{live['handled_hz']:.1f} of {live['rate_hz']:.1f} Hz handled"


def alignment_text(alignment: Mapping[str, Any]) -> str:
    """How results were moved onto the ground truth."""
    scale = f", scale {alignment['scale']:.6g}" if alignment["method"] == "Sim3" else ""
    return f"{alignment['method']} (Umeyama) over {alignment['poses']} accepted poses{scale}"


def _pose_error_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """APE and RPE, as evo has them."""
    rows = []
    if ape := scores.get("ape"):
        rows += _statistics_rows("APE", f"of {ape['poses']} accepted", ape)
    if rpe := scores.get("rpe"):
        delta = "pose to pose" if rpe["delta"]["unit"] == "frame" else f"over {rpe['delta']['value']:g} m"
        pairs = "1 pair" if rpe["pairs"] == 1 else f"{rpe['pairs']} pairs"
        rows += _statistics_rows("RPE", f"{delta}, {pairs} of accepted", rpe)
    return rows


def _statistics_rows(name: str, over: str, error: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(values: Mapping[str, float], factor: float, unit: str) -> str:
        return "  ".join(f"{key} {factor * values[key]:.2f}" for key in ("rmse", "mean", "median", "max")) + f" {unit}"

    return [
        (f"{name} position {over}", text(error["translation_m"], 100.0, "cm")),
        (f"{name} rotation {over}", text(error["rotation_deg"], 1.0, "deg")),
    ]


def consistency_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the consistency of the covariances; nothing where that is unknown."""
    covariance = scores["covariance"]
    if covariance is None:
        return []
    inside = f"{covariance['inside_95']:.1%} of poses, {covariance['position_inside_95']:.1%} of positions"
    nees = f"{nees_text(covariance['nees_per_dof'])} (1 is consistent, more is overconfident)"
    rows = [("inside the 95 % ellipsoid", inside), ("NEES per degree of freedom", nees)]
    if scores.get("alignment"):
        rows.append(
            (
                "  after the alignment",
                "shift and scale that all poses share are gone; a turn only as well as the positions determine it",
            )
        )
    return rows


def latency_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the milliseconds of each stage."""
    return [
        (f"{stage.replace('_', ' ')} ms", f"p50 {p['p50']:.1f}  p95 {p['p95']:.1f}  p99 {p['p99']:.1f}")
        for stage, p in scores["latency_ms"].items()
    ]


def median_text(scores: Mapping[str, Any]) -> str:
    """The median error for people; infinite when half of the queries or more were refused."""
    if scores["median_translation_m"] is None:
        return "infinite (half of the queries or more were refused)"
    return f"{length_text(scores['median_translation_m'])}, {scores['median_rotation_deg']:.2f} deg"


def length_text(length_m: float) -> str:
    """Centimetres, and metres from 1 m on."""
    return f"{length_m * 100:.2f} cm" if length_m < 1 else f"{length_m:.2f} m"


def limit_text(name: str) -> str:
    """`2cm_2deg` as `2 cm, 2 deg`."""
    limit_m, limit_deg = RECALL_LIMITS[name]
    length = f"{limit_m * 100:g} cm" if limit_m < 1 else f"{limit_m:g} m"
    return f"{length}, {limit_deg:g} deg"


def nees_text(value: float | None) -> str:
    """A NEES per degree of freedom; None is infinite."""
    return "infinite" if value is None else f"{value:.2f}"
