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

"""Reading and running a global descriptor model, and the models that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from graphs import ENCODER_DIMENSION, ENCODER_SIZE, encoder_graph, encoder_manifest, write_encoder, write_recognizer

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.query import Query, View
from vloc_ros.inference.global_descriptors import KIND, read_global_descriptor
from vloc_ros.inference.models import OLD_KINDS, read_model, write_model


def _image(seed: int, size: tuple[int, ...] = (240, 320, 3)) -> Any:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse[..., 0] if len(size) == 2 else coarse, size[1::-1], interpolation=cv2.INTER_NEAREST)


def test_images_of_any_size_are_encoded(tmp_path: Path) -> None:
    encoder = read_global_descriptor(write_encoder(tmp_path / "model"))
    found = encoder.encode([_image(1), _image(2), _image(1, (480, 640, 3))])
    assert (found.shape, found.dtype, encoder.dimension) == ((3, ENCODER_DIMENSION), np.float32, ENCODER_DIMENSION)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    assert found[0] @ found[2] > 0.999
    assert found[0] @ found[1] < 0.8


def test_the_descriptor_is_that_of_the_whole_image(tmp_path: Path) -> None:
    grey = _image(3, (240, 320))
    found = read_global_descriptor(write_encoder(tmp_path / "model")).encode([grey])[0]
    coarse = grey.reshape(6, 40, 8, 40).mean(axis=(1, 3)).reshape(-1)
    contrast = coarse - coarse.mean()
    np.testing.assert_allclose(found, contrast / np.linalg.norm(contrast), atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_a_graph_with_a_fixed_batch_size_encodes_any_number(tmp_path: Path, count: int) -> None:
    write_encoder(tmp_path / "any")
    inputs = {"images": {"dtype": "float32", "shape": [2, 3, *ENCODER_SIZE]}}
    write_model(tmp_path / "two", encoder_graph(batch=2), encoder_manifest(inputs=inputs))
    images = [_image(seed) for seed in range(count)]
    found, expected = (read_global_descriptor(tmp_path / name).encode(images) for name in ("two", "any"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert read_global_descriptor(tmp_path / "two").batch_size == 2
    assert read_global_descriptor(tmp_path / "any").batch_size > 2


def test_a_query_is_encoded_by_its_images(tmp_path: Path) -> None:
    encoder = read_global_descriptor(write_encoder(tmp_path / "model"))
    camera = Camera("PINHOLE", 320, 240, (280.0, 280.0, 160.0, 120.0))
    images = [_image(1), _image(2)]
    query = Query(tuple(View(image, camera) for image in images))
    np.testing.assert_array_equal(encoder.encode_query(query), encoder.encode(images))
    nothing = encoder.encode_query(Query((), cloud=PointCloud(np.zeros((1, 3), np.float32))))
    assert (nothing.shape, nothing.dtype) == ((0, ENCODER_DIMENSION), np.float32)
    assert encoder.modality == "image"


def test_an_encoder_is_named_by_the_models_hash(tmp_path: Path) -> None:
    folders = [write_encoder(tmp_path / str(shift), shift=shift) for shift in (0.0, 1.0)]
    hashes = [read_global_descriptor(folder).hash for folder in folders]
    assert hashes == [read_model(folder, kind="global descriptor").manifest["hash"] for folder in folders]
    assert hashes[0] != hashes[1]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"inputs": {"rays": {}}}, r"its graph has the inputs images, its manifest declares rays"),
        ({"inputs": {"images": {"shape": 3}}}, r"inputs\.images\.shape is 3, expected \[N, 3"),
        (
            {"inputs": {"images": {}, "mask": {}}},
            r"the inputs images, its manifest declares images, mask",
        ),
        ({"outputs": {"logits": {}}}, r"manifest declares logits"),
        ({"outputs": {"descriptors": {}}}, r"has no outputs\.descriptors\.shape"),
        ({"outputs": {"descriptors": {"shape": ["N", 64]}}}, r"shape \(2, 48\), its manifest declares \['N', 64\]"),
        ({"outputs": {"descriptors": {"shape": 48}}}, r"its manifest declares 48"),
        ({"preprocessing": {"size": [48, 64]}}, r"manifest\.json: preprocessing has \['size'\], expected size, mean"),
        ({"preprocessing": {**encoder_manifest()["preprocessing"], "color": "bgr"}}, r"preprocessing\.color is 'bgr'"),
        (
            {"preprocessing": {**encoder_manifest()["preprocessing"], "size": [64, 64]}},
            r"its graph does not take images of 2x3x64x64, as its manifest declares \(.+\); train the model again",
        ),
    ],
)
def test_a_manifest_that_does_not_match_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        read_global_descriptor(write_encoder(tmp_path / "model", **changes))


def test_a_manifest_without_preprocessing_is_refused(tmp_path: Path) -> None:
    manifest = encoder_manifest()
    del manifest["preprocessing"]
    write_model(tmp_path, encoder_graph(), manifest)
    with pytest.raises(ModelError, match=r"has no preprocessing; train the model again"):
        read_global_descriptor(tmp_path)


def test_descriptors_that_are_not_of_length_1_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path, encoder_graph(normalised=False), encoder_manifest())
    with pytest.raises(ModelError, match=r"descriptors of lengths .*, expected 1"):
        read_global_descriptor(tmp_path)


def test_a_graph_with_another_output_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path, encoder_graph(output="logits"), encoder_manifest(outputs={"logits": {}}))
    with pytest.raises(ModelError, match=r"manifest\.json: has no outputs\.descriptors"):
        read_global_descriptor(tmp_path)


def test_a_model_of_the_old_kind_is_read(tmp_path: Path) -> None:
    kinds = [*OLD_KINDS, KIND]
    old, new = (read_global_descriptor(write_encoder(tmp_path / kind, kind=kind)) for kind in kinds)
    np.testing.assert_array_equal(old.encode([_image(1)]), new.encode([_image(1)]))
    assert old.hash != new.hash


def test_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="of kind 'recognizer', expected 'global descriptor'"):
        read_global_descriptor(write_recognizer(tmp_path / "model"))
