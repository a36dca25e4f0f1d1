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
from pathlib import Path

import numpy as np
import pytest
from plane_scene import SceneFolder

from vloc_ros.cli.main import main
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.landmark_candidates import Recognition


class RecognizesTheThird:
    """Classifies every keypoint as the map's third landmark."""

    extractor = RootSiftConfig()
    max_keypoints = 100

    def __init__(self, keys: Array) -> None:
        self.landmark_keys = keys

    def recognize(self, rays: Array, descriptors: Array) -> Recognition:
        return Recognition(np.zeros(len(rays), np.float32), np.array([2]), np.ones((len(rays), 1), np.float32))


def with_images(scene_folder: SceneFolder) -> list[str]:
    words = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    return [str(word) for word in words]


def test_a_map_alone(scene_folder: SceneFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["map", "health", str(scene_folder.map), "--rows", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    count = len(scene_folder.scene.landmark_map.landmarks)
    assert lines[0].split() == ["landmark", "coarse", "points", "keyframes", "references", "extent"]
    assert lines[3] == f"and {count - 2} more, no worse; --rows {count} shows all"
    assert lines[-2].startswith(f"{count} landmarks, ")
    assert "keypoints" not in lines[-2]
    assert lines[-1] == "how well they are recognised: --images DIR --poses TUM --camera YAML"


def test_images_show_what_is_recognised(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "health.json"
    assert main(["map", "health", str(scene_folder.map), *with_images(scene_folder), "--json", str(out)]) == 0
    printed, found = capsys.readouterr().out, json.loads(out.read_text())
    assert "classified correctly  " in printed.splitlines()[0]
    assert found["summary"]["accuracy"] > 0.9
    assert f"{found['summary']['accuracy']:.1%} of {found['summary']['keypoints']} keypoints right" in printed
    keys = scene_folder.scene.landmark_map.landmarks.keys
    assert {row["number"]: int(row["key"], 16) for row in found["landmarks"]} == dict(enumerate(keys.tolist()))
    middle = next(row for row in found["landmarks"] if row["number"] == 2)
    assert middle["marks"] == []
    assert middle["recognised"]["recognised_in"] == middle["recognised"]["images"] > 0


def test_a_recogniser_is_used_where_one_is_given(
    scene_folder: SceneFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys, out = scene_folder.scene.landmark_map.landmarks.keys, tmp_path / "health.json"
    monkeypatch.setattr(
        "vloc_ros.inference.landmark_recognizer.read_landmark_recognizer", lambda *_: RecognizesTheThird(keys)
    )
    words = [*with_images(scene_folder), "--recognizer", str(tmp_path), "--json", str(out)]
    assert main(["map", "health", str(scene_folder.map), *words]) == 0
    rows = {row["number"]: row for row in json.loads(out.read_text())["landmarks"]}
    assert rows[2]["recognised"]["accuracy"] == 1.0
    assert rows[1]["recognised"]["confused_with"] == 2
    assert {"confused", "rarely recognised"} <= set(rows[1]["marks"])
    marked = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("1 "))
    assert "<- " in marked
    assert "2: 100%" in marked


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--rows", "0"], "--rows is 0, expected 1 or more"),
        (["--images", "somewhere"], "--images without --poses, expected --images DIR --poses TUM --camera YAML"),
        (["--images", "somewhere", "--poses", "p"], "--images without --camera"),
        (["--recognizer", "model"], "--recognizer without --images"),
        (["--camera", "camera.yaml"], "--camera without --images"),
    ],
)
def test_what_cannot_be_is_said(
    options: list[str], reason: str, scene_folder: SceneFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["map", "health", str(scene_folder.map), *options]) == 1
    assert reason in capsys.readouterr().err


def test_a_scene_that_the_map_lacks_is_refused(scene_folder: SceneFolder, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*with_images(scene_folder), "--scene", "cellar"]
    assert main(["map", "health", str(scene_folder.map), *words]) == 1
    assert "expected one scene named by its frame: map" in capsys.readouterr().err
