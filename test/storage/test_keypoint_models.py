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

"""Maps with a learned extractor carry its model, and are refused without it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keypoint_graphs import make_keypoint_model
from stored_map import array_file, edit, make_map, refused, swap

from vloc_ros.assembly import build_map_extractor
from vloc_ros.core.errors import MapError, ModelError
from vloc_ros.core.features.extractor_config import KeypointModelConfig
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.storage.maps import (
    keypoint_model_bytes,
    map_bytes,
    map_files,
    map_hash,
    read_manifest,
    read_map,
    size_on_disk,
    write_map,
)

GRAPH = "keypoint_model/graph"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[KeypointModel, KeypointModelConfig]:
    return make_keypoint_model(tmp_path_factory.mktemp("models") / "xfeat")


@pytest.fixture(scope="module")
def written(model: tuple[KeypointModel, KeypointModelConfig]) -> LandmarkMap:
    return replace(make_map(), extractor=model[1], keypoint_model=model[0])


@pytest.fixture(scope="module")
def original(written: LandmarkMap, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps") / "map"
    write_map(written, folder)
    return folder


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A map that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "map"))


def test_a_map_gives_its_model_back(written: LandmarkMap, original: Path, tmp_path: Path) -> None:
    read = read_map(original)
    assert read.extractor == written.extractor
    assert read.keypoint_model is not None
    assert dict(read.keypoint_model.manifest) == dict(written.keypoint_model.manifest)
    np.testing.assert_array_equal(read.keypoint_model.graph, written.keypoint_model.graph)
    assert write_map(read, tmp_path / "again") == map_hash(original)
    noise = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    found, expected = (build_map_extractor(one).extract(noise) for one in (read, written))
    assert len(found) > 3
    np.testing.assert_array_equal(found.descriptors, expected.descriptors)


def test_the_graph_is_an_array_among_the_others(original: Path) -> None:
    entry = read_manifest(original)["arrays"][GRAPH]
    assert (entry["dtype"], len(entry["shape"])) == ("uint8", 1)
    sizes = dict(map_files(original))
    assert 0 < keypoint_model_bytes(original) == sizes[entry["file"]] < map_bytes(original)
    assert size_on_disk(read_map(original)) == map_bytes(original)


def test_a_map_without_a_model_is_as_before(tmp_path: Path) -> None:
    write_map(make_map(), tmp_path / "map")
    assert "keypoint_model" not in read_manifest(tmp_path / "map")
    assert read_map(tmp_path / "map").keypoint_model is None
    assert keypoint_model_bytes(tmp_path / "map") == 0


@pytest.mark.parametrize("spoil", ["remove", "truncate", "alter"])
def test_a_damaged_file_of_the_graph_is_refused(folder: Path, spoil: str) -> None:
    path = array_file(folder, GRAPH)
    data = bytearray(path.read_bytes())
    if spoil == "remove":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        path.write_bytes(data[: len(data) // 2] if spoil == "truncate" else data)
    refused(folder, f"{path.name}: (cannot be read|is damaged|is cut short|was altered).*copy the map again")


def _drop(manifest: dict[str, Any]) -> None:
    del manifest["keypoint_model"]


def _drop_graph(manifest: dict[str, Any]) -> None:
    del manifest["arrays"][GRAPH]


def _name_another(manifest: dict[str, Any]) -> None:
    manifest["extractor"]["model_hash"] = "ab" * 32


def _without_hash(manifest: dict[str, Any]) -> None:
    del manifest["extractor"]["model_hash"]


def _to_rootsift(manifest: dict[str, Any]) -> None:
    manifest["extractor"] = {"name": "rootsift"}


def _to_list(manifest: dict[str, Any]) -> None:
    manifest["keypoint_model"] = ["xfeat"]


def _to_unknown(manifest: dict[str, Any]) -> None:
    manifest["extractor"]["name"] = "superpoint"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_drop, "keypoint model is missing, expected xfeat [0-9a-f]{12}; copy the map again or build it again"),
        (_drop_graph, f"lists no array {GRAPH}; build the map again"),
        (_name_another, "carries the keypoint model xfeat [0-9a-f]{12}, its extractor is xfeat abababababab; copy"),
        (_without_hash, "the extractor xfeat has the model hash ''"),
        (_to_rootsift, "carries the keypoint model xfeat [0-9a-f]{12}, its extractor is rootsift"),
        (_to_list, "does not describe a map"),
        (_to_unknown, "the extractor is 'superpoint', this version has rootsift, xfeat, aliked; update vloc_ros$"),
    ],
)
def test_a_manifest_that_does_not_fit_its_model_is_refused(folder: Path, change: Any, reason: str) -> None:
    edit(folder, change)
    refused(folder, reason)


def test_a_graph_of_another_type_is_refused(folder: Path) -> None:
    swap(folder, GRAPH, np.zeros(100, np.float32))
    refused(folder, f"array {GRAPH} holds float32, expected uint8")
    swap(folder, GRAPH, np.zeros((10, 10), np.uint8))
    refused(folder, r"graph of a keypoint model has shape \(10, 10\) of uint8, expected its bytes in one row")


def test_a_graph_that_was_exchanged_is_refused_by_the_extractor(folder: Path, written: LandmarkMap) -> None:
    """Behind the checksums of the map: its own hash, and that of the array, are right again."""
    graph = np.array(written.keypoint_model.graph)
    graph[len(graph) // 2] ^= 1
    swap(folder, GRAPH, graph)
    with pytest.raises(ModelError, match="the map's keypoint model: was altered"):
        build_map_extractor(read_map(folder))


def test_a_map_is_not_made_without_the_model_that_it_needs(written: LandmarkMap) -> None:
    with pytest.raises(MapError, match="keypoint model is missing"):
        replace(written, keypoint_model=None)
    with pytest.raises(MapError, match="carries the keypoint model"):
        replace(make_map(), keypoint_model=written.keypoint_model)
