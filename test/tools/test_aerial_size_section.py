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

"""The drawn town, the search among many descriptors, and the tables of aerial_size."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from benchmarks import million_descriptors, provenance, vector_database
from benchmarks.large_town import LargeTown
from benchmarks.tables.aerial_size import TABLES

from vloc_ros.geo.xyz_folders import open_xyz_folder
from vloc_ros.geo.xyz_ground import read_xyz


def test_a_drone_sees_what_the_tiles_show(tmp_path: Path) -> None:
    town = LargeTown.draw(6, 1)
    assert not np.array_equal(town.image, LargeTown.draw(6, 2).image)
    town.write(tmp_path, tiles=4)
    source = read_xyz(tmp_path)
    ground = source.ground[0]
    from_drone = town.fly(open_xyz_folder(tmp_path), source.datum, 3)
    pose, focal = from_drone.map_from_camera, 500.0
    side = 96
    offset = (np.arange(side) - side / 2 + 0.5) * ground.ground_size_m
    x, y = np.meshgrid(pose.translation[0] + offset, pose.translation[1] - offset)
    places = np.column_stack([x.ravel(), y.ravel(), np.zeros(side**2)])
    in_camera = pose.inverse().apply(places)
    pixels = focal * in_camera[:, :2] / in_camera[:, 2:] + [320.0, 240.0] - 0.5
    seen = cv2.remap(
        from_drone.image, *pixels.astype(np.float32).reshape(side, side, 2).transpose(2, 0, 1), cv2.INTER_LINEAR
    )
    row = round((ground.top_m - y[0, 0]) / ground.ground_size_m - 0.5)
    column = round((x[0, 0] - ground.left_m) / ground.ground_size_m - 0.5)
    shown = ground.read(slice(row, row + side), slice(column, column + side))[0][..., 0]
    assert np.corrcoef(seen.ravel().astype(float), shown.ravel())[0, 1] > 0.9


def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> million_descriptors.Descriptors:
    for name, value in {"_ROWS": 8000, "_LISTS": 32, "_ASKED": 40, "_CODES": (4, 32)}.items():
        monkeypatch.setattr(million_descriptors, name, value)
    return million_descriptors.draw_descriptors.__wrapped__()


def test_codes_find_what_the_exact_search_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = few_descriptors(monkeypatch)
    found = million_descriptors.search_codes(tmp_path, drawn)
    assert found["exact"]["recall@1"] == 1.0
    coarse, fine = found["codes"]["4"], found["codes"]["32"]
    assert coarse["32"]["recall@1"] < fine["32"]["recall@1"]
    assert fine["32"]["re-ranked recall@1"] > 0.9
    assert 32 < fine["bytes_each"] < 32 + 80
    table = TABLES["million_descriptors"].write({"million_descriptors": {"million": found}})
    assert [row[:2] for row in table.rows] == [
        ["exact, in memory", "all"],
        ["IVF-PQ, 4 bytes", "8 of 32 lists"],
        ["IVF-PQ, 4 bytes", "32 of 32 lists"],
        ["IVF-PQ, 32 bytes", "8 of 32 lists"],
        ["IVF-PQ, 32 bytes", "32 of 32 lists"],
    ]


def test_a_vector_database_finds_what_the_exact_search_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("milvus_lite", reason="pip install 'pymilvus[milvus-lite]'")
    drawn = few_descriptors(monkeypatch)
    settings = vector_database.IndexSettings("IVF_FLAT", {"nlist": 16}, "nprobe", (1, 16))
    found = million_descriptors.search_database(tmp_path, drawn, settings)
    assert found["searched"]["1"]["recall@100"] < found["searched"]["16"]["recall@100"] == 1.0
    assert found["searched"]["16"]["of the exact 10"] == 1.0
    assert 2 * 1024 < found["bytes_each"] < 3 * 1024
    assert not list(tmp_path.iterdir())


def test_a_database_that_is_missing_has_no_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_descriptors(monkeypatch)
    monkeypatch.setattr(provenance, "FIGURES", tmp_path)
    monkeypatch.setitem(sys.modules, "milvus_lite", None)
    found = million_descriptors.million_descriptors(tmp_path)
    assert found.keys() == {"million", "row_revisions"}
    table = TABLES["million_descriptors"].write({"million_descriptors": found})
    assert not [row for row in table.rows if "Milvus" in row[0]]
    row = found["million"]["codes"]["32"]["32"]
    searched = {"16": {"cpu_ms": 80.0, **{key: value for key, value in row.items() if key != "ms"}}}
    found["milvus IVF_FLAT"] = {"bytes_each": 2100.4, "build_cpu_s": 900.0, "searched": searched}
    table = TABLES["million_descriptors"].write({"million_descriptors": found})
    assert table.rows[-1][:5] == ["Milvus Lite, IVF_FLAT", "nprobe 16", "2100", "900 s of CPU", "80 ms of CPU"]


def test_sizes_have_a_row_each() -> None:
    fix = {"median_s": 0.25, "slowest_s": 0.4, "within 2 m": 39}
    found = {"tiles": 10_000, "square_km": 11.8, "build_s": 300.0, "build_cpu_s": 420.0, "build_resident_mb": 1500.0}
    found |= {"bytes": 170_000_000, "first_load_s": 5.0, "load_s": 1.0, "ready_s": 0.5, "queries": 40}
    sizes = {"68": {**found, "altitude": fix, "no altitude": fix}}
    table = TABLES["aerial_sizes"].write({"aerial_size": {"sizes": sizes}})
    assert table.cell("10 000", "build (a tile)") == "5.0 min (42 ms of CPU)"
    assert table.cell("10 000", "on disk (a tile)") == "170 MB (17.0 kB)"
    assert table.cell("10 000", "a fix: median, slowest") == "0.25 s, 0.40 s"
