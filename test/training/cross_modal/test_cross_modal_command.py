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

"""`python -m training.cross_modal.train`, `evaluate` and `export`, on a street of posts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from cross_modal_data import write_drive
from safetensors.torch import load_file
from toy_task import Interruption, flatten_weights

from training.cross_modal import export as export_module
from training.cross_modal.batches import find_partner, label
from training.cross_modal.config import build_config
from training.cross_modal.evaluate import main as evaluate
from training.cross_modal.export import hash_weights
from training.cross_modal.inputs import RecordInputs, augment_cloud
from training.cross_modal.records import Record, RecordSet
from training.cross_modal.sources import read_records
from training.cross_modal.task import CrossModalTask
from training.cross_modal.train import main as train
from training.framework import export as framework_export
from training.framework.export import ExportError
from training.framework.run import train as fit
from training.framework.run_folder import BEST
from training.place_recognition.encoders import InitialWeights
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.inference.global_descriptors import read_global_descriptor
from vloc_ros.inference.models import GRAPH, MANIFEST
from vloc_ros.inference.range_descriptors import DESCRIPTORS, check_spaces, read_range_descriptor

SMALL = (
    *(
        "image.backbone=resnet10t",
        "range.height=16",
        "range.width=32",
        "range.channels=4",
        "image.stride=8",
        "image.dimension=16",
    ),
    *(
        "image.width=64",
        "image.mixer_channels=8",
        "fit.places=3",
        "fit.batches=1",
        "fit.accelerator=cpu",
        "fit.scored_every=1",
    ),
)


@pytest.fixture(scope="module")
def drives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("kitti")
    starts = {"00": 0.0, "01": 2.0}
    first, second = (write_drive(root, name, world=1, first_m=start, count=6) for name, start in starts.items())
    return first, second


def task_of(drives: tuple[Path, Path], *more: str) -> CrossModalTask:
    records = RecordSet.join([[read_records(folder) for folder in drives]])
    return CrossModalTask(records, records, build_config("small", [*SMALL, *more]), initial=InitialWeights())


def test_a_resumed_training_is_one_without_interruption(drives: tuple[Path, Path], tmp_path: Path) -> None:
    task = task_of(drives, "fit.epochs=3", "fit.kept=last")
    whole = fit(task, tmp_path / "whole").network
    fit(task, tmp_path / "parts", callbacks=[Interruption()])
    resumed = fit(task, tmp_path / "parts", resume=True).network
    np.testing.assert_array_equal(flatten_weights(whole), flatten_weights(resumed))


def test_batches_have_second_records_of_other_drives(drives: tuple[Path, Path]) -> None:
    task = task_of(drives)
    rng = np.random.default_rng(0)
    partners = [find_partner(task.train, anchor, task.config.pairs, rng) for anchor in range(6)]
    assert (task.train.sequences[partners] == 1).all()
    positive, negative = label(task.train, task.config.pairs)
    assert positive[0, 6]
    assert negative[0, 5]
    assert not positive[0, 2]
    assert not negative[0, 2]


def test_a_cloud_without_intensity_and_wrong_extrinsics(drives: tuple[Path, Path]) -> None:
    config, record = build_config("small", SMALL), read_records(drives[0])[0]
    points, intensity = record.load_forward_cloud()
    moved, without = augment_cloud(points, intensity, config.clouds, np.random.default_rng(3))
    assert len(moved) <= len(points)
    assert without is None or len(without) == len(moved)
    wrong = replace(record, camera_from_lidar=Pose(np.diag([1.0, -1.0, -1.0]), np.array([0.0, 0.0, -100.0])))
    with pytest.raises(InputError, match="camera_from_lidar"):
        RecordInputs(config).view(wrong)


@pytest.mark.slow
def test_train_evaluate_and_export(drives: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, world = tmp_path / "model", [str(folder) for folder in drives]
    settings = [word for one in (*SMALL, "fit.epochs=1") for word in ("--set", one)]
    assert train(["--train", *world, "--val", *world, "--weights", "none", "--out", str(model), *settings]) == 0
    assert load_file(tmp_path / "model.run" / BEST)
    assert check_spaces(model / "image", model / "range")
    images, scans = read_global_descriptor(model / "image"), read_range_descriptor(model / "range")
    assert images.dimension == scans.dimension == 16
    cloud = read_records(drives[0])[0].load_cloud()
    rows = scans.encode_scan(cloud.points, cloud.intensity)
    assert 1 <= len(rows) <= 8
    assert evaluate([str(model), "--world", *world, "--out", str(tmp_path / "scores.json")]) == 0
    found = json.loads((tmp_path / "scores.json").read_text())
    assert set(found["scores"]) == {"2D-3D", "3D-2D", "2D-2D", "3D-3D", "2D-3D all around"}
    assert found["scores"]["2D-3D"]["20 m"]["chance"]["R@1"] == pytest.approx(0.6, abs=0.2)
    exported = export_again(tmp_path / "model.run", world[0], tmp_path / "again", monkeypatch)
    manifest = json.loads((model / "range" / MANIFEST).read_text())
    assert exported["config"].range.view(exported["field_of_view_rad"]).to_manifest() == manifest["view"]
    assert hash_weights(exported["network"]) == manifest["training"]["space"]
    check_that_the_range_encoder_is_the_network(exported, model / "range", read_records(drives[1]), monkeypatch)


def check_that_the_range_encoder_is_the_network(
    exported: Mapping[str, Any], model: Path, records: Sequence[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On scans that the export did not compare them on, at all headings; a graph of other weights is refused."""
    network, encoder = exported["network"], read_range_descriptor(model)
    view = exported["config"].range.view(exported["field_of_view_rad"])
    for cloud in (record.load_cloud() for record in records):
        views = view.render_around(cloud.points, cloud.intensity, headings=encoder.headings)
        with torch.no_grad():
            expected = network.range(torch.from_numpy(views[views[:, 0].any(axis=(1, 2))])).numpy()
        assert np.abs(encoder.encode_scan(cloud.points, cloud.intensity) - expected).max() < 1e-3
    other, graph = deepcopy(network), (model / GRAPH).read_bytes()
    with torch.no_grad():
        for value in other.range.parameters():
            value += 0.1
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "export_image_encoder", lambda *_, **__: None)
        patch.setattr(framework_export, "convert_to_onnx", lambda *_: graph)
        with pytest.raises(ExportError, match=f"{DESCRIPTORS} differs .* expected at most 0.001"):
            export_module.export(**{**exported, "network": other})


def export_again(run: Path, records: str, out: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, Any]:
    """What the command hands to the conversion, which the training has run."""
    calls: list[Mapping[str, Any]] = []
    expected = signature(export_module.export)
    with monkeypatch.context() as patch:
        patch.setattr(export_module, "export", lambda *a, **k: calls.append(expected.bind(*a, **k).arguments))
        assert export_module.main([str(run), "--records", records, "--out", str(out)]) == 0
    assert calls[0]["out"] == out
    return calls[0]
