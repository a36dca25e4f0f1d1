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

"""What a process costs, and the table of map_building_time."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from benchmarks import map_building_time
from benchmarks.map_building_time import measure_process
from benchmarks.tables.maps import TABLES

_WORK = "import time; held = b'1' * 200_000_000; del held; time.sleep(0.5); sum(range(5_000_000))"


def test_time_and_memory_are_those_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(map_building_time, "_PERIOD_S", 0.01)
    ours = np.ones(400_000_000, np.uint8)  # must not be counted
    wall_s, cpu_s, peak_mb = measure_process([sys.executable, "-c", _WORK])
    assert len(ours) > 1e6 * peak_mb > 200_000_000
    assert wall_s > 0.5
    assert 0.02 < cpu_s < wall_s


def test_a_command_that_fails_has_no_cost() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        measure_process([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_row_holds_what_a_map_cost() -> None:
    cost = {"wall_s": 16.8, "cpu_s": 29.1, "peak_mb": 612.3, "images": 100, "points": 10322}
    table = TABLES["map_building_time"].write({"map_building_time": {"cases": {"redkitchen, posed": cost}}})
    assert table.rows == [["redkitchen, posed", "100", "10322", "17 s", "29 s", "612 MB"]]
