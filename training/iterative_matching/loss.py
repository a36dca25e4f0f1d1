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

"""The loss of a matcher: of each layer's matches, of its confidence, and of epipolar lines.

Likelihood and confidence as LightGlue has them (Lindenberger et al. 2023), the layers weighted towards the last.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from training.iterative_matching.batches import MatchBatch
from training.iterative_matching.config import MatchingLossConfig
from training.iterative_matching.ground_truth import UNMATCHED
from training.iterative_matching.layer_matches import LayerMatches

# a match of lower probability is none, as in `IterativeMatcher`
_LEAST_LOG_PROBABILITY = -2.3026
# squared distance from the epipolar line, in normalised coordinates, at which a match counts as wrong for certain
_EPIPOLAR_SCALE = 1e-3


def matching_loss(layers: Sequence[LayerMatches], batch: MatchBatch, config: MatchingLossConfig) -> dict[str, Tensor]:
    """The terms of the loss by name, means over the pairs."""
    weights = torch.tensor([(number + 1.0) ** config.growth for number in range(len(layers))])
    weights = (weights / weights.sum()).to(batch.mask0.device)
    likelihoods = torch.stack([negative_log_likelihood(layer, batch, config.positives) for layer in layers])
    terms = {"matches": weights @ likelihoods}
    if config.confidence and len(layers) > 1:
        terms["confidence"] = config.confidence * _confidence_loss(layers, batch)
    if config.pose:
        found = [_epipolar_loss(layer.log_scores.float(), batch) for layer in layers]
        terms["pose"] = config.pose * (weights @ torch.stack(found))
    return terms


def negative_log_likelihood(layer: LayerMatches, batch: MatchBatch, positives: float) -> Tensor:
    """Of true matches, and of having none, each a mean over the keypoints of a pair, then over the pairs."""
    matched = batch.labels0 >= 0
    rows = layer.log_scores.float().gather(2, batch.labels0.clamp(min=0)[..., None]).squeeze(2)
    positive = -_masked_mean(rows, matched)
    unmatched = [
        -_masked_mean(log_none.float(), labels == UNMATCHED)
        for log_none, labels in ((layer.unmatched0, batch.labels0), (layer.unmatched1, batch.labels1))
    ]
    negative = 0.5 * (unmatched[0] + unmatched[1])
    return (positives * positive + (1 - positives) * negative).mean()


def _confidence_loss(layers: Sequence[LayerMatches], batch: MatchBatch) -> Tensor:
    """Entropy of whether each keypoint's match is that of the last layer; padding does not count."""
    final = _decide(layers[-1])
    losses = []
    for layer in layers[:-1]:
        if layer.confidence0 is None or layer.confidence1 is None:
            continue
        decided = _decide(layer)
        for logits, now, later, mask in zip(
            (layer.confidence0, layer.confidence1), decided, final, (batch.mask0, batch.mask1), strict=True
        ):
            entropy = F.binary_cross_entropy_with_logits(logits.float(), (now == later).float(), reduction="none")
            losses.append(_masked_mean(entropy, mask).mean())
    return torch.stack(losses).mean() if losses else batch.positions0.new_zeros(())


@torch.no_grad()
def _decide(layer: LayerMatches) -> tuple[Tensor, Tensor]:
    """(B, N) and (B, M) most probable match of each keypoint, -1 where none is probable."""
    return tuple(  # type: ignore[return-value]
        torch.where(best.values > _LEAST_LOG_PROBABILITY, best.indices, -1)
        for best in (layer.log_scores.max(dim=2), layer.log_scores.max(dim=1))
    )


def _epipolar_loss(log_scores: Tensor, batch: MatchBatch) -> Tensor:
    """Probability of matches times how certainly their epipolar error makes them wrong, a mean over pairs with a pose.

    The soft counterpart of a pose's inliers: IMP's paper weighs matches by the pose that they give.
    """
    rays0, rays1 = (F.pad(rays, (0, 1), value=1.0) for rays in (batch.rays0, batch.rays1))
    lines = rays0 @ batch.essential.transpose(1, 2)
    back = rays1 @ batch.essential
    residual = (lines @ rays1.transpose(1, 2)).square()
    squared = residual / (lines[..., :2].square().sum(-1)[..., None] + 1e-9)
    squared = torch.maximum(squared, residual / (back[..., :2].square().sum(-1)[:, None] + 1e-9))
    wrong = 1 - torch.exp(-squared / _EPIPOLAR_SCALE**2)
    real = batch.mask0[..., None] & batch.mask1[:, None]
    probability = log_scores.clamp(max=0).exp() * real
    of_pair = (probability * wrong).sum((1, 2)) / probability.sum((1, 2)).clamp(min=1.0)
    posed = (batch.essential != 0).any(2).any(1)
    return (of_pair * posed).sum() / posed.sum().clamp(min=1)


def _masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """(B,) mean of the values of a row where a mask is set; 0 where it is not."""
    return torch.where(mask, values, 0.0).sum(1) / mask.sum(1).clamp(min=1)
