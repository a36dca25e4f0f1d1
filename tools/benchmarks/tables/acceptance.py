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

"""The table of which poses are accepted."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource
from scipy.stats import beta

PREFIX = "acceptance_"
WORLDS = f"{PREFIX}worlds"
SECTIONS = (f"{PREFIX}rootsift", f"{PREFIX}xfeat", WORLDS)
_NEGATIVES = {"foreign": "other places", "aliased": "places that look alike", "misplaced": "a wrong prior",
              "furnished alike": "rooms furnished alike"}  # fmt: skip


def acceptance(figures: Mapping[str, Figures]) -> Table:
    """What each extractor accepts, by condition."""
    photographs = {name.removeprefix(PREFIX): f for name, f in figures.items() if name != WORLDS}
    first: Figures = next(iter(photographs.values()), {"scenes": {}, "other_places": {}})
    rows = [
        [f"{scene}, {condition}", *(_counts(f["scenes"][scene][condition]) for f in photographs.values())]
        for scene, conditions in first["scenes"].items()
        for condition in conditions
    ]
    for scene in first["other_places"]:
        accepted = [_accepted(f["other_places"][scene], "wrong") for f in photographs.values()]
        rows.append([f"{scene}'s map, photographs of other places", *accepted])
    if worlds := figures.get(WORLDS):
        rows += [
            [f"simulated, {title}", *(_accepted(worlds[name][kind], "accepted") for name in photographs)]
            for kind, title in _NEGATIVES.items()
        ]
        rows.append(["calibration error, simulated", *(_calibration(worlds[name]) for name in photographs)])
    return Table(["images", *photographs], rows)


def _counts(f: Figures) -> str:
    right, wrong, imprecise, queries = (f.get(name, 0) for name in ("right", "wrong", "imprecise", "queries"))
    low, high = interval(right, queries)
    more = f", {imprecise} less precise" if imprecise else ""
    return f"{right}/{queries} ({low:.0%} to {high:.0%}){more}, {wrong} wrong"


def _accepted(f: Figures, name: str) -> str:
    return f"{f.get(name, 0)} of {f['queries']} accepted"


def _calibration(f: Figures) -> str:
    low, high = f["calibration_error_interval"]
    return f"{f['calibration_error']:.3f} ({low:.3f} to {high:.3f})"


def interval(hits: int, of: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper and Pearson 1934)."""
    low = float(beta.ppf(0.025, hits, of - hits + 1)) if hits else 0.0
    return low, float(beta.ppf(0.975, hits + 1, of - hits)) if hits < of else 1.0


TABLES = {"acceptance": TableSource(SECTIONS, acceptance)}
