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

"""IMP: attention, Sinkhorn's algorithm after each layer, and a relative pose between the layers.

Xue, Budvytis, Cipolla: "IMP: Iterative Matching and Pose Estimation with Adaptive Pooling", CVPR 2023, built from its
description: 15 layers of 256 values, attention shared by every second layer from the fourth on, instance
normalisation over the keypoints. With `pooling` (EIMP) keypoints that few attend to take no further part.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from training.iterative_matching.batches import MatchBatch
from training.iterative_matching.config import MatcherNetworkConfig
from training.iterative_matching.layer_matches import LayerMatches, batch_of_one
from vloc_ros.core.geometry.pose import Array, Pose

_ENCODER = (32, 64, 128)
# positions reach 1 at half of the longer side; IMP divides by 0.7 of that side
_POSITION_SCALE = 0.5 / 0.7
_PADDING = -1e9
# layers, counted from 0, that compute their attention although their number is odd
_FIRST_SHARED = 3
_LEAST_TOKENS, _KEPT_PROBABILITY = 256, {True: 0.1, False: 0.2}
_FIRST_POOLING = 3
_INNER_PROBABILITY, _FINAL_PROBABILITY = 0.1, 0.2
_LEAST_MATCHES, _STILL_DEG = 25, 1.5
# rows of the first set and of the second that match, to the pose and the inliers among them
EstimatePose = Callable[[Array, Array], tuple[Pose | None, Array]]


class InstanceNorm(nn.Module):
    """Each channel by mean and deviation over the keypoints of an image; padding does not count."""

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, N, C) values with a (B, N) mask."""
        weights = mask[..., None].to(values.dtype)
        count = weights.sum(1, keepdim=True).clamp(min=1)
        centred = values - (values * weights).sum(1, keepdim=True) / count
        variance = (centred.square() * weights).sum(1, keepdim=True) / count
        return centred * (variance + 1e-5).rsqrt()


class Perceptron(nn.Module):
    """Linear layers with instance normalisation and ReLU between them."""

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.linears = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.norm = InstanceNorm()
        nn.init.zeros_(self.linears[-1].bias)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """(B, N, first width) to (B, N, last width)."""
        for linear in self.linears[:-1]:
            values = self.norm(linear(values), mask).relu()
        return self.linears[-1](values)  # type: ignore[no-any-return]


class Attention(nn.Module):
    """A message from one set to another or to itself, added to the tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.query, self.key, self.value, self.merge = (nn.Linear(width, width) for _ in range(4))
        self.update = Perceptron(2 * width, 2 * width, width)

    def probabilities(self, tokens: Tensor, source: Tensor, source_mask: Tensor) -> Tensor:
        """(B, heads, N, M) by which each of N tokens attends to M of a source."""
        query, key = self._split(self.query(tokens)), self._split(self.key(source))
        similarity = query @ key.transpose(2, 3) / math.sqrt(query.shape[3])
        return (similarity + _bias(source_mask)[:, None, None]).softmax(dim=3)

    def attend(self, tokens: Tensor, source: Tensor, mask: Tensor, probabilities: Tensor) -> Tensor:
        """(B, N, width) tokens after a message from the source by these probabilities."""
        message = self.merge((probabilities @ self._split(self.value(source))).transpose(1, 2).flatten(2))
        return tokens + self.update(torch.cat((tokens, message), dim=2), mask)  # type: ignore[no-any-return]

    def _split(self, values: Tensor) -> Tensor:
        return values.unflatten(2, (self._heads, -1)).transpose(1, 2)


@dataclass(slots=True, eq=False)
class _State:
    """Both sets between two layers.

    Attributes:
        tokens: (B, N, width) and (B, M, width).
        masks: (B, N) and (B, M), which of them take part.
        own: probabilities of self-attention in both sets.
        cross: probabilities of cross-attention, of the first to the second and back.
    """

    tokens: list[Tensor]
    masks: list[Tensor]
    own: list[Tensor]
    cross: list[Tensor]


class ImpMatcher(nn.Module):
    """The network; see the module's docstring."""

    def __init__(self, config: MatcherNetworkConfig, *, dimension: int) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.input_proj = nn.Identity() if dimension == width else nn.Linear(dimension, width)
        self.encoder = Perceptron(3, *_ENCODER, width, width)
        self.own, self.cross, self.final = (
            nn.ModuleList(layer() for _ in range(config.layers))
            for layer in (
                lambda: Attention(width, config.heads),
                lambda: Attention(width, config.heads),
                lambda: nn.Linear(width, width),
            )
        )
        self.dustbin = nn.Parameter(torch.tensor(1.0))

    def layers(self, batch: MatchBatch, *, supervised: bool = True) -> Iterator[LayerMatches]:
        """What each layer says; of the last one alone where it is not for supervision and nothing is pooled."""
        state = self._start(batch)
        for number in range(self.config.layers):
            self._run(number, state)
            if supervised or self.config.pooling or number == self.config.layers - 1:
                found = self._matches(number, state)
                yield found
                if self.config.pooling:
                    self._pool(number, state, found, inlier_ratio=1.0)

    def match_iteratively(self, batch: MatchBatch, estimate: EstimatePose) -> tuple[Array, Array, int]:
        """Matches of one pair with a pose between the layers, which ends when the pose stands still.

        Args:
            batch: of one pair.
            estimate: the pose of matches.

        Returns:
            Rows of the first and of the second set that match, the pose's inliers where it stood still, and the number
            of layers that ran.
        """
        state, before = self._start(batch), None
        rows = columns = np.zeros(0, np.int64)
        for number in range(self.config.layers):
            self._run(number, state)
            last = number == self.config.layers - 1
            if not last and (number < _FIRST_POOLING or number % 2 == 0):
                continue
            found = self._matches(number, state)
            rows, columns = mutual(found, _FINAL_PROBABILITY if last else _INNER_PROBABILITY)
            if len(rows) < _LEAST_MATCHES:
                before, ratio = None, 1.0
            else:
                pose, inliers = estimate(rows, columns)
                ratio = float(inliers.mean())
                if before is not None and pose is not None and _change_deg(before, pose) <= _STILL_DEG:
                    return rows[inliers], columns[inliers], number + 1
                before = pose
            if self.config.pooling:
                self._pool(number, state, found, inlier_ratio=ratio)
        return rows, columns, self.config.layers

    def forward(self, descriptors0: Tensor, positions0: Tensor, descriptors1: Tensor, positions1: Tensor) -> Tensor:
        """(N, M) logarithms of probabilities after the last layer, of one pair; for its cost."""
        *_, last = self.layers(batch_of_one(descriptors0, positions0, descriptors1, positions1), supervised=False)
        return last.log_scores[0]

    def _start(self, batch: MatchBatch) -> _State:
        sides = (
            (batch.descriptors0, batch.positions0, batch.scores0, batch.mask0),
            (batch.descriptors1, batch.positions1, batch.scores1, batch.mask1),
        )
        tokens = [
            self.input_proj(descriptors)
            + self.encoder(torch.cat((_POSITION_SCALE * positions, scores[..., None]), dim=2), mask)
            for descriptors, positions, scores, mask in sides
        ]
        return _State(tokens, [batch.mask0, batch.mask1], [], [])

    def _run(self, number: int, state: _State) -> None:
        """One layer of self- and cross-attention; every second one takes the probabilities of the one before."""
        own, cross = self.own[number], self.cross[number]
        shares = self.config.share_attention and number >= _FIRST_SHARED and number % 2 == 1
        if not shares:
            state.own = [own.probabilities(t, t, mask) for t, mask in zip(state.tokens, state.masks, strict=True)]
        state.tokens = [
            own.attend(t, t, mask, p) for t, mask, p in zip(state.tokens, state.masks, state.own, strict=True)
        ]
        first, second = state.tokens
        if not shares:
            state.cross = [
                cross.probabilities(first, second, state.masks[1]), cross.probabilities(second, first, state.masks[0])
            ]  # fmt: skip
        state.tokens = [
            cross.attend(first, second, state.masks[0], state.cross[0]),
            cross.attend(second, first, state.masks[1], state.cross[1]),
        ]

    def _matches(self, number: int, state: _State) -> LayerMatches:
        first, second = (self.final[number](tokens) for tokens in state.tokens)
        similarity = first @ second.transpose(1, 2) / math.sqrt(self.config.width)
        found = sinkhorn(similarity, self.dustbin, *state.masks, iterations=self.config.sinkhorn)
        return LayerMatches(found[:, :-1, :-1], found[:, :-1, -1], found[:, -1, :-1])

    @torch.no_grad()
    def _pool(self, number: int, state: _State, found: LayerMatches, *, inlier_ratio: float) -> None:
        """Leave out keypoints before attention is computed anew: neither matched, nor attended to by many."""
        if number < _FIRST_POOLING or number % 2 == 0 or number == self.config.layers - 1:
            return
        least = _KEPT_PROBABILITY[self.training] * (1.0 if self.training else inlier_ratio)
        probabilities = found.log_scores.exp()
        for side, matched in enumerate((probabilities.sum(2), probabilities.sum(1))):
            importance = [state.own[side].sum((1, 2)), state.cross[1 - side].sum((1, 2))]
            state.masks[side] = _keep(matched >= least, importance, state.masks[side])


def sinkhorn(similarity: Tensor, dustbin: Tensor, mask0: Tensor, mask1: Tensor, *, iterations: int) -> Tensor:
    """(B, N + 1, M + 1) logarithms of a soft assignment with a dustbin each (Sarlin et al., SuperGlue, 2020).

    Rows and columns sum to 1, those of the dustbins to the number of keypoints of the other set.
    """
    values = similarity.float() + _bias(mask0)[:, :, None] + _bias(mask1)[:, None]
    bins = (dustbin + _bias(mask0), dustbin + _bias(mask1))
    values = torch.cat((values, bins[0][:, :, None]), dim=2)
    last = torch.cat((bins[1], dustbin.expand(len(similarity), 1)), dim=1)
    values = torch.cat((values, last[:, None]), dim=1)
    counts = mask0.sum(1, keepdim=True).clamp(min=1), mask1.sum(1, keepdim=True).clamp(min=1)
    wanted0 = torch.cat((_bias(mask0), counts[1].log()), dim=1)
    wanted1 = torch.cat((_bias(mask1), counts[0].log()), dim=1)
    u, v = torch.zeros_like(wanted0), torch.zeros_like(wanted1)
    for _ in range(iterations):
        u = wanted0 - torch.logsumexp(values + v[:, None], dim=2)
        v = wanted1 - torch.logsumexp(values + u[:, :, None], dim=1)
    found = values + u[:, :, None] + v[:, None]
    real = (
        torch.nn.functional.pad(mask0, (0, 1), value=True)[:, :, None]
        & torch.nn.functional.pad(mask1, (0, 1), value=True)[:, None]
    )
    return torch.where(real, found, _PADDING)


def mutual(found: LayerMatches, least: float) -> tuple[Array, Array]:
    """Rows and columns of one pair that are each other's most probable match, above a probability."""
    scores = found.log_scores[0].detach().float().cpu().numpy()
    best, back = scores.argmax(axis=1), scores.argmax(axis=0)
    rows = np.flatnonzero((back[best] == np.arange(len(best))) & (scores.max(axis=1) > math.log(least)))
    return rows, best[rows]


def _keep(matched: Tensor, importance: list[Tensor], mask: Tensor) -> Tensor:
    """(B, N) which keypoints stay: matched, or as important as half of the matched ones; not below a number."""
    kept = matched & mask
    for of_kind in importance:
        median = torch.where(kept, of_kind, torch.nan).nanmedian(dim=1, keepdim=True).values
        kept = kept | ((of_kind >= median.nan_to_num(nan=math.inf)) & mask)
    ranked = torch.where(mask, importance[0] + importance[1], -torch.inf)
    most = torch.zeros_like(mask).scatter(1, ranked.topk(min(_LEAST_TOKENS, mask.shape[1])).indices, True)
    enough = kept.sum(1, keepdim=True) >= _LEAST_TOKENS
    return torch.where(enough, kept, kept | (most & mask))


def _bias(mask: Tensor) -> Tensor:
    return torch.where(mask, 0.0, _PADDING)


def _change_deg(before: Pose, after: Pose) -> float:
    cosine = abs(before.translation @ after.translation) / (
        np.linalg.norm(before.translation) * np.linalg.norm(after.translation)
    )
    return max(float(np.degrees(before.distance_to(after)[1])), float(np.degrees(np.arccos(np.clip(cosine, 0.0, 1.0)))))
