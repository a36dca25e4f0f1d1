"""The page of a comparison: the curves of all runs, their differences, and every query in all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vloc_ros.evaluation.comparison import PairedComparison
from vloc_ros.evaluation.comparison_table import difference_text, origin_rows, score_rows
from vloc_ros.evaluation.page import render_page
from vloc_ros.evaluation.plotly_script import packed_plotly
from vloc_ros.evaluation.report import query_values
from vloc_ros.storage.runs import Run


def make_comparison_page(runs: Sequence[Run], pairs: Sequence[PairedComparison]) -> str:
    """Make the page as HTML.

    Args:
        runs: the first is the one that others are compared with.
        pairs: from `compare_with_first`.
    """
    negatives = runs[0].negatives
    data = {"negatives": negatives, "runs": [run.name for run in runs], "queries": _queries(runs)}
    shared = [
        {
            "title": f"{pair.other.name} minus {pair.first.name}",
            "shared": pair.shared,
            "alone": [(pair.first.name, pair.only_first), (pair.other.name, pair.only_other)],
            "rows": [(d.name, *difference_text(d), d.queries, d.is_clear) for d in pair.differences],
        }
        for pair in pairs
    ]
    return render_page(
        "comparison.html",
        data,
        plotly=packed_plotly(),
        title="Comparison of negatives" if negatives else "Comparison",
        subtitle=" · ".join(run.name for run in runs),
        runs=[run.name for run in runs],
        scores=score_rows(runs),
        origins=origin_rows(runs),
        pairs=shared,
        negatives=negatives,
    )


def _queries(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Every query of any run: its image, and its row in each run or None."""
    found: dict[tuple[str, int | None], list[Any]] = {}
    for at, run in enumerate(runs):
        for row in run.rows:
            values = query_values(row)
            found.setdefault(row.key, [None] * len(runs))[at] = {
                name: value for name, value in values.items() if name not in ("image", "stamp_ns")
            }
    return [{"image": image, "stamp_ns": stamp_ns, "runs": values} for (image, stamp_ns), values in found.items()]
