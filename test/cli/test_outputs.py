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

"""What is there already is replaced only by something of its kind, and reported; checked before the work."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from plane_scene import SceneFolder

from vloc_ros.cli.main import main
from vloc_ros.cli.outputs import map_at, results_at
from vloc_ros.core.errors import VlocError
from vloc_ros.storage.atomic import StorageError

_FOREIGN = b"\x89PNG, and precious"


def _commands(scene_folder: SceneFolder) -> dict[str, tuple[list[object], str]]:
    """By name: the words before the output, and what of the output is where somebody's own file would lie."""
    images = ["--images", scene_folder.images]
    known = [*images, "--camera", scene_folder.camera]
    posed = [*known, "--poses", scene_folder.poses]
    return {
        "build": (["map", "build", *posed, "--set", "calibration_gap_m=0", "--out"], "out/photo.png"),
        "compress": (["map", "compress", scene_folder.map, "--points", "300", "--out"], "out/photo.png"),
        "align": (["map", "align", scene_folder.map, "--gravity", "--out"], "out/photo.png"),
        "update": (["map", "update", scene_folder.map, *posed, "--out"], "out/photo.png"),
        "merge": (
            ["map", "merge", scene_folder.map, scene_folder.map, "--frames", "a", "b", "--out"],
            "out/photo.png",
        ),
        "view": (["map", "view", scene_folder.map, "--out"], "out"),
        "health": (["map", "health", scene_folder.map, "--json"], "out"),
        "localize": (["localize", "--map", scene_folder.map, *known, "--out"], "out/poses.txt"),
        "scores": (["evaluate", "--map", scene_folder.map, *posed, "--limit", "2", "--json"], "out"),
        "report": (["evaluate", "--map", scene_folder.map, *posed, "--limit", "2", "--report"], "out"),
    }


_NAMES = ("build", "compress", "align", "update", "merge", "view", "health", "localize", "scores", "report")


@pytest.mark.parametrize("name", _NAMES)
def test_a_second_run_says_that_it_replaces(name: str, scene_folder: SceneFolder, tmp_path: Path, capsys) -> None:
    words, _ = _commands(scene_folder)[name]
    for said in ("written", "replaced"):
        assert main([str(word) for word in [*words, tmp_path / "out"]]) == 0
        assert re.search(rf"\b{said}: {re.escape(str(tmp_path / 'out'))}", capsys.readouterr().out)


@pytest.mark.parametrize("name", _NAMES)
def test_what_is_of_another_kind_stays_and_no_work_is_done(
    name: str, scene_folder: SceneFolder, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, own = _commands(scene_folder)[name]
    (tmp_path / own).parent.mkdir(exist_ok=True)
    (tmp_path / own).write_bytes(_FOREIGN)

    def worked(*_: object, **__: object) -> None:
        raise AssertionError("the map or the images were read before the output was looked at")

    monkeypatch.setattr("vloc_ros.storage.maps.read_map", worked)
    monkeypatch.setattr("vloc_ros.storage.images.read_image", worked)
    monkeypatch.setattr("vloc_ros.datasets.image_folders.read_image", worked)
    assert main([str(word) for word in [*words, tmp_path / "out"]]) == 1
    error = capsys.readouterr().err
    assert error.startswith("vloc: ")
    assert "name an" in error
    assert (tmp_path / own).read_bytes() == _FOREIGN


@pytest.mark.parametrize("at", [map_at, results_at])
def test_folders(at, tmp_path: Path) -> None:
    assert not at(tmp_path / "new").replaces
    assert not at(tmp_path).replaces
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="is a file, expected a folder for the"):
        at(tmp_path / "file")


@pytest.mark.parametrize("there", ["map", "images", "model"])
def test_results_are_written_into_no_map_images_or_model(there: str, scene_folder: SceneFolder, tmp_path: Path) -> None:
    if there == "model":
        (tmp_path / there).mkdir()
        (tmp_path / there / "manifest.json").write_text('{"format": "vloc_ros model"}')
    else:
        shutil.copytree(getattr(scene_folder, there), tmp_path / there)
    found = "frame-000.png" if there == "images" else rf"a vloc_ros {there} \(manifest\.json\)"
    with pytest.raises(StorageError, match=f"holds {found} and no results, expected nothing; name an empty or new"):
        results_at(tmp_path / there)


def test_somebody_elses_results_stay(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"accuracy": 0.9}\n')
    with pytest.raises(StorageError, match=r"holds results\.jsonl and no results"):
        results_at(tmp_path)


def test_the_manifest_of_a_map_is_not_replaced_by_scores(scene_folder: SceneFolder, tmp_path: Path, capsys) -> None:
    """It is JSON as well."""
    shutil.copytree(scene_folder.map, tmp_path / "map")
    before = (tmp_path / "map" / "manifest.json").read_bytes()
    assert main(["map", "health", str(tmp_path / "map"), "--json", str(tmp_path / "map" / "manifest.json")]) == 1
    assert "exists and is no JSON file with 'summary'" in capsys.readouterr().err
    assert (tmp_path / "map" / "manifest.json").read_bytes() == before


def test_another_manifest_is_none_of_a_map(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "web page"}')
    with pytest.raises(VlocError, match="is not the manifest of a map"):
        map_at(tmp_path)
