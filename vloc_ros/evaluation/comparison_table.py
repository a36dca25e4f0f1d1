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

"""A comparison of runs as tables, for a terminal and for a page."""

from __future__ import annotations

from collections.abc import Sequence

from vloc_ros.evaluation.comparison import Difference, PairedComparison
from vloc_ros.evaluation.scores import RECALL_LIMITS
from vloc_ros.evaluation.table import drops_text, limit_text, median_text, nees_text
from vloc_ros.storage.runs import Run


def score_rows(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """(name, text for each run) of the scores."""
    lives = [run.scores.get("live") for run in runs]
    rows = [("dropped", [drops_text(live) if live else "-" for live in lives])] if any(lives) else []
    rows += [
        ("queries", [f"{run.scores['queries']}" for run in runs]),
        ("accepted", [_accepted(run) for run in runs]),
        ("false accepts", [f"{run.scores['false_accepts']}" for run in runs]),
    ]
    if not runs[0].negatives:
        rows.append(("aligned", [_alignment(run) for run in runs]))
        rows.append(("median error", [median_text(run.scores) for run in runs]))
        rows += [
            (f"within {limit_text(name)}", [f"{run.scores['recall'][name]:.1%}" for run in runs])
            for name in RECALL_LIMITS
        ]
        rows.append(("NEES per degree of freedom", [_nees(run) for run in runs]))
    rows += [(f"time, {name}", [_latency(run, name) for run in runs]) for name in ("p50", "p95")]
    rows.append(("map on disk", [f"{run.scores['map_bytes'] / 1e6:.2f} MB" for run in runs]))
    return rows


def _accepted(run: Run) -> str:
    accepted, queries = run.scores["accepted"], run.scores["queries"]
    return f"{accepted} ({accepted / queries:.1%})"


def _alignment(run: Run) -> str:
    alignment = run.scores.get("alignment")
    return f"{alignment['method']} over {alignment['poses']} poses" if alignment else "none"


def _nees(run: Run) -> str:
    covariance = run.scores.get("covariance")
    return nees_text(covariance["nees_per_dof"]) if covariance else "-"


def alignment_warning(runs: Sequence[Run]) -> str:
    """Why the errors of runs are not comparable; empty where all were aligned with the truth in one way."""
    methods = [(run.scores.get("alignment") or {}).get("method", "none") for run in runs]
    if runs[0].negatives or len(set(methods)) == 1:
        return ""
    found = ", ".join(f"{run.name}: {method}" for run, method in zip(runs, methods, strict=True))
    return (
        f"The runs are aligned with the ground truth in different ways ({found}): their errors are not comparable. "
        "Evaluate all with the same --align and --correct-scale."
    )


def origin_rows(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    """(name, text for each run) of what the runs were made with, and of the parameters that differ between them."""
    made = [run.scores.get("run", {}) for run in runs]
    maps = [values.get("map", {}) for values in made]
    rows = [
        ("map", [f"{values.get('name', '-')} {values.get('hash', '')[:8]}".strip() for values in maps]),
        ("images", [str(values.get("images", "-")) for values in made]),
        ("mode", [str(values.get("mode", "-")) for values in made]),
        ("revision", [str(values.get("revision") or values.get("version") or "-") for values in made]),
    ]
    settings = [values.get("settings", {}) for values in made]
    names = dict.fromkeys(name for values in settings for name in values)
    rows += [(name, [f"{values.get(name, '-')}" for values in settings]) for name in names]
    return [(name, texts) for name, texts in rows if name not in names or len(set(texts)) > 1]


def _latency(run: Run, name: str) -> str:
    total = run.scores["latency_ms"].get("total")
    return f"{total[name]:.1f} ms" if total else "-"


def difference_text(difference: Difference) -> tuple[str, str]:
    """The value and its interval for people."""
    if difference.value is None:
        return "-", "no query to compare"
    digits = 3 if difference.unit in ("cm", "°") else 1
    unit = {"%": " points", "°": "°"}.get(difference.unit, f" {difference.unit}")
    # no -0.0
    value, low, high = (round(v or 0.0, digits) + 0.0 for v in (difference.value, difference.low, difference.high))
    return f"{value:+.{digits}f}{unit}", f"{low:+.{digits}f} to {high:+.{digits}f}"


def format_comparison(runs: Sequence[Run], pairs: Sequence[PairedComparison]) -> str:
    """The comparison as lines of aligned text for a terminal."""
    rows = [*origin_rows(runs), *score_rows(runs)]
    warning = alignment_warning(runs)
    lines = [f"warning: {warning}", ""] if warning else []
    lines += _align([["", *(run.name for run in runs)], *([name, *texts] for name, texts in rows)])
    for pair in pairs:
        lines += ["", f"{pair.other.name} minus {pair.first.name}, over the {pair.shared} queries of both"]
        table = [["", "difference", "95 % interval", "queries"]]
        table += [[d.name, *difference_text(d), f"{d.queries}"] for d in pair.differences]
        lines += _align(table)
        lines.append(
            f"accepted by {pair.first.name} alone {pair.only_first}, by {pair.other.name} alone {pair.only_other}"
        )
    return "\n".join(lines)


def _align(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(f"{text:<{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in table]
