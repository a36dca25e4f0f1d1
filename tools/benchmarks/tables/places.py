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

"""Tables about place recognition without training."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION = "place_recognition"


def indices(figures: Mapping[str, Figures]) -> Table:
    """Recall of each index by day and night, and what it costs."""
    rows = []
    for name, found in figures[_SECTION]["rows"].items():
        scores = found["scores"]
        aupr = "" if scores["aupr"] is None else f"{scores['aupr']:.3f}"
        shares = [_share(scores["recall"][one]) for one in ("R@1", "R@5")]
        cost = [str(found["bytes_in_a_map"]), f"{found['describe_ms']:.0f}"]
        rows.append([name, *shares, f"{scores['chance']['R@1']:.1%}", aupr, *cost])
    return Table(["index, set, light", "R@1", "R@5", "chance R@1", "AUPR", "bytes", "ms to describe"], rows)


def reranked(figures: Mapping[str, Figures]) -> Table:
    """What each re-ranking changes by itself; that by a pose says where the queries were."""
    rows = []
    for name, found in figures[_SECTION]["rows"].items():
        before = f"{found['scores']['recall']['R@1']['share']:.1%}"
        for one in found["rerankings"]:
            after = f"{one['scores']['recall']['R@1']['share']:.1%}" if one["scores"] else "refused"
            rows.append([name, one["name"], before, after, f"{one['ms']:.1f}", _metres(one)])
    return Table(["index, set, light", "re-ranking", "R@1 before", "after", "ms a query", "located, median"], rows)


def variants(figures: Mapping[str, Figures]) -> Table:
    """How queries are handled, and scales."""
    rows = [
        [name, how, _share(found["scores"]["recall"]["R@1"]), _share(share)]
        for name, found in figures[_SECTION]["rows"].items()
        for how, share in found["variants"].items()
    ]
    return Table(["index, set, light", "option", "R@1 without", "with"], rows)


def _share(share: Figures) -> str:
    low, high = share["interval_95"]
    return f"{share['share']:.1%} ({low:.1%} to {high:.1%})"


def _metres(one: Figures) -> str:
    errors = [error for error in one.get("position_errors_m", []) if error is not None]
    return f"{len(errors)} of {len(one['position_errors_m'])}, {median(errors):.2f} m" if errors else ""


TABLES = {
    "place_indices": TableSource((_SECTION,), indices),
    "place_rerankings": TableSource((_SECTION,), reranked),
    "place_variants": TableSource((_SECTION,), variants),
}
