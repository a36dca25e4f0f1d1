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

"""Maps of a keypoint model through the commands: build, info, update, merge, compress, align, encode, health, localize.

What the steps do to a map is tested in test/mapping; here each takes such a map and passes its model on.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from graphs import write_encoder, write_recognizer
from keypoint_graphs import DIMENSION
from learned_wall import LearnedWall
from plane_scene import SceneFolder, poses, write_images

from vloc_ros.cli.main import main
from vloc_ros.storage.maps import keypoint_model_bytes, map_bytes, read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum


def call(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def visit(learned_wall: LearnedWall, tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """Options of ten images along the whole wall."""
    folder, views = tmp_path_factory.mktemp("visit"), poses(10, seed=7)
    write_images(learned_wall.scene, views, folder / "images")
    write_tum(folder / "poses.txt", Trajectory([k * 10**9 for k in range(len(views))], tuple(views)))
    return ["--images", folder / "images", "--poses", folder / "poses.txt"]


@pytest.fixture(scope="module")
def built(
    learned_wall: LearnedWall,
    scene_folder: SceneFolder,
    visit: list[object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    folder = tmp_path_factory.mktemp("built") / "map"
    options = ["--extractor", learned_wall.model, "--max-keypoints", 700, "--set", "extractor.min_score=0.006"]
    assert call("map", "build", *visit, "--camera", scene_folder.camera, *options, "--out", folder) == 0
    return folder


def _scores(folder: Path, scene_folder: SceneFolder, out: Path, *options: object) -> dict:
    sources = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    assert call("evaluate", "--map", folder, *sources, "--json", out, *options) == 0
    return json.loads(out.read_text())


def test_a_built_map_has_the_model_and_the_given_parameters(built: Path, learned_wall: LearnedWall) -> None:
    landmark_map = read_map(built)
    assert landmark_map.keypoint_model.hash == read_map(learned_wall.map).keypoint_model.hash
    assert (landmark_map.extractor.max_keypoints, landmark_map.extractor.min_score) == (700, 0.006)
    assert landmark_map.codec.dimension == DIMENSION


def test_the_map_evaluates_as_it_localizes(built: Path, scene_folder: SceneFolder, tmp_path: Path) -> None:
    scores = _scores(built, scene_folder, tmp_path / "scores.json", "--set", "inference.threads=1")
    assert (scores["recall"]["5cm_5deg"], scores["false_accepts"]) == (1.0, 0)
    words = ["localize", "--images", scene_folder.images, "--camera", scene_folder.camera]
    assert call(*words, "--map", built, "--out", tmp_path / "results.tum") == 0


def test_people_read_the_model_apart_from_the_rest(built: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("map", "info", built) == 0
    printed, size = capsys.readouterr().out, keypoint_model_bytes(built)
    assert re.search(
        rf"size on disk +\S+ MB \({size / 1e6:.2f} MB of it the keypoint model\), format version 4", printed
    )
    digest = read_map(built).keypoint_model.hash[:12]
    assert re.search(rf"keypoint model +xfeat {digest}, {size / 1e6:.2f} MB", printed)
    assert re.search(r"extractor +xfeat \(max_keypoints 700, min_score 0.006, max_megapixels 1.0\)", printed)
    assert re.search(r"source +made-up 1.2.3 weights.pt\n +licence +Apache-2.0", printed)


def test_machines_read_the_model(built: Path, scene_folder: SceneFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("map", "info", built, "--json") == 0
    model = json.loads(capsys.readouterr().out)["keypoint_model"]
    assert (model["name"], model["hash"]) == ("xfeat", read_map(built).keypoint_model.hash)
    assert model["bytes"] == keypoint_model_bytes(built) < map_bytes(built)
    assert (model["source"]["version"], model["license"]) == ("1.2.3", "Apache-2.0")
    assert call("map", "info", scene_folder.map, "--json") == 0
    assert json.loads(capsys.readouterr().out)["keypoint_model"] is None


@pytest.mark.parametrize("name", ["xfeat", "aliked", "aliked-n16"])
def test_a_model_that_was_not_exported_is_named_with_its_command(
    name: str,
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    assert call("map", "build", *words, "--extractor", name, "--out", tmp_path / "map") == 1
    assert f"run `vloc model export {name} --out {name}`, then --extractor {name}" in capsys.readouterr().err
    assert not (tmp_path / "map").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (
            ["--extractor", "@none"],
            "does not exist, expected a folder with manifest.json and model.onnx, as `vloc model",
        ),
        (["--extractor", "@recognizer"], "is a model of kind 'recognizer', expected 'keypoints'"),
        (
            ["--extractor", "@model", "--set", "extractor.contrast_threshold=0.1"],
            "unknown parameter extractor.contrast",
        ),
        (["--extractor", "@model", "--set", "extractor.name=aliked"], "extractor.name is 'aliked', expected 'xfeat'"),
        (["--extractor", "@model", "--max-keypoints", "1"], "max_keypoints is 1, expected 50 to 20000"),
        (
            ["--extractor", "@model", "--set", "inference.provider=OpenVINOExecutionProvider"],
            "no OpenVINOExecutionProvider here",
        ),
        (["--set", "extractor.name=xfeat"], "choose the extractor with --extractor"),
        (["--set", "extractor.min_score=0.1"], "unknown parameter extractor.min_score"),
    ],
)
def test_what_cannot_be_built_is_one_line(
    options: list[str],
    reason: str,
    learned_wall: LearnedWall,
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_recognizer(tmp_path / "recognizer")
    folders = {"@none": tmp_path / "none", "@recognizer": tmp_path / "recognizer", "@model": learned_wall.model}
    words = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    given = [folders.get(word, word) for word in options]
    assert call("map", "build", *words, *given, "--out", tmp_path / "map") == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_map_goes_through_the_commands_with_its_model(
    learned_wall: LearnedWall, scene_folder: SceneFolder, visit: list[object], tmp_path: Path
) -> None:
    digest = read_map(learned_wall.map).keypoint_model.hash
    options = ["--camera", scene_folder.camera]
    assert call("map", "update", learned_wall.map, *visit, *options, "--out", tmp_path / "updated") == 0
    assert call("map", "compress", learned_wall.map, "--budget", "0.5", "--out", tmp_path / "small") == 0
    kitchen = read_map(learned_wall.map)
    write_map(replace(kitchen, scenes=(replace(kitchen.scene(), frame_id="kitchen"),)), tmp_path / "kitchen")
    merged = ["map", "merge", tmp_path / "updated", tmp_path / "kitchen", "--out", tmp_path / "house"]
    assert call(*merged) == 0
    for name in ("updated", "small", "house"):
        assert read_map(tmp_path / name).keypoint_model.hash == digest
    for name in ("updated", "small"):
        scores = _scores(tmp_path / name, scene_folder, tmp_path / f"{name}.json")
        assert (scores["recall"]["5cm_5deg"], scores["false_accepts"]) == (1.0, 0)


def test_the_budget_of_a_compression_is_of_the_map_without_its_model(
    learned_wall: LearnedWall, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("map", "compress", learned_wall.map, "--budget", "0.4", "--out", tmp_path / "small") == 0
    model = keypoint_model_bytes(learned_wall.map)
    part = (map_bytes(tmp_path / "small") - model) / (map_bytes(learned_wall.map) - model)
    assert 0.35 < part <= 0.4
    assert f"beside {model} bytes of its keypoint model" in capsys.readouterr().out


def test_the_landmarks_health_is_that_of_the_models_keypoints(
    learned_wall: LearnedWall, scene_folder: SceneFolder, tmp_path: Path
) -> None:
    sources = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    out = tmp_path / "health.json"
    words = [*sources, "--json", out, "--set", "inference.threads=1"]
    assert call("map", "health", learned_wall.map, *words) == 0
    assert json.loads(out.read_text())["summary"]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("assignment", "reason"),
    [
        ("inference.provider=OpenVINOExecutionProvider", "ONNX Runtime has no OpenVINOExecutionProvider here"),
        ("inference.provider=gpu", "parameter provider is 'gpu', expected one of CPUExecutionProvider"),
        ("inference=3", "--set inference=3: expected inference.provider=NAME"),
        ("vocabulary_words=16", "--set vocabulary_words: expected inference.provider or inference.threads"),
    ],
)
def test_where_models_run_is_checked_by_commands_that_have_no_other_parameters(
    assignment: str,
    reason: str,
    learned_wall: LearnedWall,
    scene_folder: SceneFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sources = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    encoder = write_encoder(tmp_path / "encoder")
    assert call("map", "health", learned_wall.map, *sources, "--set", assignment) == 1
    assert reason in capsys.readouterr().err
    encode = ["map", "encode", learned_wall.map, "--model", encoder, "--images", scene_folder.images]
    assert call(*encode, "--out", tmp_path / "encoded", "--set", assignment) == 1
    assert reason in capsys.readouterr().err


def test_a_localizer_whose_provider_is_not_there_is_refused(
    learned_wall: LearnedWall, scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["localize", "--images", scene_folder.images, "--camera", scene_folder.camera]
    words += ["--out", tmp_path / "results.tum", "--set", "inference.provider=OpenVINOExecutionProvider"]
    assert call(*words, "--map", learned_wall.map) == 1
    assert "ONNX Runtime has no OpenVINOExecutionProvider here, expected one of" in capsys.readouterr().err
    assert call(*words, "--map", scene_folder.map) == 0  # RootSIFT needs none
