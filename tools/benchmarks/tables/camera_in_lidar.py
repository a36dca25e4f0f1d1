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

"""The table about a moving camera in maps of LiDAR places."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

_SECTION = "camera_in_lidar"
_WITHIN = ("within 0.25 m, 10 deg", "within 0.5 m, 5 deg", "within 2 m, 10 deg")


def poses(figures: Mapping[str, Figures]) -> Table:
    """Of each scene and number of clouds: how near the best hypotheses are, and what is accepted."""
    rows = []
    for name, found in figures[_SECTION].items():
        if "hypotheses" not in found:  # in a map of another place, where each accepted pose is wrong
            accepted = str(found["accepted by up to four"])
            rows.append([name, str(found["images"]), *[""] * 4, accepted, accepted, "", ""])
            continue
        best, accepted = found["hypotheses"], found["accepted"]
        shares = [f"{best[limit]:.0%}" for limit in _WITHIN]
        nees = "-"
        if "nees" in accepted:
            low, high = accepted["consistent nees"]
            nees = f"{accepted['nees']:.1f} ({low:.1f} to {high:.1f})"
        rows.append(
            [
                name,
                str(accepted["images"]),
                f"{best['median_m']:.2f} m",
                *shares,
                str(accepted["accepted"]),
                str(accepted.get("false accepts", 0)),
                nees,
                f"{found['cpu_s_median']:.1f} s",
            ]
        )
    header = ["", "images", "median", *(limit.replace("deg", "°") for limit in _WITHIN)]
    return Table([*header, "accepted", "wrong", "NEES (consistent)", "CPU"], rows)


TABLES = {"camera_in_lidar": TableSource((_SECTION,), poses)}
