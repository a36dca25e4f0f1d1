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

"""The tables on cross-view retrieval, from metrics as the commands write them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.cross_view import describe_row
from benchmarks.tables.cross_view import TABLES


def scores(recall: float) -> dict[str, Any]:
    known = {"queries": 20, "R@1": recall, "R@5": 0.9, "R@1%": 0.95, "chance": 0.01, "AP": 0.5}
    return known | {"SDM@1": 0.4, "median_m": 11.6, "region_top_1": 0.8, "region_chance": 0.25}


def test_an_index_has_a_row_for_each_condition_and_both_ways() -> None:
    found = {"conditions": {"day": scores(0.7)}, "there": scores(0.6), "back": scores(0.5)}
    found["back"]["left_out"] = 7
    table = TABLES["cross_view_indices"].write({"cross_view": {"rows": {"trained": found}}})
    assert [row[1:4] for row in table.rows] == [
        ["day", "20", "70.0%"],
        ["all", "20", "60.0%"],
        ["tile to drone", "20 (7 left out)", "50.0%"],
    ]
    assert table.cell("trained + day", "median") == "12 m"


def test_street_images_have_a_row_for_each_gallery() -> None:
    found = {**scores(0.05), "R@10": 0.2, "gallery": 576}
    rows = {"GeM, of ImageNet, satellite": {"view": "satellite", **found}, "VLAD, drone": {"view": "drone", **found}}
    table = TABLES["street_views"].write({"street_views": {"rows": rows}})
    assert [row[:5] for row in table.rows] == [
        ["GeM, of ImageNet", "aerial tiles", "20 in 576", "5.0%", "20.0%"],
        ["VLAD", "drone images", "20 in 576", "5.0%", "20.0%"],
    ]


def test_a_row_is_of_a_model_and_of_a_configuration(tmp_path: Path) -> None:
    found = set()
    for digest, width in (("a", 64), ("b", 64), ("b", 128)):
        (tmp_path / "manifest.json").write_text(json.dumps({"hash": digest}))
        found.add(describe_row("hierarchy", tmp_path, width=width))
    assert len(found) == 3


def test_seeds_of_the_hierarchy_are_one_row_beside_chance() -> None:
    levels = ("region_top_1", "region_top_3", "site", "tile")
    of = [dict.fromkeys(levels, value) for value in (0.2, 0.4)]
    chance = {"region": 0.25, "site": 0.0625, "tile": 0.01}
    found = {"hierarchy": of, "voting": dict.fromkeys(levels, 0.5), "chance": chance}
    table = TABLES["cross_view_hierarchy"].write({"cross_view": {"hierarchy": found}})
    assert table.rows[1] == ["hierarchy, 2 seeds", *["30.0%, 20.0% to 40.0%"] * 4]
    assert table.rows[2][1:] == ["25.0%", "75.0%", "6.2%", "1.0%"]
