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

"""The page of a comparison: the curves of all runs, their differences, and every query in all of them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from vloc_ros.evaluation.comparison import PairedComparison, key_of_queries
from vloc_ros.evaluation.comparison_images import find_query_images
from vloc_ros.evaluation.comparison_table import alignment_warning, difference_text, origin_rows, score_rows
from vloc_ros.evaluation.page import render_page
from vloc_ros.evaluation.plotly_script import packed_plotly
from vloc_ros.evaluation.report import query_values
from vloc_ros.storage.runs import QueryRow, Run


def make_comparison_page(runs: Sequence[Run], pairs: Sequence[PairedComparison]) -> str:
    """Make the page as HTML.

    Args:
        runs: the first is the one that others are compared with.
        pairs: from `compare_with_first`.
    """
    negatives = runs[0].negatives
    rows = _rows_of_queries(runs)
    images = find_query_images(runs, rows)
    queries = [_query_values(one) for one in rows]
    data = {"negatives": negatives, "runs": [run.name for run in runs], "queries": queries, "images": images}
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
        warning=alignment_warning(runs),
        origins=origin_rows(runs),
        pairs=shared,
        negatives=negatives,
        shown=len(images),
    )


def _rows_of_queries(runs: Sequence[Run]) -> list[list[QueryRow | None]]:
    """Of every query of any run, its row in each run or None."""
    key, found = key_of_queries(runs), dict[Hashable, list[QueryRow | None]]()
    for at, run in enumerate(runs):
        for row in run.rows:
            found.setdefault(key(row), [None] * len(runs))[at] = row
    return list(found.values())


def _query_values(rows: Sequence[QueryRow | None]) -> dict[str, Any]:
    image = next(row.image for row in rows if row is not None)
    return {"image": image, "runs": [row and query_values(row) for row in rows]}
