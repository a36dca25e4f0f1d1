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

"""What a model is calibrated and tried on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from graphs import recognizer_graph, recognizer_manifest
from plane_scene import make_plane_scene

from vloc_ros.core.errors import InputError
from vloc_ros.engine_build.samples import sample_keyframes
from vloc_ros.inference.models import Model


def recognizer(dimension: int) -> Model:
    inputs = {"rays": {}, "descriptors": {"dtype": "float32", "shape": ["N", dimension]}}
    return Model(Path("recognizer"), recognizer_manifest(inputs=inputs), recognizer_graph())


def test_a_recogniser_sees_descriptors_as_the_extractor_makes_them() -> None:
    """Those of the map are shorter."""
    landmark_map = make_plane_scene().landmark_map
    dimension = len(landmark_map.codec.mean)
    assert landmark_map.codec.dimension < dimension
    samples = sample_keyframes(recognizer(dimension), landmark_map)
    sample = samples.held_out[0]
    assert sample["descriptors"].shape == (len(sample["rays"]), dimension)
    np.testing.assert_allclose(np.linalg.norm(sample["descriptors"], axis=1), 1.0, atol=1e-3)
    points = landmark_map.keyframes.visible(0)[: len(sample["rays"])]
    again = landmark_map.codec.encode(sample["descriptors"]).astype(int) - landmark_map.codes[points]
    assert np.median(np.abs(again)) <= 2
    with pytest.raises(InputError, match=f"takes descriptors of {landmark_map.codec.dimension} values"):
        sample_keyframes(recognizer(landmark_map.codec.dimension), landmark_map)
