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

"""The matcher that is trained: the exported network, begun as a matcher of nearest neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from training.iterative_matching.batches import MatchBatch
from training.iterative_matching.config import MatcherNetworkConfig
from training.iterative_matching.layer_matches import LayerMatches, batch_of_one
from vloc_ros.model_export.light_glue import LightGlueNetwork, SharedAttention, log_sigmoid, padding_bias

# logit of every keypoint before training
_MATCHABLE = 2.0


class RotaryMatcher(LightGlueNetwork):
    """`LightGlueNetwork` for training."""

    def __init__(self, config: MatcherNetworkConfig, *, dimension: int) -> None:
        """A network that matches by the descriptors alone before it is trained.

        The descriptors' projection keeps angles, each layer's update is zero, and the assignment is the softmax of
        their cosines times the temperature: training starts at mutual nearest neighbours, not at noise.

        Args:
            config: the size.
            dimension: of the descriptors.
        """
        super().__init__(config.shape(dimension))
        self.config = config
        self.train()
        root = math.sqrt(config.width)
        with torch.no_grad():
            nn.init.orthogonal_(self.input_proj.weight, gain=root)
            self.input_proj.bias.zero_()
            for layer in self.transformers:
                for block in (layer.self_attn, layer.cross_attn):
                    block.ffn[-1].weight.zero_()
                    block.ffn[-1].bias.zero_()
            for assignment in self.log_assignment:
                assignment.final_proj.weight.copy_(math.sqrt(config.temperature / root) * torch.eye(config.width))
                assignment.final_proj.bias.zero_()
                assignment.matchability.weight.zero_()
                assignment.matchability.bias.fill_(_MATCHABLE)

    def layers(self, batch: MatchBatch, *, supervised: bool = True) -> Iterator[LayerMatches]:
        """What each layer says; of the last one alone where it is not for supervision."""
        masks = batch.mask0, batch.mask1
        tokens = self.input_proj(batch.descriptors0), self.input_proj(batch.descriptors1)
        encodings = self.posenc(batch.positions0), self.posenc(batch.positions1)
        biases = padding_bias(masks[0]), padding_bias(masks[1])
        shared: SharedAttention | None = None
        last = self.shape.layers - 1
        for number, layer in enumerate(self.transformers):
            shares = number in self.shape.shared
            tokens, shared = layer.attend(tokens, encodings, biases, shared if shares else None)
            if supervised or number == last:
                yield self._matches(number, tokens, masks)

    def _matches(self, number: int, tokens: tuple[Tensor, Tensor], masks: tuple[Tensor, Tensor]) -> LayerMatches:
        assignment = self.log_assignment[number]
        unmatched0, unmatched1 = (log_sigmoid(-assignment.matchability(one).squeeze(-1)) for one in tokens)
        log_scores = assignment(*tokens, *masks)
        if number == self.shape.layers - 1:
            return LayerMatches(log_scores, unmatched0, unmatched1)
        # the confidence is to describe the tokens, not to change them
        confidence0, confidence1 = (self.token_confidence[number].token[0](one.detach()).squeeze(-1) for one in tokens)
        return LayerMatches(log_scores, unmatched0, unmatched1, confidence0, confidence1)

    def forward(self, descriptors0: Tensor, positions0: Tensor, descriptors1: Tensor, positions1: Tensor) -> Tensor:
        """(N, M) logarithms of probabilities after the last layer, of one pair; for its cost."""
        (last,) = self.layers(batch_of_one(descriptors0, positions0, descriptors1, positions1), supervised=False)
        return last.log_scores[0]
