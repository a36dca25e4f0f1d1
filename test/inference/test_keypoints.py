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

"""A keypoint model: its checks when it is loaded, and images of every kind and size."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from graphs import recognizer_graph, recognizer_manifest, write_recognizer
from hypothesis import given, settings
from hypothesis import strategies as st
from keypoint_graphs import (
    DIMENSION,
    MIN_SIZE,
    STRIDE,
    keypoint_graph,
    keypoint_manifest,
    make_keypoint_model,
    write_keypoint_model,
)
from plane_scene import make_plane_scene, poses

from vloc_ros.assembly import build_extractor
from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import InputError, MapError, ModelError
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Extractor, Features, extract_scaled
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference import engines
from vloc_ros.inference.keypoints import OnnxKeypoints, keypoint_model_config, load_keypoints, read_keypoint_model
from vloc_ros.inference.models import MANIFEST, read_model, write_model

IMAGE = make_plane_scene().image(poses(3)[1])


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    model, config = make_keypoint_model(tmp_path_factory.mktemp("grey"))
    return build_extractor(config, model)


@pytest.fixture(scope="module")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Extractor:
    model, config = make_keypoint_model(tmp_path_factory.mktemp("rgb"), color="rgb")
    return build_extractor(config, model)


def _assert_valid(found: Features, image: Array) -> None:
    """Keypoints lie in the image, strongest first, and all values are finite."""
    height, width = image.shape[:2]
    assert found.xy.shape == (len(found), 2)
    assert found.descriptors.shape == (len(found), DIMENSION)
    assert found.xy.dtype == found.descriptors.dtype == found.scores.dtype == np.float32
    assert ((found.xy >= 0) & (found.xy < (width, height))).all()
    assert np.isfinite(found.descriptors).all()
    assert (np.diff(found.scores) <= 0).all()
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, atol=1e-5)


def test_keypoints_of_an_image(grey: Extractor) -> None:
    found = grey.extract(IMAGE)
    assert grey.dimension == DIMENSION
    assert 300 < len(found) < 1000
    _assert_valid(found, IMAGE)


def test_a_keypoint_lies_at_the_centre_of_a_dot(grey: Extractor) -> None:
    image = np.full((96, 128), 60, np.uint8)
    image[40, 70] = 250
    (strongest,) = grey.extract(cv2.GaussianBlur(image, (5, 5), 0)).strongest(1).xy
    np.testing.assert_allclose(strongest, [70.5, 40.5], atol=0.01)


@given(
    height=st.integers(1, 100),
    width=st.integers(1, 100),
    colour=st.booleans(),
    level=st.sampled_from(["noise", "black", "white"]),
)
@settings(max_examples=60)
def test_images_of_any_size_and_light(
    grey: Extractor, rgb: Extractor, height: int, width: int, colour: bool, level: str
) -> None:
    shape = (height, width, 3) if colour else (height, width)
    fill = {"black": 0, "white": 255}.get(level)
    noise = np.random.default_rng(height * 101 + width).integers(0, 256, shape, dtype=np.uint8)
    image = noise if fill is None else np.full(shape, fill, np.uint8)
    for extractor in (grey, rgb):
        found = extractor.extract(image)
        _assert_valid(found, image)
        assert fill is None or not len(found)


@pytest.mark.parametrize("size", [(240, 320), (239, 317), (STRIDE + 1, 300), (300, 1), (1, 1), (MIN_SIZE, MIN_SIZE)])
def test_a_border_that_is_continued_moves_no_keypoint(grey: Extractor, size: tuple[int, int]) -> None:
    whole, part = grey.extract(IMAGE), IMAGE[: size[0], : size[1]]
    found = grey.extract(part)
    _assert_valid(found, part)
    well_inside = (found.xy < np.array(size[::-1]) - 24).all(axis=1)
    places = {tuple(xy) for xy in whole.xy.tolist()}
    assert all(tuple(xy) in places for xy in found.xy[well_inside].tolist())
    assert well_inside.sum() > 300 or min(size) < 200


def test_a_grey_network_gets_the_luminance_and_a_colour_network_the_colours(grey: Extractor, rgb: Extractor) -> None:
    colour = np.stack([IMAGE, np.roll(IMAGE, 40, axis=1), np.roll(IMAGE, 80, axis=0)], axis=-1)
    as_grey = cv2.cvtColor(colour, cv2.COLOR_BGR2GRAY)
    np.testing.assert_array_equal(grey.extract(colour).xy, grey.extract(as_grey).xy)
    red_alone = rgb.extract(np.ascontiguousarray(colour[..., [2, 2, 2]]))
    weak = {tuple(xy) for xy in rgb.extract(np.ascontiguousarray(colour[..., [0, 0, 0]])).xy.tolist()}
    found = {tuple(xy) for xy in rgb.extract(colour).xy.tolist()}
    # red counts most in this network: a swap of red and blue would turn these two round
    assert len(found & {tuple(xy) for xy in red_alone.xy.tolist()}) > 3 * len(found & weak)


def test_a_grey_image_has_the_same_keypoints_in_one_and_in_three_channels(grey: Extractor, rgb: Extractor) -> None:
    for extractor in (grey, rgb):
        one, three = extractor.extract(IMAGE), extractor.extract(cv2.cvtColor(IMAGE, cv2.COLOR_GRAY2BGR))
        np.testing.assert_array_equal(one.xy, three.xy)
        np.testing.assert_allclose(one.descriptors, three.descriptors, atol=1e-6)


def test_a_reduced_image_has_keypoints_in_pixels_of_the_whole_one(grey: Extractor) -> None:
    found = extract_scaled(grey, IMAGE, 0.5)
    assert len(found) > 100
    assert found.xy.max() > IMAGE.shape[1] / 2
    assert ((found.xy >= 0) & (found.xy <= IMAGE.shape[1::-1])).all()


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((20, 20), np.float32),
        np.zeros((20, 20, 4), np.uint8),
        np.zeros((0, 20), np.uint8),
        np.zeros(20, np.uint8),
    ],
)
def test_an_array_that_is_no_image_is_refused(grey: Extractor, image: Array) -> None:
    with pytest.raises(InputError, match="an image has shape"):
        grey.extract(image)


def test_another_process_finds_the_same_keypoints(grey: Extractor) -> None:
    here, there = grey.extract(IMAGE), pickle.loads(pickle.dumps(grey)).extract(IMAGE)
    assert len(here) > 0
    for name in ("xy", "descriptors", "scores"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))


def test_limits_on_keypoints(tmp_path: Path) -> None:
    model, config = make_keypoint_model(tmp_path)
    every = load_keypoints(config, model).extract(IMAGE)
    few = load_keypoints(replace(config, max_keypoints=50), model).extract(IMAGE)
    np.testing.assert_array_equal(few.xy, every.xy[:50])
    least = float(every.scores[100])
    strong = load_keypoints(replace(config, min_score=least), model).extract(IMAGE)
    assert (len(strong), strong.scores.min() > least) == ((every.scores > least).sum(), True)


@pytest.mark.parametrize("size", [(240, 320), (300, 201), (120, 160)])
def test_a_larger_image_is_reduced_and_its_keypoints_are_where_they_were(tmp_path: Path, size: tuple[int, int]) -> None:
    areas = list[int]()

    class Engine(engines.OnnxRuntime):
        def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
            areas.append(inputs["image"].size)
            return super().run(inputs)

    model = read_model(write_keypoint_model(tmp_path), kind="keypoints")
    extractor = OnnxKeypoints(model, Engine(model), max_keypoints=500, min_score=0.005, max_megapixels=0.0192)
    image = np.full(size, 60, np.uint8)
    image[100:104, size[1] // 2 - 2 : size[1] // 2 + 2] = 250
    found = extractor.extract(image)
    assert areas[-1] <= 19_200 + 32 * 160  # and what it is padded by
    np.testing.assert_allclose(found.xy[0], [size[1] // 2, 102], atol=1.6)


def test_what_is_not_finite_is_left_out(tmp_path: Path) -> None:
    class Engine:
        """Gives what a network with a division by zero may give, and one keypoint outside the image."""

        def __init__(self, real: Any) -> None:
            self.real, self.spoil = real, False

        def run(self, inputs: dict[str, Array]) -> dict[str, Array]:
            found = {name: array.copy() for name, array in self.real.run(inputs).items()}
            if self.spoil:
                found["keypoints"][0], found["keypoints"][1, 0] = np.nan, 400.0
                found["scores"][2], found["descriptors"][3, 5] = np.inf, np.nan
            return found

    model = read_model(write_keypoint_model(tmp_path), kind="keypoints")
    engine = Engine(engines.OnnxRuntime(model))
    extractor = OnnxKeypoints(model, engine, max_keypoints=500, min_score=0.0)
    whole = extractor.extract(IMAGE)
    engine.spoil = True
    np.testing.assert_array_equal(extractor.extract(IMAGE).xy, whole.xy[4:])


_IMAGE_ENTRY = {"color": "grey", "stride": STRIDE, "min_size": MIN_SIZE}


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({"image": {**_IMAGE_ENTRY, "color": "yuv"}}, "image.color is 'yuv', this version has grey and rgb"),
        ({"image": {**_IMAGE_ENTRY, "stride": 0}}, "image.stride is 0, expected 1 to 8192 pixels"),
        ({"image": {**_IMAGE_ENTRY, "min_size": 1.5}}, "image.min_size is 1.5"),
        ({"image": {"color": "grey", "min_size": 32}}, "has no image.stride; export the model again"),
        ({"image": {**_IMAGE_ENTRY, "stride": 7}}, "its graph does not take a grey image of 98x98"),
        ({"image": {**_IMAGE_ENTRY, "color": "rgb"}}, "its graph does not take a rgb image of 96x96"),
        (
            {"keypoints": {**keypoint_manifest()["keypoints"], "convention": "opencv"}},
            "keypoints.convention is 'opencv', this version has 'colmap'",
        ),
        ({"inputs": {"image": {}}}, "its graph has the inputs image, max_keypoints, min_score, its manifest declares"),
        ({"outputs": {}}, "its graph has the outputs descriptors, keypoints, scores, its manifest declares"),
        (
            {"outputs": {**keypoint_manifest()["outputs"], "descriptors": {"shape": ["N", "D"]}}},
            r"outputs.descriptors.shape is \['N', 'D'\], expected \[N, D\]",
        ),
        (
            {"outputs": {**keypoint_manifest()["outputs"], "descriptors": {"shape": ["N", 64]}}},
            r"its graph returns descriptors of shape \(\d+, 32\) of float32, expected \('N', 64\) of float32",
        ),
    ],
)
def test_a_manifest_that_does_not_match_is_refused(tmp_path: Path, manifest: dict[str, Any], reason: str) -> None:
    model, config = make_keypoint_model(tmp_path, manifest=manifest)
    with pytest.raises(ModelError, match=reason):
        load_keypoints(config, model)


def test_a_model_that_has_the_kind_alone_is_refused(tmp_path: Path) -> None:
    names = recognizer_manifest()
    manifest = keypoint_manifest(inputs=names["inputs"], outputs=names["outputs"])
    write_model(tmp_path, recognizer_graph(), manifest)
    model = read_keypoint_model(tmp_path)
    with pytest.raises(ModelError, match="inputs has descriptors, rays, expected image, max_keypoints, min_score"):
        load_keypoints(keypoint_model_config(model), model)


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        ({"dimension": 16}, r"descriptors of shape \(\d+, 16\) of float32, expected \('N', 32\)"),
        ({"outputs": "float64"}, r"descriptors of shape \(\d+, 32\) of float64"),
        ({"outputs": "flat"}, r"descriptors of shape \(\d+,\) of float32"),
        ({"outputs": "ascending"}, "scores that do not descend"),
        ({"length": 2.0}, "descriptors of length 2, expected 1"),
    ],
)
def test_a_graph_that_returns_something_else_is_refused(tmp_path: Path, graph: dict[str, Any], reason: str) -> None:
    model, config = make_keypoint_model(tmp_path, **graph)
    with pytest.raises(ModelError, match=reason) as error:
        load_keypoints(config, model)
    assert "the map's keypoint model" in str(error.value)
    assert "vloc model export" in str(error.value)


def test_the_configuration_has_the_defaults_of_the_model(tmp_path: Path) -> None:
    model, config = make_keypoint_model(tmp_path)
    assert (config.name, config.model, config.model_hash) == ("xfeat", "xfeat", model.hash)
    assert (config.max_keypoints, config.min_score) == (1000, 0.005)


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ({"extractor": "superpoint"}, "expected one of xfeat, aliked; export the model again .*, or update vloc_ros"),
        ({"extractor": 3}, "parameter name is 3"),
        ({"keypoints": {"convention": "colmap"}}, "has no keypoints.default_max_keypoints"),
        (
            {"keypoints": {**keypoint_manifest()["keypoints"], "default_max_keypoints": 0}},
            "max_keypoints is 0, expected 50 to 20000",
        ),
    ],
)
def test_a_model_that_gives_no_configuration_is_refused(tmp_path: Path, manifest: dict[str, Any], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        make_keypoint_model(tmp_path, manifest=manifest)


def test_a_model_that_is_missing_or_another_one_is_refused(tmp_path: Path) -> None:
    model, config = make_keypoint_model(tmp_path / "one")
    other, of_other = make_keypoint_model(tmp_path / "other", seed=1)
    assert config.model_hash != of_other.model_hash
    with pytest.raises(MapError, match=f"keypoint model is missing, expected xfeat {config.model_hash[:12]}"):
        load_keypoints(config, None)
    with pytest.raises(
        MapError, match=f"is xfeat {of_other.model_hash[:12]} of xfeat, expected xfeat {model.hash[:12]}"
    ):
        load_keypoints(config, other)
    with pytest.raises(MapError, match=r"of xfeat, expected xfeat .* of aliked"):
        load_keypoints(replace(config, name="aliked"), model)


def test_a_model_that_was_altered_is_refused(tmp_path: Path) -> None:
    model, config = make_keypoint_model(tmp_path)
    graph = model.graph.copy()
    graph[1000] ^= 1
    with pytest.raises(ModelError, match=r"the map's keypoint model: was altered.*; copy the map again or build"):
        load_keypoints(config, KeypointModel(model.manifest, graph))
    with pytest.raises(ModelError, match="the map's keypoint model: was altered"):
        load_keypoints(config, KeypointModel({**model.manifest, "name": "better"}, model.graph))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 2}, "has format version 2, this installation reads 1; update vloc_ros"),
        ({"kind": "recognizer"}, "is a model of kind 'recognizer', expected 'keypoints'"),
    ],
)
def test_a_model_of_another_kind_or_version_is_refused(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    model, config = make_keypoint_model(tmp_path)
    with pytest.raises(ModelError, match=reason):
        load_keypoints(config, KeypointModel({**model.manifest, **changes}, model.graph))


def test_a_folder_without_a_keypoint_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"does not exist, expected a folder .* as `vloc model export` writes it"):
        read_keypoint_model(tmp_path / "none")
    write_recognizer(tmp_path / "other")
    with pytest.raises(ModelError, match="is a model of kind 'recognizer', expected 'keypoints'"):
        read_keypoint_model(tmp_path / "other")
    folder = write_keypoint_model(tmp_path / "cut")
    (folder / "model.onnx").write_bytes(keypoint_graph()[:-7])
    with pytest.raises(ModelError, match=r"was altered.*export the model again"):
        read_keypoint_model(folder)
    (folder / MANIFEST).write_text("{")
    with pytest.raises(ModelError, match="is truncated or no JSON; copy it again or export the model again"):
        read_keypoint_model(folder)


def test_a_missing_provider_is_refused(tmp_path: Path) -> None:
    model, config = make_keypoint_model(tmp_path)
    with pytest.raises(ModelError, match=r"no OpenVINOExecutionProvider here, expected one of .*CPUExecutionProvider"):
        build_extractor(config, model, inference=InferenceConfig(provider="OpenVINOExecutionProvider"))
    assert keypoint_model_config(model) == config
