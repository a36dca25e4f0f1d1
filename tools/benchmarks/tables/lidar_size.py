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

"""Tables about the size of maps of LiDAR places."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource


def stored(figures: Mapping[str, Figures]) -> Table:
    """What a map of each size takes to make, to store and to load."""
    rows = []
    for f in figures["lidar_size"]["sizes"].values():
        count = f["places"]
        rows.append(
            [
                _thousands(count),
                f"{1000 * f['make_cpu_s'] / count:.1f} ms, {1000 * f['write_cpu_s'] / count:.1f} ms",
                _gigabytes(f["make_peak_mb"]),
                f"{f['add_cpu_s']:.1f} s ({_gigabytes(f['add_peak_mb'])})",
                f"{f['bytes'] / 1e6:.0f} MB ({f['bytes'] / count / 1000:.1f} kB)",
                f"{f['first_load_s']:.1f} s, {f['load_s']:.1f} s, {f['ready_s']:.1f} s",
                _gigabytes(f["memory_mb"]),
                f"{f['server_load_s']:.1f} s, {_gigabytes(f['server_peak_mb'])}, {_gigabytes(f['server_mb'])}",
            ]
        )
    header = ["places", "make, write a place (CPU)", "memory of it", "100 more (memory)", "on disk (a place)"]
    header += ["load first, again, first search", "memory of a localizer", "map server: load, peak, then"]
    return Table(header, rows)


def searched(figures: Mapping[str, Figures]) -> Table:
    """A scan in a map of each size."""
    rows = []
    for f in figures["lidar_size"]["sizes"].values():
        asked = f["queries"]
        rows.append(
            [
                _thousands(f["places"]),
                f"{1000 * f['search_s']:.1f} ms",
                f"{f['median_retrieval_s']:.2f} s",
                f"{f['median_s']:.2f} s, {f['slowest_s']:.2f} s",
                f"{f['median_cpu_s']:.2f} s",
                *(f"{f[name]}/{asked}" for name in ("retrieved", "best", "right")),
                str(f["wrong"]),
                f"{1000 * f['query_places_s']:.0f} ms, {1000 * f['query_places_slowest_s']:.0f} ms",
            ]
        )
    header = ["places", "descriptors", "retrieval", "a scan: median, slowest", "CPU", "place among 40", "place first"]
    return Table([*header, "right pose", "wrong pose", "query_places: median, slowest"], rows)


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.2f} GB"


TABLES = {
    "lidar_size_stored": TableSource(("lidar_size",), stored),
    "lidar_size_searched": TableSource(("lidar_size",), searched),
}
