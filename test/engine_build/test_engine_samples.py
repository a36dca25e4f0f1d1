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

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import recognizer_graph, recognizer_manifest
from plane_scene import make_plane_scene
from range_model import HEADINGS, surroundings, write_range_model

from vloc_ros.core.clouds.place_clouds import POINTS_CM, encode_points
from vloc_ros.core.errors import InputError
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.places import Payload, Places
from vloc_ros.core.retrieval.scan_context_encoder import LIDAR
from vloc_ros.engine_build.build import EngineRequest, build_engine, convert_precision, gather_samples
from vloc_ros.engine_build.samples import sample_keyframes
from vloc_ros.inference.models import Model, read_any_model
from vloc_ros.inference.tensorrt_api import TENSORRT_RTX


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


def add_scans(landmark_map: LandmarkMap, count: int) -> LandmarkMap:
    """LiDAR places at one spot, each with posts of its own."""
    scans = [encode_points(surroundings(k)) for k in range(count)]
    payload = Payload(np.concatenate(scans), np.cumsum([0, *map(len, scans)]))
    turns, zeros = np.tile(np.eye(3), (count, 1, 1)), np.zeros((count, 3))
    names = tuple(f"scan-{k}" for k in range(count))
    places = Places(names, np.zeros(count, np.int32), turns, zeros, zeros + 60.0, {POINTS_CM: payload})
    return replace(landmark_map, places={LIDAR: places})


def test_an_encoder_of_scans_is_tried_on_the_lidar_places_of_a_map(tmp_path: Path, tensorrt_rtx: object) -> None:
    model = read_any_model(write_range_model(tmp_path / "range"))
    landmark_map = make_plane_scene().landmark_map
    with pytest.raises(InputError, match="name a map with LiDAR places"):
        gather_samples(model, [], landmark_map)
    samples = gather_samples(model, [], add_scans(landmark_map, 12))
    assert samples.count + len(samples.held_out) == 12
    graph, loss = convert_precision(model, "fp16", samples)
    assert loss.figures["median descriptor cosine"] > 0.999
    built = build_engine(model, graph, loss, EngineRequest(TENSORRT_RTX, "fp16", ("sm86",)), tmp_path / "cache")
    assert built.key.profile["views"][2][0] == HEADINGS
