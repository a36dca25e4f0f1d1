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

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plane_scene import SceneFolder

from vloc_ros.cli import map_compress
from vloc_ros.cli.main import main
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.retrieval.retrieval_index import RetrievalIndex
from vloc_ros.storage.maps import map_bytes, map_hash, read_map, size_on_disk, write_map


@pytest.mark.parametrize("budget", [0.3, *(pytest.param(b, marks=pytest.mark.slow) for b in (0.6, 1.0))])
def test_the_budget_is_used_and_kept(scene_folder: SceneFolder, tmp_path: Path, budget: float) -> None:
    assert main(["map", "compress", str(scene_folder.map), "--budget", f"{budget}", "--out", str(tmp_path / "m")]) == 0
    part = map_bytes(tmp_path / "m") / map_bytes(scene_folder.map)
    assert part <= budget
    assert part > 0.9 * budget
    came_from = read_map(tmp_path / "m").provenance["compressed_from"]
    assert came_from == {"map": map_hash(scene_folder.map), "points": len(scene_folder.scene.landmark_map.points)}


@pytest.mark.parametrize("budget", [0.2, *(pytest.param(b, marks=pytest.mark.slow) for b in (0.45, 1.0))])
def test_the_budget_of_a_large_map_is_met_in_a_few_steps(
    scene_folder: SceneFolder, tmp_path: Path, budget: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []

    def size(landmark_map: LandmarkMap) -> int:
        counted.append(len(landmark_map.points))
        return size_on_disk(landmark_map)

    monkeypatch.setattr(map_compress, "_MOST_COUNTED_EXACTLY", 100)
    monkeypatch.setattr("vloc_ros.storage.maps.size_on_disk", size)
    assert main(["map", "compress", str(scene_folder.map), "--budget", f"{budget}", "--out", str(tmp_path / "m")]) == 0
    part = map_bytes(tmp_path / "m") / map_bytes(scene_folder.map)
    assert 0.97 * budget < part <= budget
    assert len(counted) <= 6


def test_a_number_of_points(scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m"
    assert main(["map", "compress", str(scene_folder.map), "--points", "300", "--out", str(out)]) == 0
    assert len(read_map(out).points) == 300
    assert f"300 of {len(scene_folder.scene.landmark_map.points)} points" in capsys.readouterr().out
    scores = tmp_path / "scores.json"
    queries = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    assert main(["evaluate", "--map", str(out), *map(str, queries), "--json", str(scores)]) == 0
    assert json.loads(scores.read_text())["recall"]["5cm_5deg"] == 1.0


def test_a_map_that_stays_too_large_to_be_searched_as_a_whole_has_a_retrieval_index(
    scene_folder: SceneFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_map(replace(scene_folder.scene.landmark_map, retrieval={}), tmp_path / "bare")
    monkeypatch.setattr("vloc_ros.mapping.indexing.vlad_index.MAX_SEARCHED_WHOLE", 200)
    for points, expected in (("200", set()), ("201", {"vlad"})):
        out = tmp_path / points
        assert main(["map", "compress", str(tmp_path / "bare"), "--points", points, "--out", str(out)]) == 0
        assert set(read_map(out).retrieval) == expected


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--budget", "0"], "--budget is 0, expected a part"),
        (["--budget", "1.5"], "--budget is 1.5, expected a part"),
        (["--budget", "nan"], "--budget is nan, expected a part"),
        (["--budget", "0.01"], r"leaves fewer than 50 points, expected 0\.\d+ or more"),
        (["--points", "0"], "--points is 0, expected 50 to the"),
        (["--points", "10000000"], "--points is 10000000, expected 50 to the"),
        (["--points", "300", "--out", "@map"], "is not changed in place"),
    ],
)
def test_what_cannot_be_is_said(
    options: list[str], reason: str, scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = [] if "--out" in options else ["--out", str(tmp_path / "m")]
    words = [str(scene_folder.map) if word == "@map" else word for word in [*options, *out]]
    assert main(["map", "compress", str(scene_folder.map), *words]) == 1
    assert re.search(reason, capsys.readouterr().err)
    assert not (tmp_path / "m").exists()


def test_the_retrieval_index_of_an_encoder_stays(scene_folder: SceneFolder, tmp_path: Path) -> None:
    """The keyframes are the same; only the index that is never used goes."""
    whole = read_map(scene_folder.map)
    count = len(whole.keyframes)
    index = RetrievalIndex("model", "a" * 64, np.eye(count, 8, dtype=np.float32), np.arange(count))
    write_map(whole.with_retrieval(index), tmp_path / "encoded")
    assert main(["map", "compress", str(tmp_path / "encoded"), "--budget", "0.7", "--out", str(tmp_path / "m")]) == 0
    small = read_map(tmp_path / "m")
    assert set(small.retrieval) == {"model"}
    assert np.array_equal(small.retrieval["model"].descriptors, index.descriptors)
