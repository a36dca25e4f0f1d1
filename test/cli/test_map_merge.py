"""`vloc map merge`, and what the other commands make of a map of several scenes."""

from __future__ import annotations

import json
import re
from pathlib import Path

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
    other = _scores(house, scene_folder, scene_folder.elsewhere, "kitchen", tmp_path / "other.json")
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


def test_a_page_of_one_scene(house: Path, tmp_path: Path) -> None:
    assert main(["map", "view", str(house), "--scene", "kitchen", "--out", str(tmp_path / "page.html")]) == 0
    assert "frame kitchen" in (tmp_path / "page.html").read_text()
