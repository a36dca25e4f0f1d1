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

"""The page of a test of place recognition: the wrong answers on their map, with their images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.evaluation.page import render_page
from vloc_ros.evaluation.plotly_script import packed_plotly
from vloc_ros.evaluation.report_images import thumbnail
from vloc_ros.storage.images import read_image

_MOST_SHOWN = 100
_MOST_DATABASE = 5000
_WIDTH_PX = 320


def make_place_page(
    index: str,
    rows: Sequence[Mapping[str, Any]],
    firsts: Array,
    database: Array,
    queries: Array,
    database_paths: Sequence[Path],
    query_paths: Sequence[Path],
) -> str:
    """Make the page as HTML.

    Args:
        index: its name.
        rows: of all queries, as `vloc place test --json` has them.
        firsts: (Q,) first result of each query.
        database: (N, 2) metres.
        queries: (Q, 2) metres.
        database_paths: N files.
        query_paths: Q files.

    Raises:
        InputError: an image cannot be read.
    """
    origin = database.mean(axis=0)
    wrong = [q for q, row in enumerate(rows) if not row["right"]]
    # those that are most certain of themselves are the worst
    worst = set(sorted(wrong, key=lambda q: -rows[q]["similarity"])[:_MOST_SHOWN])
    data = {
        "database": _rounded(database[:: max(1, len(database) // _MOST_DATABASE)] - origin),
        "wrong": [
            {
                **rows[q],
                "at": _rounded(queries[q] - origin),
                "answer": _rounded(database[firsts[q]] - origin),
                "images": _images(q, int(firsts[q]), database, queries, database_paths, query_paths)
                if q in worst
                else None,
            }
            for q in wrong
        ],
    }
    return render_page(
        "place.html",
        data,
        plotly=packed_plotly(),
        title="Wrong places",
        subtitle=f"{index}: {len(wrong)} of {len(rows)} queries",
        wrong=len(wrong),
        without=sum(not rows[q]["positives"] for q in wrong),
        shown=min(len(wrong), _MOST_SHOWN),
    )


def _images(
    q: int, first: int, database: Array, queries: Array, database_paths: Sequence[Path], query_paths: Sequence[Path]
) -> dict[str, Any]:
    """The query, its first result, and the nearest database image."""
    nearest = int(np.linalg.norm(database - queries[q], axis=1).argmin())
    paths = {"query": query_paths[q], "answer": database_paths[first], "nearest": database_paths[nearest]}
    return {name: thumbnail(read_image(path), _WIDTH_PX)["src"] for name, path in paths.items()}


def _rounded(positions: Array) -> Any:
    return np.round(positions, 2).tolist()
