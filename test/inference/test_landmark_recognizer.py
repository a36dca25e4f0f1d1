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

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import KEYS, recognizer_graph, recognizer_manifest, write_recognizer

from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.extractor_config import KeypointModelConfig
from vloc_ros.inference.engines import OnnxRuntime
from vloc_ros.inference.landmark_recognizer import read_landmark_recognizer
from vloc_ros.inference.models import read_model, write_model


def test_padding_is_removed_from_landmarks_and_probabilities(tmp_path: Path) -> None:
    recognizer = read_landmark_recognizer(write_recognizer(tmp_path / "model"))
    descriptors = np.random.default_rng(0).random((5, 8))
    found = recognizer.recognize(np.zeros((5, 2)), descriptors)
    np.testing.assert_array_equal(found.landmarks, [0, 2, 1])
    np.testing.assert_allclose(found.probabilities, descriptors[:, :3], rtol=1e-6)
    np.testing.assert_allclose(found.background, descriptors[:, 4], rtol=1e-6)


def test_keys_extractor_and_keypoints_come_from_the_manifest(tmp_path: Path) -> None:
    recognizer = read_landmark_recognizer(write_recognizer(tmp_path / "model"))
    assert recognizer.landmark_keys.dtype == np.int64
    assert tuple(recognizer.landmark_keys) == KEYS
    assert (recognizer.extractor.name, recognizer.max_keypoints) == ("rootsift", 512)


def test_a_recogniser_of_learned_keypoints_knows_their_model(tmp_path: Path) -> None:
    config = KeypointModelConfig(name="aliked", model="aliked-t16", model_hash="ab" * 32, max_keypoints=700)
    keypoints = {"extractor": asdict(config), "convention": "rays", "max_keypoints": 512}
    recognizer = read_landmark_recognizer(write_recognizer(tmp_path / "model", keypoints=keypoints))
    assert recognizer.extractor == config


_KEYPOINTS = {"extractor": {"name": "rootsift"}, "convention": "rays", "max_keypoints": 512}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"keypoints": {**_KEYPOINTS, "convention": "pixels"}}, "needs keypoints as 'pixels'"),
        ({"keypoints": {**_KEYPOINTS, "max_keypoints": 0}}, "max_keypoints is 0"),
        (
            {"keypoints": {**_KEYPOINTS, "extractor": {"name": "orb"}}},
            "the extractor is 'orb', this version has rootsift",
        ),
        (
            {"keypoints": {**_KEYPOINTS, "extractor": {"name": "xfeat", "model_hash": "ab"}}},
            "keypoints.extractor: the extractor xfeat has the model hash 'ab'",
        ),
        ({"landmarks": {"keys": ["12", "zz"]}}, "no list of hexadecimal"),
        ({"landmarks": {"keys": ["12", "12"]}}, "expected each once"),
        ({"landmarks": {}}, "has no landmarks.keys"),
        ({"inputs": {"image": {}}}, "its graph has the inputs descriptors, rays, its manifest declares image"),
    ],
)
def test_a_manifest_that_does_not_match_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        read_landmark_recognizer(write_recognizer(tmp_path / "model", **changes))


def test_a_graph_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, b"no graph", recognizer_manifest())
    with pytest.raises(ModelError, match="cannot load the model"):
        read_landmark_recognizer(tmp_path)


def test_a_missing_provider_is_refused(tmp_path: Path) -> None:
    model = read_model(write_recognizer(tmp_path / "model"), kind="recognizer")
    with pytest.raises(ModelError, match=r"no NoSuchProvider here, expected one of .*CPUExecutionProvider"):
        OnnxRuntime(model, provider="NoSuchProvider")
    assert recognizer_graph() == model.graph
