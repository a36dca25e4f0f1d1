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

"""`python -m training.landmark_recognizer.train`, from a map and its images to a model folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from plane_scene import CAMERA, SceneFolder, poses, write_images
from recognizer_world import TINY
from safetensors.torch import load_file

from training.framework.run_folder import BEST
from training.landmark_recognizer import evaluate
from training.landmark_recognizer.export import export
from training.landmark_recognizer.train import main
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.geometry.similarity import Similarity
from vloc_ros.inference.models import read_model
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_hash, read_map, write_map
from vloc_ros.storage.trajectories import Trajectory, write_tum


@pytest.fixture(scope="module")
def keyframe_images(scene_folder: SceneFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keyframes") / "images"
    write_images(scene_folder.scene, poses(8, seed=99), folder)
    for index, name in enumerate(read_map(scene_folder.map).keyframes.names):
        (folder / f"frame-{index:03}.png").rename(folder / name)
    return folder


def command(scene_folder: SceneFolder, images: Path, out: Path, *more: object) -> int:
    camera = out.parent / "camera.yaml"
    write_camera(camera, CAMERA, name="camera")
    quick = [*TINY, "images.versions=2", "fit.epochs=2", "fit.held_out=0.25"]
    settings = [word for assignment in quick for word in ("--set", assignment)]
    words = ["--map", scene_folder.map, "--images", images, "--camera", camera, "--out", out, *settings, *more]
    return main([str(word) for word in words])


@pytest.fixture(scope="module")
def trained(scene_folder: SceneFolder, keyframe_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its run."""
    folder = tmp_path_factory.mktemp("recognizer")
    assert command(scene_folder, keyframe_images, folder / "model") == 0
    return folder


@pytest.mark.slow
def test_a_map_and_its_images_become_a_model(scene_folder: SceneFolder, trained: Path) -> None:
    training = read_model(trained / "model", kind="recognizer").entry("training")
    assert training["map"] == map_hash(scene_folder.map)
    assert training["config"]["fit"]["epochs"] == 2
    assert 0 <= training["metrics"]["held_out"]["coarse"] <= 1
    assert (trained / "model.run" / "config.json").is_file()
    files = {path.name for path in (trained / "model").iterdir()}
    assert files == {"manifest.json", "model.onnx", "references.npz"}


def test_a_missing_input_is_one_line(
    scene_folder: SceneFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(scene_folder, scene_folder.images, tmp_path / "model") == 1
    error = capsys.readouterr().err
    assert error.startswith("landmark_recognizer.train: ")
    assert "missing are 0.png, 1.png, 2.png, ..." in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("named", ["out", "run"])
def test_a_map_is_not_overwritten(
    scene_folder: SceneFolder,
    keyframe_images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
) -> None:
    """The check comes before any work."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("examples were made before the folders were checked")

    monkeypatch.setattr("training.landmark_recognizer.train.make_examples", fail)
    folder = tmp_path / "map"
    shutil.copytree(scene_folder.map, folder)
    out, run = (folder, tmp_path / "run") if named == "out" else (tmp_path / "model", folder)
    assert command(scene_folder, keyframe_images, out, "--run", run) == 1
    assert "name an empty or new folder" in capsys.readouterr().err
    assert map_hash(folder) == map_hash(scene_folder.map)
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in scene_folder.map.iterdir())


@pytest.mark.slow
def test_a_run_that_is_done_is_exported_again(
    scene_folder: SceneFolder,
    keyframe_images: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the weights and the figures of its training; the conversion itself is of the training."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    calls: list[Mapping[str, Any]] = []
    expected = signature(export)
    monkeypatch.setattr(
        "training.landmark_recognizer.train.export", lambda *a, **k: calls.append(expected.bind(*a, **k).arguments)
    )
    assert command(scene_folder, keyframe_images, tmp_path / "model", "--resume") == 0
    assert "held-out images: top1" in capsys.readouterr().out
    assert calls[0]["folder"] == tmp_path / "model"
    kept = load_file(trained / "model.run" / BEST)
    assert all(np.array_equal(kept[name], value) for name, value in calls[0]["model"].state_dict().items())
    written = json.loads(json.dumps(calls[0]["training"]))
    assert written == read_model(trained / "model", kind="recognizer").entry("training")


@pytest.mark.slow
def test_a_run_is_not_resumed_with_another_map(
    scene_folder: SceneFolder,
    keyframe_images: Path,
    trained: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    other = tmp_path / "other"
    write_map(replace(read_map(scene_folder.map), name="other"), other)
    assert command(replace(scene_folder, map=other), keyframe_images, tmp_path / "model", "--resume") == 1
    assert "other sources (map)" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_is_scored_on_other_images(
    scene_folder: SceneFolder, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--images", scene_folder.images, "--poses", scene_folder.poses, "--camera", scene_folder.camera]
    words = ["--model", trained / "model", *options, "--json", tmp_path / "scores.json"]
    for _ in range(2):  # scores replace scores
        assert evaluate.main([str(word) for word in ["--map", scene_folder.map, *words]]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == len(scene_folder.truth)
    utm = np.array([5e5, 5.4e6, 0.0])
    write_map(transform_map(read_map(scene_folder.map), Similarity(1.0, np.eye(3), utm)), tmp_path / "far")
    far = [Pose(pose.rotation, pose.translation + utm) for pose in scene_folder.truth]
    write_tum(tmp_path / "far.txt", Trajectory(np.arange(len(far)) * 10**9, tuple(far)))
    words[words.index("--poses") + 1], words[-1] = tmp_path / "far.txt", tmp_path / "far.json"
    assert evaluate.main([str(word) for word in ["--map", tmp_path / "far", "--scene", "map", *words]]) == 0
    assert json.loads((tmp_path / "far.json").read_text())["top1"] == pytest.approx(scores["top1"], abs=0.01)
    assert 0 <= scores["top1"] <= scores["top3"] <= 1
    assert 0 < scores["median_ms"] <= scores["p95_ms"]
    assert f"top1 {scores['top1']:.3f}" in capsys.readouterr().out
