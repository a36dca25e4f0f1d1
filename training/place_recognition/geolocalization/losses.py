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

"""Losses of positions: triplets, multi-similarity, and classification by cell."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# of multi-similarity's own mining: pairs that are easier than the hardest of the other kind by this much are left out
_EPSILON = 0.1


def triplet_loss(descriptors: Tensor, tuples: int, *, margin: float) -> Tensor:
    """Triplet margin loss max(0, m + ‖q - p‖ - ‖q - n‖), the mean over the negatives of all queries.

    Args:
        descriptors: (T * (2 + N), D) of T tuples, each a query, its positive and N negatives.
        tuples: T.
        margin: m.
    """
    found = descriptors.float().view(tuples, -1, descriptors.shape[1])
    query, positive, negatives = found[:, :1], found[:, 1:2], found[:, 2:]
    near, far = (_distances(query, others) for others in (positive, negatives))
    return (margin + near - far).clamp(min=0).mean()


def multi_similarity_loss(
    descriptors: Tensor, positive: Tensor, negative: Tensor, *, alpha: float, beta: float, base: float
) -> Tensor:
    """Multi-similarity loss (Wang et al. 2019) with its mining of pairs, the mean over all images.

    Args:
        descriptors: (B, D) of length 1.
        positive: (B, B) bool, whether both show one place; of an image with itself, false.
        negative: (B, B) bool, whether both show different places.
        alpha: scale of positive similarities.
        beta: scale of negative similarities.
        base: similarity that is subtracted.
    """
    with torch.autocast(descriptors.device.type, enabled=False):
        similarity = descriptors.float() @ descriptors.float().T
    easiest = similarity.masked_fill(~positive, torch.inf).amin(dim=1, keepdim=True)
    hardest = similarity.masked_fill(~negative, -torch.inf).amax(dim=1, keepdim=True)
    pulled = positive & (similarity.detach() - _EPSILON < hardest)
    pushed = negative & (similarity.detach() + _EPSILON > easiest)
    pull = _soft_sum(-alpha * (similarity - base), pulled) / alpha
    push = _soft_sum(beta * (similarity - base), pushed) / beta
    return (pull + push).mean()


def cosine_margin_loss(
    descriptors: Tensor, classifier: Tensor, classes: Tensor, *, scale: float, margin: float
) -> Tensor:
    """Large margin cosine loss of cells, as CosPlace has it (Wang et al. 2018; Berton, Masone and Caputo 2022).

    Args:
        descriptors: (B, D) of length 1.
        classifier: (K, D) one vector for each cell.
        classes: (B,) int64 cell of each image.
        scale: of the logits.
        margin: that is subtracted from the cosine of the right cell.
    """
    cosines = descriptors.float() @ F.normalize(classifier, dim=1).T
    right = F.one_hot(classes, len(classifier)).to(cosines.dtype)
    return F.cross_entropy(scale * (cosines - margin * right), classes)


def _soft_sum(exponents: Tensor, chosen: Tensor) -> Tensor:
    """(B,) log(1 + Σ exp) over the chosen of (B, B)."""
    masked = exponents.masked_fill(~chosen, -torch.inf)
    return torch.logsumexp(torch.cat([torch.zeros_like(masked[:, :1]), masked], dim=1), dim=1)


def _distances(query: Tensor, others: Tensor) -> Tensor:
    """(T, N) distances of (T, 1, D) and (T, N, D); the gradient is finite at 0 too."""
    return (query - others).square().sum(dim=2).clamp(min=1e-12).sqrt()
