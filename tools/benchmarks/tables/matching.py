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

"""Tables about learned matchers: the last pass of a localizer, and relative poses of pairs of images."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource

LAST_PASS = ("last_pass_xfeat", "last_pass_aliked")
TWO_VIEW = "two_view"


def last_pass(figures: Mapping[str, Figures]) -> Table:
    """What nearest neighbours accept alone, and with a last pass."""
    rows = [
        [
            name.removeprefix("last_pass_"),
            images,
            str(row["queries"]),
            *(_counts(row[way]) for way in ("nearest", "last_pass")),
            *(_milliseconds(row[f"cpu_ms_{how}"]) for how in ("decided", "last_pass")),
        ]
        for name, of_extractor in figures.items()
        for images, row in of_extractor["rows"].items()
    ]
    header = ["keypoints", "images", "of", "nearest neighbours", "with the last pass"]
    return Table([*header, "CPU ms without it", "CPU ms with it"], rows)


def _counts(row: Mapping[str, int]) -> str:
    imprecise = f", {row['imprecise']} less precise" if row.get("imprecise") else ""
    return f"{row.get('right', 0)}{imprecise}, {row.get('wrong', 0)} wrong"


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.0f}"


def two_view(figures: Mapping[str, Figures]) -> Table:
    """AUC at 5, 10 and 20 degrees."""
    rows = [
        [
            scene,
            method,
            f"{row['matches']:.0f}",
            f"{row['precision']:.0%}",
            f"{row['matching_score']:.0%}",
            f"{row['cpu_ms']:.0f}",
            *(" / ".join(f"{value:.0f}" for value in row[estimator]) for estimator in ("poselib", "magsac")),
        ]
        for scene, of_scene in figures[TWO_VIEW]["rows"].items()
        for method, row in of_scene["methods"].items()
    ]
    header = ["pairs of", "method", "matches", "precision", "matching score", "CPU ms"]
    return Table([*header, "AUC@5/10/20, PoseLib", "OpenCV MAGSAC"], rows)


TABLES = {"last_pass": TableSource(LAST_PASS, last_pass), "two_view": TableSource((TWO_VIEW,), two_view)}
