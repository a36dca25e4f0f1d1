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


def accuracy_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the counts and the accuracy."""
    queries = scores["queries"]
    rows = [("queries", f"{queries}"), ("accepted", f"{scores['accepted']} ({scores['accepted'] / queries:.1%})")]
    if scores.get("left_out"):
        rows.insert(1, ("left out: time unknown to TF or truth", f"{scores['left_out']}"))
    if scores.get("unusable"):
        rows.insert(1, ("left out: cannot be used", f"{scores['unusable']}"))
    rows += [(f"refused: {reason.replace('_', ' ')}", f"{count}") for reason, count in scores["refusals"].items()]
    if scores["recall"]["5cm_5deg"] is not None:
        rows.append(("median error", median_text(scores)))
        rows += [(f"within {limit_text(name)}", f"{value:.1%}") for name, value in scores["recall"].items()]
    rows.append(("false accepts", f"{scores['false_accepts']}"))
    return rows


def consistency_rows(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(name, value) of the consistency of the covariances; nothing where that is unknown."""
    covariance = scores["covariance"]
    if covariance is None:
        return []
    inside = f"{covariance['inside_95']:.1%} of poses, {covariance['position_inside_95']:.1%} of positions"
    return [
        ("inside the 95 % ellipsoid", inside),
        (
            "NEES per degree of freedom",
            f"{_figure(covariance['nees_per_dof'])} (1 is consistent, more is overconfident)",
        ),
    ]


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
    return f"{scores['median_translation_m'] * 100:.2f} cm, {scores['median_rotation_deg']:.2f} deg"


def limit_text(name: str) -> str:
    """`2cm_2deg` as `2 cm, 2 deg`."""
    limit_m, limit_deg = RECALL_LIMITS[name]
    length = f"{limit_m * 100:g} cm" if limit_m < 1 else f"{limit_m:g} m"
    return f"{length}, {limit_deg:g} deg"


def _figure(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.2f}"
