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

"""Places that are put together, and the measurement and the tables of lidar_size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from benchmarks import lidar_size
from benchmarks.many_places import ManyPlaces
from benchmarks.tables.lidar_size import TABLES

from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR, ScanContextEncoder
from vloc_ros.storage.maps import read_map

FIGURES = {
    "places": 100_000,
    "bytes": 1_200_000_000,
    "make_cpu_s": 250.0,
    "write_cpu_s": 60.0,
    "make_peak_mb": 5000.0,
    "add_cpu_s": 70.0,
    "add_peak_mb": 5200.0,
    "first_load_s": 20.0,
    "load_s": 1.0,
    "ready_s": 1.5,
    "memory_mb": 300.0,
    "server_load_s": 15.0,
    "server_peak_mb": 2900.0,
    "server_mb": 200.0,
    "queries": 40,
    "search_s": 0.0021,
    "median_retrieval_s": 0.15,
    "median_s": 0.25,
    "slowest_s": 0.4,
    "median_cpu_s": 0.2,
    "retrieved": 39,
    "best": 38,
    "right": 37,
    "wrong": 1,
    "query_places_s": 0.12,
    "query_places_slowest_s": 0.2,
}


@pytest.fixture(scope="module")
def places() -> ManyPlaces:
    return ManyPlaces.simulate(30.0)


def test_places_that_are_put_together_differ_as_those_of_a_drive_do(places: ManyPlaces) -> None:
    clouds = [places.made(k) for k in range(12)]
    np.testing.assert_array_equal(clouds[3], places.made(3))
    rows = ScanContextEncoder(ScanContext()).encode(clouds)
    most_alike = (rows @ rows.T - 2.0 * np.eye(len(rows))).max(axis=1)
    assert 0.5 < np.median(most_alike) < 0.97
    assert most_alike.max() < 0.99
    scans = places.scans(12)
    assert [scan.name.split("/")[0] for scan in scans] == ["drive"] * 7 + ["made"] * 5
    positions = np.array([scan.map_from_sensor.translation for scan in scans if scan.map_from_sensor is not None])
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).min() > 0.9 * 5.0
    assert np.linalg.norm(positions[:7, None] - positions[None, 7:], axis=2).min() > 1000.0


def test_a_small_map_is_measured(tmp_path: Path, places: ManyPlaces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ManyPlaces, "simulate", lambda **_: places)
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # the measurement names its own
    monkeypatch.setattr(lidar_size, "QUERIES", 4)
    monkeypatch.setattr(lidar_size, "ADDED", 3)
    parts = lidar_size._make, lidar_size._localize, lidar_size._serve, lidar_size._add
    found = {name: value for part in parts for name, value in part(tmp_path, 30).items()}
    assert (found["places"], found["driven"], found["queries"], found["added"]) == (30, 7, 4, 3)
    assert found["retrieved"] == 4
    assert found["best"] == 4
    assert found["right"] >= 2
    assert found["wrong"] == 0
    assert 5_000 < found["bytes"] / 30 < 50_000
    assert 0 < found["alike"]["made"] < 1
    assert set(FIGURES) <= set(found)
    assert len(read_map(tmp_path / "map").places[LIDAR]) == 33


def test_sizes_have_a_row_each() -> None:
    figures = {"lidar_size": {"sizes": {"100000": FIGURES}}}
    stored, searched = (TABLES[f"lidar_size_{name}"].write(figures) for name in ("stored", "searched"))
    assert stored.cell("100 000", "on disk (a place)") == "1200 MB (12.0 kB)"
    assert stored.cell("100 000", "make, write a place (CPU)") == "2.5 ms, 0.6 ms"
    assert stored.cell("100 000", "map server: load, peak, then") == "15.0 s, 2.90 GB, 0.20 GB"
    assert searched.cell("100 000", "place among 40") == "39/40"
    assert searched.cell("100 000", "query_places: median, slowest") == "120 ms, 200 ms"
