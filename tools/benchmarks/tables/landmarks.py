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

"""Tables about landmarks, lighting, several scenes and map updates."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.provenance import Figures
from benchmarks.tables.table import Table, TableSource, counts, hits, median_error

_STAGES = ("features", "candidates", "matching", "pose", "verification")


def recognizer(figures: Mapping[str, Figures]) -> Table:
    """Localization with a recogniser and without."""
    rows = [
        [
            method,
            hits(s, "2cm_2deg"),
            hits(s, "5cm_5deg"),
            median_error(s),
            *[f"{s['latency_ms'][stage]['p50']:.0f}" if stage in s["latency_ms"] else "" for stage in _STAGES],
            f"{s['latency_ms']['after_features']['p50']:.0f}",
            counts(s["accepted_by_candidate"]),
        ]
        for method, s in figures["recognizer"]["methods"].items()
    ]
    stages = ["features, ms p50", *_STAGES[1:], "after features"]
    return Table(["method", "2 cm 2°", "5 cm 5°", "median error", *stages, "found by"], rows)


def night(figures: Mapping[str, Figures]) -> Table:
    """Queries in another light than the map's."""
    rows = [
        [
            f"{light}, {method}",
            hits(s, "5cm_5deg"),
            hits(s, "25cm_2deg"),
            str(s["queries"] - s["accepted"]),
            str(s["false_accepts"]),
            counts(s["accepted_by_candidate"]),
        ]
        for light, methods in figures["night"].items()
        for method, s in methods.items()
    ]
    return Table(["light, method", "5 cm 5°", "25 cm 2°", "refused", "false accepts", "found by"], rows)


def four_scenes(figures: Mapping[str, Figures]) -> Table:
    """Several scenes in one map."""
    rows = [
        [
            f"{frame}, {method}",
            *[str(s[name]) for name in ("queries", "right", "refused", "wrong")],
            hits(s, "5cm_5deg"),
            median_error(s),
            f"{s['latency_ms']['after_features']['p50']:.0f}",
        ]
        for method, scenes in figures["four_scenes"]["methods"].items()
        for frame, s in scenes.items()
    ]
    header = ["scene, method", "queries", "right", "refused", "wrong", "5 cm 5°", "median error"]
    return Table([*header, "after features, ms p50"], rows)


def updated(figures: Mapping[str, Figures]) -> Table:
    """An updated map, and a recogniser trained before the update."""
    f = figures["updated"]
    searched = [_updated_row(f"{title}, whole map", m, m["whole map"]) for title, m in f["maps"].items()]
    recognized = [_updated_row(f"{title}, recognized", f["maps"][title], s) for title, s in f["recognized"].items()]
    header = ["map", "points", "landmarks", "2 cm 2°", "5 cm 5°", "median error", "refused", "false accepts"]
    return Table([*header, "found by"], searched + recognized)


def _updated_row(title: str, landmark_map: Figures, s: Figures) -> list[str]:
    return [
        title,
        str(landmark_map["points"]),
        str(landmark_map["landmarks"]),
        hits(s, "2cm_2deg"),
        hits(s, "5cm_5deg"),
        median_error(s),
        str(s["queries"] - s["accepted"]),
        str(s["false_accepts"]),
        counts(s["accepted_by_candidate"]),
    ]


TABLES = {
    "recognizer": TableSource(("recognizer",), recognizer),
    "night": TableSource(("night",), night),
    "four_scenes": TableSource(("four_scenes",), four_scenes),
    "updated": TableSource(("updated",), updated),
}
