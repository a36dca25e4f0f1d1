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

"""An exported global descriptor model equals the trained one, and inference can read it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from place_world import tiny, wall_map

from training.framework.export import check_parity
from training.place_recognition.encoders import Encoder, build_encoder
from training.place_recognition.export import KIND, compare_on, describe_signature, export
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.models import GRAPH, read_model
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.model_export.onnx_files import ExportError, open_session

SCENE, WALL = wall_map(5)
IMAGES = [SCENE.image(WALL.keyframes.pose(k)) for k in range(5)]
PREPROCESSING = Preprocessing((48, 48))


def make_encoder(model: str, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return build_encoder(tiny(model=model), extent_m=1.0).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, int | None], Path]:
    """A function that exports an encoder with seed 0, once: it takes seconds."""

    @cache
    def export_once(model: str, batch: int | None) -> Path:
        folder = tmp_path_factory.mktemp(model)
        images, training = IMAGES, {"seed": 0}
        export(make_encoder(model), folder, preprocessing=PREPROCESSING, images=images, training=training, batch=batch)
        return folder

    return export_once


@pytest.fixture
def student_graph(exported: Callable[[str, int | None], Path]) -> bytes:
    """Of the student, for any number of images."""
    return (exported("student", None) / GRAPH).read_bytes()


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        pytest.param("student", None, marks=pytest.mark.slow),
        pytest.param("resnet18-netvlad", None, marks=pytest.mark.slow),
    ],
)
def test_onnx_runtime_gives_the_same_descriptors(
    exported: Callable[[str, int | None], Path], model: str, batch: int | None
) -> None:
    encoder, folder = make_encoder(model), exported(model, batch)
    read = read_model(folder, kind=KIND)
    given = np.stack([PREPROCESSING.apply(image) for image in IMAGES])[: batch or 5]
    found = OnnxRuntime(read, threads=1).run({"images": given})["descriptors"]
    with torch.no_grad():
        assert np.abs(encoder(torch.from_numpy(given)).numpy() - found).max() < 1e-4
    count = batch or "N"
    assert read.entry("inputs") == {"images": {"dtype": "float32", "shape": [count, 3, 48, 48]}}
    assert read.entry("outputs")["descriptors"]["shape"] == [count, encoder.dimension]
    assert Preprocessing.from_manifest(read.entry("preprocessing")) == PREPROCESSING
    assert read.entry("training", "seed") == 0
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.onnx", "references.npz"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 7])
def test_any_number_of_images_gives_the_same_descriptors(student_graph: bytes, count: int) -> None:
    encoder = make_encoder("student")
    session, images = open_session(student_graph, threads=1), torch.randn(count, 3, 48, 48)
    with torch.no_grad():
        assert np.abs(session.run(None, {"images": images.numpy()})[0] - encoder(images).numpy()).max() < 1e-4


@pytest.mark.slow
def test_a_graph_of_another_model_is_refused(student_graph: bytes) -> None:
    other, given = make_encoder("student", 1), np.random.default_rng(0).normal(size=(2, 3, 48, 48)).astype(np.float32)
    with pytest.raises(ExportError, match="the exported model's descriptors differ"):
        check_parity(other, student_graph, describe_signature(other), compare_on(given))


@pytest.mark.slow
def test_the_graph_has_no_resizing(student_graph: bytes) -> None:
    onnx = pytest.importorskip("onnx")
    assert "Resize" not in {node.op_type for node in onnx.load_from_string(student_graph).graph.node}
