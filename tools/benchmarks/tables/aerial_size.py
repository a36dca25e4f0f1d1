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

"""Tables about the size of aerial maps, and about a search among a million descriptors."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource
from benchmarks.vector_database import INDEXES

_SIZES, _MILLION = "aerial_size", "million_descriptors"
_EXACT_BYTES = 4


def sizes(figures: Mapping[str, Figures]) -> Table:
    """What a map of each size takes, and a position in it."""
    rows = []
    for found in figures[_SIZES]["sizes"].values():
        count = found["tiles"]
        fixes = []
        for name in ("altitude", "no altitude"):
            one = found[name]
            fixes += [f"{one['median_s']:.2f} s, {one['slowest_s']:.2f} s", f"{one['within 2 m']}/{found['queries']}"]
        rows.append(
            [
                f"{count:,}".replace(",", " "),
                f"{found['square_km']:.1f} km²",
                f"{found['build_s'] / 60:.1f} min ({found['build_cpu_s'] / count * 1000:.0f} ms of CPU)",
                f"{found['build_resident_mb'] / 1000:.1f} GB",
                f"{found['bytes'] / 1e6:.0f} MB ({found['bytes'] / count / 1000:.1f} kB)",
                f"{found['first_load_s']:.1f} s, {found['load_s'] + found['ready_s']:.1f} s",
                *fixes,
            ]
        )
    header = ["tiles", "ground", "build (a tile)", "memory of it", "on disk (a tile)", "load first, again"]
    fix = ["a fix: median, slowest", "within 2 m", "without altitude", "within 2 m"]
    return Table([*header, *fix], rows)


def million(figures: Mapping[str, Figures]) -> Table:
    """The exact search among a million descriptors, product quantisation of several sizes on disk, and Milvus."""
    found = figures[_MILLION]["million"]
    exact = found["exact"]
    recalls = [f"{exact[f'recall@{count}']:.1%}" for count in (1, 10, 100)]
    size = f"{_EXACT_BYTES * found['values']}"
    rows = [["exact, in memory", "all", size, "-", f"{exact['ms']:.0f} ms", *recalls, recalls[0], "100.0%"]]
    for code, one in found["codes"].items():
        for searched in (key for key in one if key.isdigit()):
            row = one[searched]
            name, lists = f"IVF-PQ, {code} bytes", f"{searched} of {found['lists']} lists"
            made = [f"{one['bytes_each']:.0f}", f"{one['build_s']:.0f} s", f"{row['ms']:.1f} ms"]
            rows.append([name, lists, *made, *_recalls(row)])
    for settings in INDEXES:
        if one := figures[_MILLION].get(f"milvus {settings.kind}"):
            for effort, row in one["searched"].items():
                made = [
                    f"{one['bytes_each']:.0f}",
                    f"{one['build_cpu_s']:.0f} s of CPU",
                    f"{row['cpu_ms']:.0f} ms of CPU",
                ]
                rows.append([f"Milvus Lite, {settings.kind}", f"{settings.effort} {effort}", *made, *_recalls(row)])
    header = ["search", "searched", "bytes each", "to make", "a query", "R@1", "R@10", "R@100"]
    return Table([*header, "R@1, the 100 compared exactly", "of the exact 10, among 100"], rows)


def _recalls(row: Figures) -> list[str]:
    recalls = [f"{row[f'recall@{count}']:.1%}" for count in (1, 10, 100)]
    return [*recalls, f"{row['re-ranked recall@1']:.1%}", f"{row['of the exact 10']:.1%}"]


TABLES = {
    "aerial_sizes": TableSource((_SIZES,), sizes),
    "million_descriptors": TableSource((_MILLION,), million),
}
