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

"""Tables about cross-view retrieval on simulated towns."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import mean

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION, _WAY, _BACK = "cross_view", "there", "back"
_FIXES, _STREET = "aerial_fixes", "street_views"
_GALLERIES = {"satellite": "aerial tiles", "drone": "drone images"}


def indices(figures: Mapping[str, Figures]) -> Table:
    """Scores of each index: drone images of each condition in the tiles, and tiles in all drone images."""
    rows = []
    for name, found in figures[_SECTION]["rows"].items():
        for condition, scores in {**found["conditions"], "all": found[_WAY], "tile to drone": found[_BACK]}.items():
            shares = [f"{scores[one]:.1%}" for one in ("R@1", "R@5", "R@1%", "chance")]
            region = f"{scores['region_top_1']:.1%} ({scores['region_chance']:.1%})"
            metres = [f"{scores['SDM@1']:.2f}", f"{scores['median_m']:.0f} m"]
            left_out = f" ({scores['left_out']} left out)" if scores.get("left_out") else ""
            number = f"{scores['queries']}{left_out}"
            rows.append([name, condition, number, *shares, f"{scores['AP']:.2f}", *metres, region])
    header = ["index", "queries", "number", "R@1", "R@5", "R@1 %", "chance R@1", "AP", "SDM@1", "median"]
    return Table([*header, "town right (chance)"], rows)


def hierarchy(figures: Mapping[str, Figures]) -> Table:
    """Classifiers on the frozen descriptor beside nearest-neighbour voting: town, quarter and tile."""
    found = figures[_SECTION]["hierarchy"]
    names = ("region_top_1", "region_top_3", "site", "tile")
    seeds = {name: [one[name] for one in found["hierarchy"]] for name in names}
    learned = [f"{mean(of):.1%}, {min(of):.1%} to {max(of):.1%}" for of in seeds.values()]
    chance = [found["chance"]["region"], min(1.0, 3 * found["chance"]["region"]), found["chance"]["site"]]
    rows = [
        ["nearest-neighbour voting", *(f"{found['voting'][name]:.1%}" for name in names)],
        [f"hierarchy, {len(found['hierarchy'])} seeds", *learned],
        ["chance", *(f"{one:.1%}" for one in (*chance, found["chance"]["tile"]))],
    ]
    return Table(["on the same descriptors", "town", "town among 3", "quarter", "tile"], rows)


def leak(figures: Mapping[str, Figures]) -> Table:
    """The same weights of a joint attention, evaluated three ways."""
    rows = [
        [name, str(scores["queries"]), f"{scores['R@1']:.1%}", f"{scores['AP']:.2f}", f"{scores['chance']:.1%}"]
        for name, scores in figures[_SECTION]["leak"].items()
    ]
    return Table(["how images are encoded", "queries", "R@1", "AP", "chance R@1"], rows)


def fixes(figures: Mapping[str, Figures]) -> Table:
    """What an aerial map answers: drone images by condition, then images of elsewhere, all of whose fixes are wrong."""
    rows = []
    for name, found in figures[_FIXES].items():
        if not isinstance(found, Mapping):
            continue
        counts = [str(found["queries"]), str(found["accepted"])]
        if "s" not in found:
            rows.append([name, *counts, *["-"] * 7])
            continue
        within = [str(found[f"within {limit} m"]) for limit in (1, 2, 5)]
        errors = ["-"] * 3
        if found["accepted"]:
            errors = [f"{found['median_m']:.2f} m, {found['median_yaw_deg']:.1f}°", f"{found['worst_m']:.1f} m"]
            errors.append(f"{found['nees']:.2f}")
        rows.append([name, *counts, *within, *errors, f"{found['s']:.2f} s"])
    header = ["queries", "number", "accepted", "within 1 m", "2 m", "5 m", "median", "worst", "NEES", "median time"]
    return Table(header, rows)


def street(figures: Mapping[str, Figures]) -> Table:
    """Street images in aerial tiles, and among drone images."""
    rows = []
    for name, found in figures[_STREET]["rows"].items():
        title, gallery = name.removesuffix(f", {found['view']}"), _GALLERIES[found["view"]]
        shares = [f"{found[one]:.1%}" for one in ("R@1", "R@10", "R@1%", "chance")]
        region = f"{found['region_top_1']:.1%} ({found['region_chance']:.1%})"
        number = f"{found['queries']} in {found['gallery']}"
        rows.append([title, gallery, number, *shares, f"{found['median_m']:.0f} m", region])
    header = ["index", "street images in", "number", "R@1", "R@10", "R@1 %", "chance R@1", "median"]
    return Table([*header, "town right (chance)"], rows)


TABLES = {
    "street_views": TableSource((_STREET,), street),
    "aerial_fixes": TableSource((_FIXES,), fixes),
    "cross_view_indices": TableSource((_SECTION,), indices),
    "cross_view_hierarchy": TableSource((_SECTION,), hierarchy),
    "cross_view_leak": TableSource((_SECTION,), leak),
}
