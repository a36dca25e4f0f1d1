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

"""The size of a matcher, without the network."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MatcherShape:
    """The size of a network.

    Attributes:
        descriptor_dimension: of the keypoints' descriptors.
        width: values of a token.
        heads: of attention.
        layers: each self- and cross-attention.
        shared: layers, counted from 0, that attend by the probabilities of the layer before (Xue et al., IMP, CVPR
            2023), and compute values alone; both layers are of one group.
    """

    descriptor_dimension: int
    width: int
    heads: int
    layers: int
    shared: tuple[int, ...] = ()

    @property
    def frequencies(self) -> int:
        """Of the rotary encoding, one a pair of values of a head."""
        return self.width // self.heads // 2
