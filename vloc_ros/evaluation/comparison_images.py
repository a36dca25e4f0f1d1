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

"""The images of a comparison: some of the queries, from where the runs say that their images are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.evaluation.report_images import thumbnail
from vloc_ros.storage.images import read_image
from vloc_ros.storage.runs import QueryRow, Run

MOST_DIFFERENT, SAMPLED = 40, 20
_WIDTH_PX = 400


def find_query_images(runs: Sequence[Run], queries: Sequence[Sequence[QueryRow | None]]) -> dict[int, str]:
    """Small images of the queries in which the runs differ most, and of an even sample, by the number of the query.

    Empty where the folders of the runs' images are not there any more, or where they are bags.

    Args:
        runs: which say where their images are.
        queries: the row of each query in each run, None where the run lacks it.
    """
    found = dict[int, str]()
    for i in _choose(queries):
        path = next((path for row, run in zip(queries[i], runs, strict=True) if (path := _path(run, row))), None)
        if path is None:
            continue
        try:
            found[i] = thumbnail(read_image(path), _WIDTH_PX)["src"]
        except InputError:  # it is damaged by now
            continue
    return found


def _path(run: Run, row: QueryRow | None) -> Path | None:
    """The file of a query, below the folder that the run names."""
    images = (run.scores.get("run") or {}).get("images")
    if row is None or not isinstance(images, str):
        return None
    folder = Path(images).resolve()
    path = (folder / row.image).resolve()
    return path if path.is_relative_to(folder) and path.is_file() else None


def _choose(queries: Sequence[Sequence[QueryRow | None]]) -> list[int]:
    order = sorted(range(len(queries)), key=lambda i: _difference(queries[i]), reverse=True)
    sample = np.linspace(0, len(queries) - 1, min(SAMPLED, len(queries))).round().astype(int)
    return sorted({*order[:MOST_DIFFERENT], *sample.tolist()})


def _difference(rows: Sequence[QueryRow | None]) -> tuple[int, int, float]:
    """How much runs differ in a query: in false accepts, then in acceptance, then in error."""
    there = [row for row in rows if row is not None]
    errors = [row.translation_m for row in there if row.translation_m is not None]
    return (
        len({row.false_accept for row in there}),
        len({row.accepted for row in there}),
        max(errors) - min(errors) if errors else 0.0,
    )
