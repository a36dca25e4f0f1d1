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

"""Learned matchers that `vloc model export` wrote: LighterGlue for XFeat, LightGlue for ALIKED."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.matching_network import LayerOutput, MatchableSet, TokenSet
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.engines import ON_CPU, Engine, first_line, start_engine
from vloc_ros.inference.models import MAIN, MANIFEST, Model, read_model, read_stage

KIND = "matcher"
# the only one there is: the image's centre is 0, half of its longer side is 1
NORMALISATION = "half of the longer side"
_TRIAL = (5, 3)


class OnnxMatchingNetwork:
    """The stages of a matcher, each run by an engine; see `vloc_ros.core.features.matching_network`."""

    def __init__(self, model: Model, *, start: Callable[[Model, str], Engine]) -> None:
        """Start the engines of a model of kind `matcher`, and try them on noise.

        Args:
            model: the model.
            start: the engine of a graph, by the graph and its name.

        Raises:
            ModelError: the manifest is incomplete or not supported by this version, a stage is missing or altered, or
                it cannot be run.
        """
        normalisation = model.entry("keypoints", "normalisation")
        if normalisation != NORMALISATION:
            raise ModelError(
                f"{model.folder / MANIFEST}: keypoints.normalisation is {normalisation!r}, this version has "
                f"{NORMALISATION!r}; {model.remedy}"
            )
        self.name, self.extractor = str(model.entry("name")), str(model.entry("keypoints", "extractor"))
        self.models = tuple(map(str, _read_list(model, "keypoints", "models")))
        self.dimension = _read_count(model, model.entry("keypoints", "dimension"), "keypoints.dimension")
        self.groups = len(_read_list(model, "groups"))

        def start_stage(name: str) -> Engine:
            return start(read_stage(model, name), name)

        self._embed, self._positions = start(model, MAIN), start_stage("positions")
        self._layers = [start_stage(f"layers_{k}") for k in range(1, self.groups + 1)]
        self._assignments = [start_stage(f"assignment_{k}") for k in range(1, self.groups + 1)]
        self._run_on_noise(model)

    def embed(self, keypoints: MatchableSet) -> TokenSet:
        """Tokens of N >= 1 keypoints."""
        tokens = self._embed.run({"descriptors": np.asarray(keypoints.descriptors, np.float32)})["tokens"]
        return TokenSet(tokens, self.encode_positions(keypoints.positions))

    def encode_positions(self, positions: Array) -> Array:
        """(N, 2) positions to the encoding of a `TokenSet`, N >= 1."""
        return self._positions.run({"positions": np.asarray(positions, np.float32)})["encoding"]

    def run_layers(self, group: int, first: TokenSet, second: TokenSet) -> tuple[LayerOutput, LayerOutput]:
        """One group of layers, counted from 0."""
        sides = (("0", first), ("1", second))
        found = self._layers[group].run(
            {f"tokens{side}": of_set.tokens for side, of_set in sides}
            | {f"encoding{side}": of_set.encoding for side, of_set in sides}
            | {f"mask{side}": np.ones(len(of_set), bool) for side, of_set in sides}
        )
        of_first, of_second = (
            LayerOutput(found[f"updated{side}"], found[f"confidence{side}"], found[f"matchability{side}"])
            for side, _ in sides
        )
        return of_first, of_second

    def assign(self, group: int, first: Array, second: Array) -> Array:
        """(N, M) logarithms of the probability that (N, C) and (M, C) tokens after a group match."""
        masks = {"mask0": np.ones(len(first), bool), "mask1": np.ones(len(second), bool)}
        return self._assignments[group].run({"tokens0": first, "tokens1": second, **masks})["log_scores"]

    def _run_on_noise(self, model: Model) -> None:
        """Check that the stages fit each other."""
        rng = np.random.default_rng(0)
        sets = [MatchableSet(rng.random((n, 2), np.float32), rng.random((n, self.dimension), np.float32))
                for n in _TRIAL]  # fmt: skip
        try:
            first, second = (self.embed(one) for one in sets)
            for group in range(self.groups):
                outputs = self.run_layers(group, first, second)
                first, second = (
                    TokenSet(out.tokens, old.encoding) for out, old in zip(outputs, (first, second), strict=True)
                )
                shape = self.assign(group, first.tokens, second.tokens).shape
                if shape != _TRIAL:
                    raise ModelError(f"{model.folder}: assignment_{group + 1} returns scores of shape {shape} for "
                                     f"{_TRIAL} keypoints; {model.remedy}")  # fmt: skip
        except ModelError:
            raise
        except Exception as error:  # the engines' exceptions have no other common base
            raise ModelError(f"{model.folder}: its stages do not fit each other ({first_line(error)}); "
                             f"{model.remedy}") from error  # fmt: skip


def read_matching_network(folder: Path, inference: InferenceConfig = ON_CPU) -> OnnxMatchingNetwork:
    """Read a model folder and load its graphs.

    Raises:
        ModelError: there is no model, it is damaged or of another kind, or the provider is missing.
    """
    model = read_model(folder, kind=KIND)
    return OnnxMatchingNetwork(model, start=lambda part, _: start_engine(part, inference))


def _read_list(model: Model, *names: str) -> list[object]:
    value = model.entry(*names)
    if not isinstance(value, list) or not value:
        raise ModelError(f"{model.folder / MANIFEST}: {'.'.join(names)} is {value!r}, expected a list; {model.remedy}")
    return value


def _read_count(model: Model, value: object, name: str) -> int:
    if type(value) is not int or value < 1:
        raise ModelError(f"{model.folder / MANIFEST}: {name} is {value!r}, expected a number above 0; {model.remedy}")
    return value
