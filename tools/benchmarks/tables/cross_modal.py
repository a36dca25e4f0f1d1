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

"""The table about images and scans in one descriptor space."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean
from typing import Any

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION = "cross_modal"


def recalls(figures: Mapping[str, Figures]) -> Table:
    """R@1 and R@1 % of each direction and drive by both protocols, the mean over the seeds, beside chance."""
    by_row = dict[tuple[str, str, str, str], list[dict[str, Any]]]()
    for name, found in figures[_SECTION]["rows"].items():
        for drive, test in found["tests"].items():
            for direction, part in test["scores"].items():
                for protocol, score in part.items():
                    key = (name.partition(", seed ")[0], drive.replace("_", " "), direction, protocol)
                    by_row.setdefault(key, []).append(score)
    rows = [[*key, *_cells(scores)] for key, scores in by_row.items()]
    header = ["model", "queries", "direction", "within", "R@1", "chance", "R@1 %", "chance", "queries with one"]
    return Table(header, rows)


def _cells(scores: list[dict[str, Any]]) -> list[str]:
    cells = []
    for name in ("R@1", "R@1%"):
        shares = [one[name]["share"] for one in scores if one[name]["share"] is not None]
        spread = f" ({min(shares):.1%} to {max(shares):.1%})" if len(shares) > 1 else ""
        cells += [f"{mean(shares):.1%}{spread}" if shares else "-", f"{scores[0]['chance'][name]:.1%}"]
    return [*cells, str(scores[0]["R@1"]["of"])]


TABLES = {"cross_modal": TableSource((_SECTION,), recalls)}
