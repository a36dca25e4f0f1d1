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

"""The rows of images and scans in one descriptor space."""

from __future__ import annotations

from typing import Any

from benchmarks.tables.cross_modal import TABLES


def _test(hits: int) -> dict[str, Any]:
    share = {"hits": hits, "of": 4, "share": hits / 4, "interval_95": [0, 1]}
    score = {"R@1": share, "R@1%": share, "chance": {"R@1": 0.125, "R@1%": 0.25}}
    return {"tests": {"other_day": {"scores": {"2D-3D": {"20 m": score}}}}}


def test_rows_of_several_seeds_have_their_mean_and_range() -> None:
    rows = {"range, small, seed 0": _test(1), "range, small, seed 1": _test(3), "not trained": _test(0)}
    table = TABLES["cross_modal"].write({"cross_modal": {"rows": rows}})
    assert table.rows[0][:5] == ["range, small", "other day", "2D-3D", "20 m", "50.0% (25.0% to 75.0%)"]
    assert table.rows[0][5] == "12.5%"
    assert table.rows[1][4] == "0.0%"
