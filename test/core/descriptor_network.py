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

"""A matching network without learning: descriptors are tokens, and each group of layers is surer of the nearest."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.features.matching_network import LayerOutput, MatchableSet, TokenSet
from vloc_ros.core.geometry.pose import Array


class DescriptorNetwork:
    """Scores by the similarity of descriptors; it records the positions that it is given.

    A keypoint whose first value is below `unmatchable_below` has no match, and is sure of it.
    """

    name, extractor, models = "descriptors", "rootsift", ("",)

    def __init__(
        self, dimension: int = 128, *, groups: int = 3, confident_from: int = 9, unmatchable_below: float = -np.inf
    ) -> None:
        self.dimension, self.groups = dimension, groups
        self._confident_from, self._unmatchable_below = confident_from, unmatchable_below
        self.seen: list[tuple[int, int]] = []
        self.encoded: list[Array] = []

    def embed(self, keypoints: MatchableSet) -> TokenSet:
        return TokenSet(keypoints.descriptors, self.encode_positions(keypoints.positions))

    def encode_positions(self, positions: Array) -> Array:
        self.encoded.append(positions)
        return np.repeat(positions[:, None], 2, axis=1)

    def run_layers(self, group: int, first: TokenSet, second: TokenSet) -> tuple[LayerOutput, LayerOutput]:
        self.seen.append((len(first), len(second)))
        of_first, of_second = (self._output(group, one) for one in (first, second))
        return of_first, of_second

    def _output(self, group: int, one: TokenSet) -> LayerOutput:
        unmatchable = one.tokens[:, 0] < self._unmatchable_below
        sure = 1.0 if group >= self._confident_from else 0.0
        return LayerOutput(one.tokens, np.where(unmatchable, 1.0, sure), np.where(unmatchable, 0.0, 1.0))

    def assign(self, group: int, first: Array, second: Array) -> Array:
        similarity = 40.0 * (group + 1) * (first @ second.T)
        rows = similarity - np.logaddexp.reduce(similarity, axis=1, keepdims=True)
        return rows + similarity - np.logaddexp.reduce(similarity, axis=0, keepdims=True)
