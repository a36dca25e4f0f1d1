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

"""What a layer of a matcher says of a batch of pairs, whatever the network."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.iterative_matching.batches import MatchBatch


class LayerMatches(NamedTuple):
    """The matches of a layer.

    Attributes:
        log_scores: (B, N, M) logarithms of the probability that two keypoints match.
        unmatched0: (B, N) logarithms of the probability that each of the first has no match.
        unmatched1: (B, M) those of the second.
        confidence0: (B, N) logits that its match is that of the last layer; None where there is no such head.
        confidence1: (B, M) logits.
    """

    log_scores: Tensor
    unmatched0: Tensor
    unmatched1: Tensor
    confidence0: Tensor | None = None
    confidence1: Tensor | None = None


def batch_of_one(
    descriptors0: Tensor,
    positions0: Tensor,
    descriptors1: Tensor,
    positions1: Tensor,
    *,
    scores: tuple[Tensor, Tensor] | None = None,
) -> MatchBatch:
    """A pair without labels as a batch; `scores` of keypoints are for networks that take them, None for all 1."""
    sides, device = (descriptors0, descriptors1), descriptors0.device
    of_sides = [torch.ones(len(one), device=device) for one in sides] if scores is None else scores
    masks = [torch.ones(1, len(one), dtype=torch.bool, device=device) for one in sides]
    nothing = [torch.zeros(1, len(one), dtype=torch.int64, device=device) for one in sides]
    pairs = (positions0[None], positions1[None], descriptors0[None], descriptors1[None])
    of_keypoints = (*(one[None] for one in of_sides), *masks, *nothing)
    return MatchBatch(*pairs, *of_keypoints, positions0[None], positions1[None], torch.zeros(1, 3, 3, device=device))
