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

"""What a learned matcher is: a network that matches two sets of keypoints in stages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.features.extractor_config import ExtractorConfig, KeypointModelConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array


@dataclass(frozen=True, slots=True, eq=False)
class MatchableSet:
    """One of the two sets of keypoints that a network matches.

    Attributes:
        positions: (N, 2) float32, see `normalise_positions`.
        descriptors: (N, D) float32 of the extractor, not compact ones of a map.

    Raises:
        InputError: the shapes do not fit each other, or a value is not finite.
    """

    positions: Array
    descriptors: Array

    def __post_init__(self) -> None:
        n = len(self.positions)
        if self.positions.shape != (n, 2) or self.descriptors.ndim != 2 or len(self.descriptors) != n:
            raise InputError(
                f"keypoints have positions {self.positions.shape} and descriptors {self.descriptors.shape}, expected "
                "(N, 2) and (N, D)"
            )
        if not (np.isfinite(self.positions).all() and np.isfinite(self.descriptors).all()):
            raise InputError("positions or descriptors of keypoints hold NaN or infinity, expected finite values")

    def __len__(self) -> int:
        return len(self.positions)


@dataclass(frozen=True, slots=True, eq=False)
class TokenSet:
    """What a network knows of the keypoints of one set.

    Attributes:
        tokens: (N, C) float32.
        encoding: (N, 2, F) float32 of the positions.
    """

    tokens: Array
    encoding: Array

    def __len__(self) -> int:
        return len(self.tokens)


@dataclass(frozen=True, slots=True, eq=False)
class LayerOutput:
    """One set after a group of layers.

    Attributes:
        tokens: (N, C) float32.
        confidence: (N,) that the match of each is final, 0 to 1.
        matchability: (N,) that each has a match at all, 0 to 1.
    """

    tokens: Array
    confidence: Array
    matchability: Array


class MatchingNetwork(Protocol):
    """A matcher in stages. The loop, pruning and stopping are `IterativeMatcher`'s."""

    @property
    def name(self) -> str:
        """For messages."""
        ...

    @property
    def dimension(self) -> int:
        """Length of the descriptors that it takes."""
        ...

    @property
    def extractor(self) -> str:
        """Name of the extractor that it was trained on."""
        ...

    @property
    def models(self) -> tuple[str, ...]:
        """Keypoint models of that extractor that it was trained on."""
        ...

    @property
    def groups(self) -> int:
        """How many groups of layers run, with an assignment after each."""
        ...

    def embed(self, keypoints: MatchableSet) -> TokenSet:
        """Tokens of N >= 1 keypoints."""
        ...

    def encode_positions(self, positions: Array) -> Array:
        """(N, 2) positions to the encoding of a `TokenSet`, N >= 1."""
        ...

    def run_layers(self, group: int, first: TokenSet, second: TokenSet) -> tuple[LayerOutput, LayerOutput]:
        """One group of layers, counted from 0; both sets have a token at least."""
        ...

    def assign(self, group: int, first: Array, second: Array) -> Array:
        """(N, M) logarithms of the probability that (N, C) and (M, C) tokens after a group match."""
        ...


def normalise_positions(xy: Array, width: int, height: int) -> Array:
    """Pixels (N, 2) of an image to positions: the centre is 0, half of its longer side is 1."""
    return np.asarray((xy - (width / 2, height / 2)) / (max(width, height) / 2), np.float32)


def describe_features(features: Features, width: int, height: int) -> MatchableSet:
    """Features of an image of a size as a network takes them."""
    return MatchableSet(normalise_positions(features.xy, width, height), features.descriptors)


def check_extractor(network: MatchingNetwork, extractor: ExtractorConfig) -> None:
    """Refuse keypoints of another extractor than a network was trained on.

    Raises:
        ModelError: the extractor or its model is another one.
    """
    model = extractor.model if isinstance(extractor, KeypointModelConfig) else ""
    if extractor.name != network.extractor or model not in network.models:
        raise ModelError(
            f"the keypoints are {extractor.name} ({model or 'no model'}), the matcher {network.name} was trained on "
            f"{network.extractor} ({', '.join(network.models)}); use a matcher for these keypoints, or none"
        )
