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

"""`vloc map merge`, and what the other commands make of a map of several scenes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plane_scene import SceneFolder, make_plane_scene

from vloc_ros.cli.main import main
from vloc_ros.storage.maps import read_map, write_map


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("other") / "other"
    write_map(make_plane_scene(seed=5).landmark_map, folder)
    return folder


@pytest.fixture(scope="module")
def house(scene_folder: SceneFolder, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merged") / "house"
    command = ["map", "merge", str(scene_folder.map), str(other), "--frames", "hall", "kitchen", "--out", str(folder)]
    assert main(command) == 0
    return folder


def _scores(house: Path, scene_folder: SceneFolder, images: Path, scene: str, out: Path) -> dict:
    command = ["evaluate", "--map", str(house), "--images", str(images), "--poses", str(scene_folder.poses)]
    command += ["--camera", str(scene_folder.camera), "--scene", scene, "--json", str(out), "--report", f"{out}.html"]
    assert main(command) == 0
    return json.loads(out.read_text())


def test_the_table_shows_both_scenes(house: Path, capsys) -> None:
    capsys.readouterr()
    assert main(["map", "info", str(house)]) == 0
    printed = capsys.readouterr().out
    assert "hall, metric, " in printed
    assert "kitchen, metric, " in printed
    assert read_map(house).name == "house"


def test_evaluation_is_about_one_scene(house: Path, scene_folder: SceneFolder, tmp_path: Path) -> None:
    own = _scores(house, scene_folder, scene_folder.images, "hall", tmp_path / "own.json")
    assert (own["recall"]["5cm_5deg"], own["false_accepts"]) == (1.0, 0)
    other = _scores(house, scene_folder, scene_folder.negatives, "kitchen", tmp_path / "other.json")
    assert (other["recall"]["5cm_5deg"], other["false_accepts"]) == (1.0, 0)


def test_a_pose_in_another_scene_is_a_false_accept(house: Path, scene_folder: SceneFolder, tmp_path: Path) -> None:
    scores = _scores(house, scene_folder, scene_folder.images, "kitchen", tmp_path / "wrong.json")
    assert (scores["recall"]["5m_10deg"], scores["false_accepts"]) == (0.0, scores["queries"])
    assert scores["covariance"]["nees_per_dof"] is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (
            ["evaluate", "--map", "@house", "--images", "@images", "--poses", "@poses", "--camera", "@camera"],
            "2 scenes",
        ),
        (["map", "view", "@house", "--out", "@out"], "2 scenes"),
        (["map", "view", "@house", "--scene", "garden", "--out", "@out"], "'garden', expected .*: hall, kitchen"),
        (["map", "align", "@house", "--gravity", "--out", "@out"], "has 2 scenes, expected one; align maps"),
        (["map", "merge", "@map", "@house", "--frames", "a", "b", "--out", "@out"], "has the scenes hall, kitchen"),
        (["map", "merge", "@map", "@house", "--frames", "a", "--out", "@out"], "names 1 frames, expected one for each"),
        (
            ["map", "merge", "@map", "@map", "--frames", "a", "/a", "--out", "@out"],
            "'/a', expected the name of a ROS frame",
        ),
        (["map", "merge", "@map", "@map", "--frames", "a", " a", "--out", "@out"], "expected the name of a ROS frame"),
        (["map", "merge", "@map", "@map", "--frames", "a", "", "--out", "@out"], "expected the name of a ROS frame"),
        (["map", "merge", "@map", "@map", "--out", "@out"], "two scenes have the frame 'map'"),
        (["map", "merge", "@map", "@house", "--out", "@house"], "is not changed in place"),
    ],
)
def test_what_is_missing_is_said(
    command: list[str], reason: str, house: Path, scene_folder: SceneFolder, tmp_path: Path, capsys
) -> None:
    places = {"@house": house, "@out": tmp_path / "out", "@map": scene_folder.map, "@images": scene_folder.images}
    places |= {"@poses": scene_folder.poses, "@camera": scene_folder.camera}
    assert main([str(places.get(word, word)) for word in command]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("vloc: ")
    assert re.search(reason, printed)
    assert not (tmp_path / "out").exists()


def _merge(*words: object) -> int:
    return main(["map", "merge", *map(str, words)])


def test_another_wall_stays_a_scene_of_its_own(scene_folder: SceneFolder, other: Path, tmp_path: Path, capsys) -> None:
    frames = ["--frames", "hall", "kitchen"]
    assert _merge(scene_folder.map, other, *frames, "--align", "auto", "--out", tmp_path / "m") == 0
    assert "kitchen stays a scene of its own: hardly a point agrees with hall" in capsys.readouterr().out
    assert read_map(tmp_path / "m").frame_ids == ("hall", "kitchen")
    assert _merge(scene_folder.map, other, *frames, "--align", "same", "--out", tmp_path / "n") == 1
    assert "cannot be aligned: hardly a point agrees with hall; leave it out" in capsys.readouterr().err
    assert not (tmp_path / "n").exists()


def test_a_copy_of_a_map_joins_its_scene(scene_folder: SceneFolder, house: Path, tmp_path: Path, capsys) -> None:
    again = replace(read_map(scene_folder.map), scenes=(replace(read_map(scene_folder.map).scene(), frame_id="again"),))
    write_map(again, tmp_path / "again")
    assert _merge(house, tmp_path / "again", "--align", "same", "--out", tmp_path / "m") == 0
    assert re.search(r"again is aligned with hall: \d+ points agree to 0\.0 cm", capsys.readouterr().out)
    before, whole = read_map(house), read_map(tmp_path / "m")
    assert whole.frame_ids == ("hall", "kitchen")
    assert len(whole.scene("hall").points) < 1.05 * len(before.scene("hall").points)
    assert whole.keyframes.names[8] == "again/0.png"
    np.testing.assert_array_equal(whole.part("kitchen").points, before.part("kitchen").points)


def test_a_page_of_one_scene(house: Path, tmp_path: Path) -> None:
    assert main(["map", "view", str(house), "--scene", "kitchen", "--out", str(tmp_path / "page.html")]) == 0
    assert "frame kitchen" in (tmp_path / "page.html").read_text()
