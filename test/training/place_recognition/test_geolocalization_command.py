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

"""`python -m training.place_recognition.train DATASET`, from images with positions to an index that is tested."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from plane_scene import CAMERA, paint_wall, photograph, poses
from safetensors.torch import load_file

from training.framework.run_folder import BEST, INFO, LAST
from training.place_recognition.geolocalization.task import GeolocalizationTask
from training.place_recognition.train import main
from vloc_ros.cli.main import main as vloc
from vloc_ros.datasets.place_recognition.place_images import name_of_fields
from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.models import read_model

QUICK = (
    *("--weights", "none", "--size", "64", "64", "--set", "network.dimension=8", "--set", "fit.accelerator=cpu"),
    *(
        "--set",
        "fit.groups=2",
        "--set",
        "fit.batches=2",
        "--set",
        "tuples.negatives=2",
        "--set",
        "tuples.sector_deg=360",
    ),
    *("--set", "network.stride=8", "--backbone", "resnet10t"),
)


def write_place(folder: Path, name: str, x: float, seed: int, zone: str = "") -> Path:
    """A photograph of a wall of its own for every 100 m."""
    image = photograph(paint_wall(int(x // 100)), poses(1, seed=seed)[0])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of_fields((f"{x}", "0", zone, *[""] * 10, f"{seed}"), ".jpg")
    cv2.imwrite(str(path), cv2.resize(image, (CAMERA.width // 4, CAMERA.height // 4)))
    return path


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three splits of a few walls, two images of the database and a query of each."""
    folder = tmp_path_factory.mktemp("walls")
    for split, walls in (("train", range(5)), ("val", range(5, 7)), ("test", range(7, 10))):
        for wall in walls:
            for role, offsets in (("database", (0, 4)), ("queries", (2,))):
                for offset in offsets:
                    write_place(folder / "images" / split / role, "", 100.0 * wall + offset, 10 * wall + offset)
    return folder


def run(dataset: Path, out: Path, *more: str) -> int:
    return main([str(dataset), "--out", str(out), *QUICK, *more])


@pytest.fixture(scope="module")
def model(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "model"
    assert run(dataset, out, "--mining", "full", "--any-size", "--set", "fit.epochs=2") == 0
    return out


@pytest.fixture
def not_converted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a trained network its run alone: the conversion to ONNX takes longer than the training."""
    monkeypatch.setattr(
        "training.place_recognition.geolocalization.command.export", lambda _, out, **__: out.mkdir(parents=True)
    )


@pytest.mark.slow
def test_a_trained_model_is_an_index(dataset: Path, model: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.json"
    words = ["place", "test", str(dataset), "--split", "val", "--index", str(model), "--resize", "64", "64"]
    assert vloc([*words, "--scales", "0.71,1,1.41", "--json", str(tmp_path / "scaled.json")]) == 0
    assert vloc([*words, "--json", str(scores)]) == 0
    found = json.loads(scores.read_text())["indices"][0]
    held_out = json.loads((model / "manifest.json").read_text())["training"]["metrics"]["held_out"]
    assert found["dimension"] == 8
    assert found["scores"]["recall"]["R@1"]["share"] == held_out["R@1"]
    assert "multiply-accumulates" in (model.with_name("model.run") / INFO).read_text()


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_an_interrupted_training_resumes_to_the_same_weights(
    model: Path, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine: Callable[..., object] = GeolocalizationTask.list_batches

    def stop(self: GeolocalizationTask, epoch: int, network: object) -> object:
        if epoch == 1:
            raise KeyboardInterrupt
        return mine(self, epoch, network)

    options = ("--mining", "full", "--any-size", "--set", "fit.epochs=2")
    with monkeypatch.context() as patch:
        patch.setattr(GeolocalizationTask, "list_batches", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(dataset, tmp_path / "model", *options)
    assert run(dataset, tmp_path / "model", *options, "--resume") == 0
    whole, resumed = (load_file(folder / BEST) for folder in (model.with_name("model.run"), tmp_path / "model.run"))
    assert all((whole[name] == resumed[name]).all() for name in whole)
    assert (tmp_path / "model.run" / LAST).is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_places_are_learnt_from_a_teacher_too(model: Path, dataset: Path, tmp_path: Path) -> None:
    options = ("--loss", "multi_similarity", "--aggregation", "netvlad", "--set", "network.clusters=4")
    assert run(dataset, tmp_path / "student", *options, "--set", "fit.epochs=1", "--teacher", str(model)) == 0
    sources = json.loads((tmp_path / "student.run" / "sources.json").read_text())
    assert sources["teachers"] == [read_model(model, kind=KIND).entry("hash")]


@pytest.mark.parametrize("change", ["nan", "zones", "empty", "nothing near"])
def test_a_data_set_that_cannot_be_trained_with_is_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str
) -> None:
    folder = tmp_path / "changed"
    shutil.copytree(dataset, folder)
    database = folder / "images" / "train" / "database"
    match change:
        case "nan":
            path = next(iter(database.iterdir()))
            path.rename(database / name_of_fields(("nan", "0"), ".jpg"))
        case "zones":
            write_place(database, "", 0.5, 3, zone="33")
        case "empty":
            shutil.rmtree(folder / "images" / "val" / "queries")
        case _:
            for path in (folder / "images" / "train" / "queries").iterdir():
                path.rename(path.with_name(path.name.replace("@", "@9000", 1)))
    assert run(folder, tmp_path / "model") == 1
    assert not (tmp_path / "model").exists()
    assert capsys.readouterr().err.startswith("place_recognition.train: ")


@pytest.mark.slow
@pytest.mark.usefixtures("not_converted")
def test_a_damaged_image_is_named_and_counted_and_the_log_has_the_benchmarks_folders(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(dataset, folder)
    path = sorted((folder / "images" / "train" / "database").iterdir())[0]
    path.write_bytes(b"no image")
    options = ("--loss", "cosplace", "--optimizer", "asgd", "--set", "fit.epochs=1", "--set", "tuples.cell_m=50")
    assert run(folder, tmp_path / "cells", *options, "--logs", str(tmp_path / "logs")) == 0
    printed = capsys.readouterr()
    assert path.name in printed.err
    assert "1 of 15 images are damaged" in printed.out
    (log,) = (tmp_path / "logs" / "cells").iterdir()
    assert (log / INFO).is_file()


@pytest.mark.slow
def test_another_architecture_is_not_resumed(dataset: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--mining", "full", "--any-size", "--set", "fit.epochs=2", "--aggregation", "mixvpr")
    assert run(dataset, model, *options[:2], *options[3:], "--resume") == 1
    assert "config" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ("--radii", "25", "10"),
        ("--any-size", "--aggregation", "mixvpr"),
        ("--any-size", "--aggregation", "grid"),
        ("--weights", "missing.pth"),
        ("--backbone", "no-such-network"),
        ("--optimizer", "adagrad"),
        ("--teacher", "missing"),
        ("--logs", "missing", "--resume"),
    ],
)
def test_options_that_mean_nothing_are_refused(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run(dataset, tmp_path / "model", *words) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_folder_that_cannot_be_written_is_refused_before_the_training(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(dataset, tmp_path / "file" / "model") == 1
    assert "file" in capsys.readouterr().err
