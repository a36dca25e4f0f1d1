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

"""Inputs of a matcher's stages, recorded while it matches images of a map, and what another precision of it loses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.features.iterative_matching import IterativeMatcher, SetMatches
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.features.matching_network import MatchableSet, check_extractor, describe_features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.engine_build.loss import Loss, judge
from vloc_ros.engine_build.samples import Sample, Samples, hold_out
from vloc_ros.inference.engines import Engine, OnnxRuntime
from vloc_ros.inference.keypoints import keypoint_model_config, load_keypoints
from vloc_ros.inference.matching_network import OnnxMatchingNetwork, read_matching_network
from vloc_ros.inference.models import MAIN, Model, write_model
from vloc_ros.storage.images import read_image

KEYPOINTS = 512
LEAST_MATCHES = 0.95
# calibration keeps the inputs of all stages for them in memory
MOST_CALIBRATION = 200
_HELD_OUT = 10
Pair = tuple[MatchableSet, MatchableSet]


@dataclass(frozen=True, slots=True)
class MatcherSamples:
    """What a matcher is calibrated and tried on.

    Attributes:
        stages: inputs of each graph, by its name; none are held out, and only int8 has some.
        held_out: pairs of images.
    """

    stages: Mapping[str, Samples]
    held_out: Sequence[Pair]


def sample_pairs(
    model: Model, keypoint_model: KeypointModel, images: Sequence[Path], *, calibrate: bool
) -> MatcherSamples:
    """Pairs of images in a row that are held out, and the inputs that the stages have for others.

    Args:
        model: a matcher.
        keypoint_model: whose keypoints it was trained on.
        images: the map's own, in their order.
        calibrate: whether inputs of the stages are recorded, for int8.

    Raises:
        InputError: there are fewer than two images, or one cannot be read.
        ModelError: the keypoints are others.
    """
    if len(images) < 2:
        raise InputError(f"a matcher is tried on pairs of images, found {len(images)} images, expected 2 or more")
    config = keypoint_model_config(keypoint_model)
    check_extractor(OnnxMatchingNetwork(model, start=lambda part, _: OnnxRuntime(part, threads=1)), config)
    calibration, held_out = split_pairs(len(images) - 1)
    extractor = load_keypoints(config, keypoint_model)
    stages = record_stages(model, _describe_pairs(extractor, images, calibration)) if calibrate else {}
    return MatcherSamples(stages, list(_describe_pairs(extractor, images, held_out)))


def split_pairs(count: int) -> tuple[list[int], list[int]]:
    """The pairs (k, k + 1) that int8 is calibrated on, evenly spread, and every tenth, which shares no image with them.

    Neighbours of a held-out pair are in neither.
    """
    others, held_out = hold_out(range(count), every=_HELD_OUT)
    shared = {k + step for k in held_out for step in (-1, 1)}
    apart = [k for k in others if k not in shared]
    if len(apart) > MOST_CALIBRATION:
        apart = [apart[k] for k in np.linspace(0, len(apart) - 1, MOST_CALIBRATION).round().astype(int)]
    return apart, held_out


def record_stages(model: Model, pairs: Iterable[Pair]) -> dict[str, Samples]:
    """The inputs that each graph of a matcher has for pairs of images, by its name."""
    recorded: dict[str, list[Sample]] = {}

    def record(part: Model, name: str) -> Engine:
        return _Recorder(OnnxRuntime(part, threads=1), recorded.setdefault(name, []))

    network = OnnxMatchingNetwork(model, start=record)
    for samples in recorded.values():
        samples.clear()  # of the noise that a network is tried on
    matcher = IterativeMatcher(network, max_keypoints=KEYPOINTS, adaptive=False)
    for first, second in pairs:
        matcher.match(first, second)
    return {name: Samples(found, len(found)) for name, found in recorded.items()}


def _describe_pairs(extractor: Extractor, images: Sequence[Path], pairs: Sequence[int]) -> Iterator[Pair]:
    """The pairs (k, k + 1) of images by number, in order, without those that have no keypoints."""
    described: dict[int, MatchableSet] = {}
    for k in pairs:
        described = {j: described[j] if j in described else _describe(extractor, images[j]) for j in (k, k + 1)}
        if len(described[k]) and len(described[k + 1]):
            yield described[k], described[k + 1]


def _describe(extractor: Extractor, path: Path) -> MatchableSet:
    image = read_image(path)
    height, width = image.shape[:2]
    return describe_features(extractor.extract(image).strongest(KEYPOINTS), width, height)


class _Recorder:
    """An engine that keeps what it is given."""

    def __init__(self, engine: Engine, samples: list[Sample]) -> None:
        self._engine, self._samples = engine, samples

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        self._samples.append(dict(inputs))
        return self._engine.run(inputs)


def measure_matcher_loss(model: Model, graphs: Mapping[str, bytes], pairs: Sequence[Pair]) -> Loss:
    """Compare the matches of a matcher with those of its graphs in another precision, on ONNX Runtime's CPU."""
    with tempfile.TemporaryDirectory() as folder:
        write_typed_model(Path(folder) / "typed", model, graphs)
        ours, theirs = (
            IterativeMatcher(read_matching_network(one), max_keypoints=KEYPOINTS)
            for one in (model.folder, Path(folder) / "typed")
        )
        found = [(ours.match(*pair), theirs.match(*pair)) for pair in pairs]
    shared = sum(len(_as_set(a) & _as_set(b)) for a, b in found)
    counts = [sum(len(pair[side]) for pair in found) for side in (0, 1)]
    figures = {"matches found again": shared / max(counts[0], 1), "of its own shared": shared / max(counts[1], 1)}
    return judge(figures, dict.fromkeys(figures, LEAST_MATCHES))


def write_typed_model(folder: Path, model: Model, graphs: Mapping[str, bytes], **entries: object) -> str:
    """Write a model with other graphs, those of its stages included, and return its hash."""
    kept = {name: value for name, value in model.manifest.items() if name not in ("hash", "references")}
    stages = {name: graph for name, graph in graphs.items() if name != MAIN}
    return write_model(folder, graphs[MAIN], {**kept, **entries}, stages=stages)


def _as_set(matches: SetMatches) -> set[tuple[int, int]]:
    return set(zip(matches.first.tolist(), matches.second.tolist(), strict=True))
