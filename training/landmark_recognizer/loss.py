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

"""Loss of a recogniser: cross-entropy of coarse landmarks, and of fine ones within the true coarse one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.landmark_recognizer.batches import KeypointBatch
from training.landmark_recognizer.model import RecognitionNetwork


class RecognitionLoss(nn.Module):
    """Cross-entropy in two steps, with a smaller weight for background (0.1 in PRAM)."""

    def __init__(self, parents: Tensor, *, background_weight: float) -> None:
        """For landmarks with these (L,) int64 parents."""
        super().__init__()
        coarse_count = int(parents.max()) + 1
        weights = torch.ones(coarse_count + 1)
        weights[-1] = background_weight
        self.register_buffer("weights", weights, persistent=False)
        # background, -1, indexes the last entry
        self.register_buffer("coarse_of", torch.cat([parents, torch.tensor([coarse_count])]), persistent=False)
        self.register_buffer("child_index_of", _index_children(parents), persistent=False)

    def forward(self, model: RecognitionNetwork, batch: KeypointBatch) -> tuple[Tensor, Tensor]:
        """The coarse and the fine loss, means over keypoints."""
        tokens = model.encode(batch.rays, batch.descriptors, batch.mask)[batch.mask]
        landmarks = batch.landmarks[batch.mask]
        coarse = F.cross_entropy(model.coarse(tokens).float(), self.coarse_of[landmarks], weight=self.weights)
        shown = landmarks >= 0
        if not shown.any():
            return coarse, coarse * 0
        logits = model.fine_logits(tokens[shown], self.coarse_of[landmarks[shown]])
        return coarse, F.cross_entropy(logits, self.child_index_of[landmarks[shown]])


def _index_children(parents: Tensor) -> Tensor:
    """(L,) index of every fine landmark among the children of its parent."""
    order = torch.argsort(parents, stable=True)
    counts = torch.bincount(parents)
    firsts = torch.cumsum(counts, 0) - counts
    indices = torch.empty_like(parents)
    indices[order] = torch.arange(len(parents)) - firsts[parents[order]]
    return indices
