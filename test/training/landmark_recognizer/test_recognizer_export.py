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

"""An exported recogniser equals the trained one, and inference can read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vloc_ros.core.features.extractor_config import RootSiftConfig

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch

from training.framework.export import check_parity
from training.landmark_recognizer.config import ModelConfig
from training.landmark_recognizer.export import compare_on_random_keypoints, describe_signature, export
from training.landmark_recognizer.model import RecognitionNetwork
from training.landmark_recognizer.task import wrap_model
from vloc_ros.core.map.landmark_map import LandmarkTable
from vloc_ros.inference.landmark_recognizer import read_landmark_recognizer
from vloc_ros.inference.models import read_model
from vloc_ros.model_export.onnx_files import ExportError, open_session

TABLE = LandmarkTable(np.array([7, -1, 2**62, 3, 4]), np.array([0, 2, 1, 2, 2], np.int32))


def network(seed: int = 0) -> RecognitionNetwork:
    torch.manual_seed(seed)
    return RecognitionNetwork(ModelConfig(width=16, layers=2, heads=2, candidates=2), TABLE.parents.tolist()).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("models") / "wall"
    extractor = RootSiftConfig(max_keypoints=900)
    export(network(), TABLE, out, extractor=extractor, keypoints=300, training={"seed": 0})
    return out


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3, 100, 513, 1500])
def test_any_number_of_keypoints_gives_the_same_outputs(folder: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    rays, descriptors = rng.normal(size=(count, 2)).astype(np.float32), rng.normal(size=(count, 128)).astype(np.float32)
    found = open_session((folder / "model.onnx").read_bytes()).run(None, {"rays": rays, "descriptors": descriptors})
    for ours, theirs in zip(wrap_model(network())(rays, descriptors), found, strict=True):
        assert ours.shape == theirs.shape
        assert ours.dtype == theirs.dtype
        assert np.allclose(ours, theirs, atol=1e-4, rtol=1e-5)


@pytest.mark.slow
def test_the_manifest_declares_inputs_and_outputs(folder: Path) -> None:
    model = read_model(folder, kind="recognizer")
    assert model.entry("inputs", "rays") == {"dtype": "float32", "shape": ["N", 2]}
    assert model.entry("outputs", "landmarks") == {"dtype": "int64", "shape": [2, 3]}
    assert model.entry("outputs", "probabilities")["shape"] == ["N", 2, 3]
    assert model.entry("landmarks")["parents"] == [0, 2, 1, 2, 2]
    assert model.entry("landmarks")["keys"][:2] == ["0000000000000007", "ffffffffffffffff"]


@pytest.mark.slow
def test_a_robot_reads_it(folder: Path) -> None:
    recognizer = read_landmark_recognizer(folder)
    assert np.array_equal(recognizer.landmark_keys, TABLE.keys)
    assert (recognizer.max_keypoints, recognizer.extractor.max_keypoints) == (300, 900)
    rng = np.random.default_rng(0)
    seen = recognizer.recognize(rng.normal(size=(30, 2)), rng.normal(size=(30, 128)))
    assert len(seen.background) == 30


@pytest.mark.slow
def test_a_graph_of_another_model_is_refused(folder: Path) -> None:
    other, onnx_bytes = network(1), (folder / "model.onnx").read_bytes()
    with pytest.raises(ExportError, match="the exported model's background differs by"):
        check_parity(other, onnx_bytes, describe_signature(other), compare_on_random_keypoints(other))
