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

"""Teachers by path: files of their form are read, others are refused; what they say is learned from."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from cross_view_world import write_dataset
from safetensors.torch import load_file, save_file
from timm.models import register_model
from timm.models.swin_transformer import _create_swin_transformer

from training.cross_view import evaluate, train
from training.cross_view.teachers import TEACHERS, describe_by_teacher, read_teacher
from training.place_recognition.geolocalization.images import ImageStore
from vloc_ros.core.errors import InputError


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as the published ones are, for images of 518 px."""
    teacher = TEACHERS["dinov2"]
    torch.manual_seed(0)
    network = timm.create_model(teacher.architecture, num_classes=teacher.outputs)
    assert network.state_dict()["pos_embed"].shape == (1, 1370, 384)
    path = tmp_path_factory.mktemp("teachers") / "dinov2.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.mark.parametrize("content", [b"", b"no weights"])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match="weights"):
        read_teacher("dinov2", path)


@pytest.mark.slow
def test_weights_of_another_network_are_refused(dinov2: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="shape"):
        read_teacher("clip", dinov2)
    weights = load_file(dinov2)
    save_file({**weights, "norm.weight": weights["norm.weight"][1:].clone()}, tmp_path / "wrong.safetensors")
    with pytest.raises(InputError, match=r"1 of \d+ weights .* such as norm\.weight"):
        read_teacher("dinov2", tmp_path / "wrong.safetensors")


@pytest.mark.slow
def test_a_teacher_describes_each_image(dinov2: Path, tmp_path: Path) -> None:
    """The same from either format."""
    paths = tuple(sorted((write_dataset(tmp_path) / "train" / "satellite").glob("*/*.jpg")))[:2]
    torch.save(load_file(dinov2), tmp_path / "dinov2.pth")
    found, again = (
        describe_by_teacher("dinov2", path, ImageStore(paths, (224, 224))) for path in (dinov2, tmp_path / "dinov2.pth")
    )
    assert found.shape == (2, TEACHERS["dinov2"].dimension)
    assert np.isfinite(found).all()
    assert np.array_equal(found, again)


@register_model
def swin_of_four_blocks(pretrained: bool = False, **options: Any) -> Any:
    """The preset's Swin with a third of its blocks, which is converted in a third of the time."""
    size = {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 2, 2), "patch_size": 4, "window_size": 7}
    return _create_swin_transformer("swin_tiny_patch4_window7_224", pretrained=pretrained, **size, **options)


@pytest.mark.slow
def test_the_preset_seed_trains_with_a_teacher_and_gives_an_index(
    dinov2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands; which numbers the scores are is tested by hand, see test_cross_view_scores.py."""
    data, model = write_dataset(tmp_path / "data", drones=1, positions=True), tmp_path / "model"
    backbone = f"fusion.backbone={swin_of_four_blocks.__name__}"
    settings = [backbone, "fusion.side=64", "fit.epochs=2", "fit.pairs=2", "fit.precision=bf16-mixed", "fit.workers=0"]
    words = [str(data), "--preset", "seed", "--weights", "none", "--dinov2", str(dinov2), "--out", str(model)]
    monkeypatch.setattr(sys, "argv", ["train", *words, *(word for one in settings for word in ("--set", one))])
    assert train.main() == 0
    assert "dinov2" in (tmp_path / "model.run" / "sources.json").read_text()
    out = tmp_path / "scores"
    words = [str(data), "--index", str(model), "--index", "vlad-sift", "--out", str(out), "--mirrored"]
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    assert evaluate.main() == 0
    found = json.loads((out / "metrics.json").read_text())["indices"][0]["drone->satellite"]
    assert found["queries"] == 6
    assert {"R@1", "AP", "R@1%", "SDM@1", "median_m", "region_top_1", "region_chance"} <= found.keys()
    assert all((out / name).is_file() for name in ("recall.svg", "confusion.svg", "examples.jpg"))
