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

"""Tables about scans in maps of LiDAR places."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource


def lidar(figures: Mapping[str, Figures]) -> Table:
    """Scans that are in the map."""
    f = figures["lidar"]
    rows = [_row(name, one) for name, one in f["simulated"].items()]
    rows += [_row(f"town, {name}", one) for name, one in f["sensors"].items()]
    rows += [_row(f"KITTI, {name} apart", one) for name, one in f["kitti"].items()]
    rows.append(_row("redkitchen, depth images", f["redkitchen_depth"]))
    header = ["scans", "right", "wrong", "median error", "NEES", "CPU s p50 / p95"]
    return Table(header, rows)


def _row(name: str, f: Figures) -> list[str]:
    error = "-" if f["median_m"] is None else f"{100 * f['median_m']:.1f} cm, {f['median_deg']:.2f} deg"
    nees = "-" if f["nees"] is None else f"{f['nees']:.1f}"
    times = f"{f['cpu_s_median']:.2f} / {f['cpu_s_p95']:.2f}"
    return [name, f"{f['right']}/{f['queries']}", str(f["wrong"]), error, nees, times]


def lidar_negatives(figures: Mapping[str, Figures]) -> Table:
    """Scans of places that are not in the map."""
    f = figures["lidar"]["other_places"]
    rows = {**f["rows"], "together": f, "places that look like the mapped one": f["alike"]}
    cells = [[name, str(row["queries"]), str(row["accepted"])] for name, row in rows.items()]
    return Table(["map", "scans of other places", "accepted"], cells)


TABLES = {
    "lidar": TableSource(("lidar",), lidar),
    "lidar_negatives": TableSource(("lidar",), lidar_negatives),
}
