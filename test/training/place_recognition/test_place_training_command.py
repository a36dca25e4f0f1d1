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

"""`python -m training.place_recognition.train`, from maps and their images to a model folder."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from place_world import TINY, tiny, wall_map, write_wall
from safetensors.torch import save_file

import training
from training.framework.run_folder import INFO, LAST
from training.place_recognition.checkpoints import read_checkpoint, read_checkpoint_hash
from training.place_recognition.encoders import build_encoder, hash_pretrained_weights
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.train import main
from vloc_ros.core.errors import InputError
from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.models import read_model
from vloc_ros.storage.maps import map_hash, write_map

QUICK = [word for setting in (*TINY, "fit.epochs=1", "fit.held_out=0.2") for word in ("--set", setting)]


@dataclass(frozen=True)
class Place:
    """A map and its images on disk."""

    map: Path
    images: Path


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> list[Place]:
    made = []
    for seed in (0, 5):
        folder = tmp_path_factory.mktemp("place")
        scene, landmark_map = wall_map(8, seed=seed)
        write_map(landmark_map, folder / "map")
        made.append(Place(folder / "map", write_wall(folder / "images", scene, landmark_map)))
    return made


def command(places: list[Place], out: Path, *more: str) -> int:
    words = [word for place in places for word in ("--map", str(place.map), "--images", str(place.images))]
    return main([*words, "--out", str(out), *QUICK, *more])


@pytest.fixture(scope="module")
def not_converted() -> Iterator[None]:
    """Of a trained network its checkpoint alone: the conversion to ONNX takes longer than the training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "training.place_recognition.train.export", lambda _, out, **__: out.mkdir(parents=True, exist_ok=True)
        )
        yield


@pytest.fixture(scope="module")
def student(places: list[Place], not_converted: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run of a student."""
    folder = tmp_path_factory.mktemp("student")
    assert command(places[:1], folder / "model") == 0
    return folder


def provenance(weights: Path) -> dict[str, Any]:
    """What a checkpoint says of its training."""
    training: dict[str, Any] = json.loads((weights / "manifest.json").read_text())["training"]
    return training


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_a_student_comes_with_its_teacher(
    student: Path, places: list[Place], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = provenance(student / "model.run" / "weights")
    assert training["maps"] == [{"name": "wall", "hash": map_hash(places[0].map)}]
    assert training["config"]["network"]["size"] == 48
    assert 0 <= training["metrics"]["held_out"]["R@5"] <= 1
    run = student / "model.run"
    assert training["teacher"] == read_checkpoint_hash(run / "teacher")
    assert training["weights"] is None
    assert isinstance(read_checkpoint(run / "teacher")[0], TeacherEncoder)
    assert read_checkpoint(run / "weights")[1].model == "student"
    shutil.copytree(student, tmp_path / "again")
    assert command(places[:1], tmp_path / "again" / "model", "--resume") == 0
    assert "held-out images: queries" in capsys.readouterr().out
    resumed = read_checkpoint_hash(tmp_path / "again" / "model.run" / "weights")
    assert resumed == read_checkpoint_hash(run / "weights")


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_a_teacher_of_several_maps_serves_any_student(places: list[Place], tmp_path: Path) -> None:
    assert command(places, tmp_path / "teacher", "--model", "teacher") == 0
    assert sorted(path.name for path in (tmp_path / "teacher").iterdir()) == ["manifest.json", "weights.safetensors"]
    assert command(places[:1], tmp_path / "student", "--teacher", str(tmp_path / "teacher")) == 0
    training = provenance(tmp_path / "student.run" / "weights")
    assert training["teacher"] == read_checkpoint_hash(tmp_path / "teacher")


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_pretrained_weights_are_named_by_their_hash(places: list[Place], tmp_path: Path) -> None:
    encoder = build_encoder(tiny(), extent_m=1.0)
    save_file(encoder.backbone.state_dict(), tmp_path / "weights.safetensors")
    words = ("--teacher", "none", "--weights", str(tmp_path / "weights.safetensors"))
    assert command(places[:1], tmp_path / "model", *words) == 0
    assert not (tmp_path / "model.run" / "teacher").exists()
    training = provenance(tmp_path / "model.run" / "weights")
    assert training["weights"] == hash_pretrained_weights(encoder, tmp_path / "weights.safetensors")
    assert training["teacher"] is None


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_an_interrupted_run_is_not_resumed_from_an_earlier_one(
    student: Path,
    places: list[Place],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of another map in the same folder, whose teacher and checkpoint are still there."""
    shutil.copytree(student, tmp_path, dirs_exist_ok=True)
    assert command(places[1:], tmp_path / "model", "--resume") == 1
    assert "other sources (images, maps)" in capsys.readouterr().err

    def interrupt(*_: object, **__: object) -> None:
        raise InputError("interrupted")

    with monkeypatch.context() as patch:
        patch.setattr("training.place_recognition.train.train", interrupt)
        assert command(places[1:], tmp_path / "model") == 1
    assert "interrupted" in capsys.readouterr().err
    assert not (tmp_path / "model.run" / "teacher").exists()
    assert command(places[1:], tmp_path / "model", "--resume") == 1
    assert "other sources (images, maps)" in capsys.readouterr().err
    assert command(places[1:], tmp_path / "model") == 0
    assert provenance(tmp_path / "model.run" / "weights")["maps"] == [{"name": "wall", "hash": map_hash(places[1].map)}]


@pytest.mark.parametrize("words", [["--teacher", "none"], ["--model", "teacher"], ["--model", "resnet18-gem"]])
@pytest.mark.parametrize("named", ["out", "run"])
def test_a_map_is_not_overwritten(
    places: list[Place],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    named: str,
) -> None:
    """The check comes before any work."""

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("images were read before the folders were checked")

    monkeypatch.setattr("training.place_recognition.train.read_map_images", fail)
    folder, hash_ = places[0].map, map_hash(places[0].map)
    before = sorted(path.name for path in folder.iterdir())
    out, run = (folder, tmp_path / "run") if named == "out" else (tmp_path / "model", folder)
    assert command(places[:1], out, "--run", str(run), *words) == 1
    assert "name an empty or new folder" in capsys.readouterr().err
    assert map_hash(folder) == hash_
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.slow
def test_two_processes_share_the_steps_of_a_baseline_and_write_one_model(places: list[Place], tmp_path: Path) -> None:
    options = ["--map", places[0].map, "--images", places[0].images, "--out", tmp_path / "two"]
    more = ("--model", "resnet18-netvlad", "--set", "fit.devices=2")
    words = [sys.executable, "-m", "training.place_recognition.train", *options, *QUICK, "--batch", "1", *more]
    done = subprocess.run(words, cwd=Path(training.__path__[0]).parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written: ") == 1
    steps = torch.load(tmp_path / "two.run" / LAST, weights_only=True)["global_step"]
    batches = re.search(r"^batches per epoch: (\d+)$", (tmp_path / "two.run" / INFO).read_text(), re.MULTILINE)
    assert batches
    assert steps == int(batches[1]) // 2  # a batch that is left over waits for the next epoch
    assert "held-out images: queries" in done.stdout
    model = read_model(tmp_path / "two", kind=KIND)
    assert model.entry("training", "maps") == [{"name": "wall", "hash": map_hash(places[0].map)}]
    assert model.entry("training", "teacher") is None
    assert model.entry("inputs", "images")["shape"] == [1, 3, 48, 48]
    assert model.entry("outputs", "descriptors")["shape"] == [1, 4 * 256]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--images", "others"], "1 --map and 2 --images, expected one folder for each map"),
        (["--teacher", "nowhere"], "nowhere: holds no weights"),
        (["--resume"], "holds no run"),
        (["--model", "teacher", "--pretrained"], "there are no published weights of the teacher"),
    ],
)
def test_a_missing_input_is_one_line(
    places: list[Place], tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert command(places[:1], tmp_path / "model", *words) == 1
    error = capsys.readouterr().err.splitlines()
    assert [line for line in error if line.startswith("place_recognition.train: ")][-1].count(message) == 1
