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

"""LightGlue: a matcher of two sets of keypoints, as stages that a loop outside of the graphs runs one by one.

Lindenberger, Sarlin, Pollefeys: "LightGlue: Local Feature Matching at Light Speed", ICCV 2023. LighterGlue is a smaller
one for XFeat. Parameters have the names of the published weights, but for the projections of self-attention, whose
rows are reordered so that queries, keys and values lie in one piece each, as do the two halves that a rotation mixes.

All modules take (N, ...) tokens of one set, without a batch. A mask says which tokens are real: the others are padding,
which no real token attends to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# added to similarities with padding: the softmax of it is zero, and no value becomes NaN
_PADDING = -1e9


@dataclass(frozen=True, slots=True)
class MatcherShape:
    """The size of a network.

    Attributes:
        descriptor_dimension: of the keypoints' descriptors.
        width: values of a token.
        heads: of attention.
        layers: each self- and cross-attention.
    """

    descriptor_dimension: int
    width: int
    heads: int
    layers: int

    @property
    def frequencies(self) -> int:
        """Of the rotary encoding, one a pair of values of a head."""
        return self.width // self.heads // 2


class FourierPositions(nn.Module):
    """Positions as rotations by learned frequencies; attention sees differences of positions alone."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__()
        self.Wr = nn.Linear(2, shape.frequencies, bias=False)

    def forward(self, positions: Tensor) -> Tensor:
        """(N, 2) normalised positions to (N, 2, F) cosines and sines."""
        angles = self.Wr(positions)
        return torch.stack((angles.cos(), angles.sin()), dim=1)


class FeedForward(nn.Module):
    """What a token becomes by a message, as a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, message: Tensor) -> Tensor:
        """(N, width) tokens and messages to tokens."""
        residual: Tensor = self.ffn(torch.cat((tokens, message), dim=1))
        return tokens + residual


class SelfAttention(FeedForward):
    """Attention within one set, with rotary positions."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__(shape.width)
        self._shape = shape
        self.Wqkv = nn.Linear(shape.width, 3 * shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def attend(self, tokens: Tensor, encoding: Tensor, bias: Tensor) -> Tensor:
        """(N, width) tokens, (N, 2, F) positions and (N,) bias of each key to tokens."""
        heads, frequencies = self._shape.heads, self._shape.frequencies
        query, key, value = self.Wqkv(tokens).reshape(-1, 3, heads, 2 * frequencies).permute(1, 2, 0, 3).unbind(0)
        query, key = _rotate(query, encoding), _rotate(key, encoding)
        similarity = query @ key.transpose(1, 2) / math.sqrt(2 * frequencies) + bias
        message = torch.softmax(similarity, dim=2) @ value
        return self.forward(tokens, self.out_proj(_join_heads(message)))


class CrossAttention(FeedForward):
    """Attention between two sets, from one similarity for both directions."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__(shape.width)
        self._shape = shape
        self.to_qk = nn.Linear(shape.width, shape.width)
        self.to_v = nn.Linear(shape.width, shape.width)
        self.to_out = nn.Linear(shape.width, shape.width)

    def attend(self, first: Tensor, second: Tensor, bias0: Tensor, bias1: Tensor) -> tuple[Tensor, Tensor]:
        """(N, width) and (M, width) tokens, with (N,) and (M,) bias of each as a key, to tokens."""
        key0, key1, value0, value1 = (
            self._split_heads(project(tokens)) for project in (self.to_qk, self.to_v) for tokens in (first, second)
        )
        similarity = key0 @ key1.transpose(1, 2) / math.sqrt(2 * self._shape.frequencies)
        to_first = torch.softmax(similarity + bias1, dim=2) @ value1
        to_second = torch.softmax(similarity.transpose(1, 2) + bias0, dim=2) @ value0
        return (
            self.forward(first, self.to_out(_join_heads(to_first))),
            self.forward(second, self.to_out(_join_heads(to_second))),
        )

    def _split_heads(self, values: Tensor) -> Tensor:
        """(N, width) to (heads, N, width / heads)."""
        return values.reshape(-1, self._shape.heads, 2 * self._shape.frequencies).transpose(0, 1)


class Layer(nn.Module):
    """Self-attention of both sets, then cross-attention."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = SelfAttention(shape), CrossAttention(shape)


class Assignment(nn.Module):
    """Which tokens match: a double softmax of their similarity, and how matchable each is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width
        self.matchability = nn.Linear(width, 1)
        self.final_proj = nn.Linear(width, width)

    def forward(self, tokens0: Tensor, tokens1: Tensor, mask0: Tensor, mask1: Tensor) -> Tensor:
        """(N, M) logarithms of the probability that two tokens match; very low where one is padding."""
        bias0, bias1 = _padding_bias(mask0), _padding_bias(mask1)
        similarity = self.final_proj(tokens0) @ self.final_proj(tokens1).T / math.sqrt(self._width)
        of_first = _log_softmax(similarity + bias1)
        of_second = _log_softmax(similarity.T + bias0).T
        matchable0, matchable1 = (_log_sigmoid(self.matchability(tokens)) for tokens in (tokens0, tokens1))
        return of_first + of_second + matchable0 + matchable1.T + bias0[:, None] + bias1


class Confidence(nn.Module):
    """How sure each token is that its match is the one of the last layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Sequential(nn.Linear(width, 1), nn.Sigmoid())


class LightGlueNetwork(nn.Module):
    """All parameters; `EmbedStage`, `PositionStage`, `LayerStage` and `AssignmentStage` run parts of them."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__()
        self.shape = shape
        self.input_proj = nn.Linear(shape.descriptor_dimension, shape.width)
        self.posenc = FourierPositions(shape)
        self.transformers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.log_assignment = nn.ModuleList(Assignment(shape.width) for _ in range(shape.layers))
        self.token_confidence = nn.ModuleList(Confidence(shape.width) for _ in range(shape.layers - 1))
        self.eval()

    def load(self, weights: Mapping[str, Tensor]) -> None:
        """Take over published weights, whose names may begin with `matcher.` or be those of an earlier release."""
        named = {_present_name(name): value for name, value in weights.items()}
        wanted = self.state_dict().keys()
        kept = {name: value for name, value in named.items() if name in wanted}
        for name in kept:
            if ".self_attn.Wqkv." in name:
                kept[name] = _reorder_projections(kept[name], self.shape)
        self.load_state_dict(kept)


class EmbedStage(nn.Module):
    """Descriptors to tokens."""

    def __init__(self, network: LightGlueNetwork) -> None:
        super().__init__()
        self.projection = network.input_proj

    def forward(self, descriptors: Tensor) -> Tensor:
        """(N, D) to (N, width)."""
        tokens: Tensor = self.projection(descriptors)
        return tokens


class PositionStage(nn.Module):
    """Positions to the encoding that attention takes."""

    def __init__(self, network: LightGlueNetwork) -> None:
        super().__init__()
        self.positions = network.posenc

    def forward(self, positions: Tensor) -> Tensor:
        """(N, 2) normalised to (N, 2, F)."""
        encoding: Tensor = self.positions(positions)
        return encoding


class LayerStage(nn.Module):
    """Some layers, and what the loop decides by after them."""

    def __init__(self, network: LightGlueNetwork, layers: range) -> None:
        super().__init__()
        self.layers = nn.ModuleList(network.transformers[i] for i in layers)
        last = layers[-1]
        self.matchability = network.log_assignment[last].matchability
        self.confidence = network.token_confidence[last].token if last < network.shape.layers - 1 else None

    def forward(
        self, tokens0: Tensor, tokens1: Tensor, encoding0: Tensor, encoding1: Tensor, mask0: Tensor, mask1: Tensor
    ) -> tuple[Tensor, ...]:
        """Tokens of both sets, then (N,) and (M,) confidence and matchability of each, all in [0, 1].

        After the last layer the confidence is 1.
        """
        bias0, bias1 = _padding_bias(mask0), _padding_bias(mask1)
        for layer in self.layers:
            tokens0 = layer.self_attn.attend(tokens0, encoding0, bias0)
            tokens1 = layer.self_attn.attend(tokens1, encoding1, bias1)
            tokens0, tokens1 = layer.cross_attn.attend(tokens0, tokens1, bias0, bias1)
        matchable0, matchable1 = (self.matchability(tokens).sigmoid().squeeze(1) for tokens in (tokens0, tokens1))
        if self.confidence is None:
            confidence0, confidence1 = torch.ones_like(matchable0), torch.ones_like(matchable1)
        else:
            confidence0, confidence1 = (self.confidence(tokens).squeeze(1) for tokens in (tokens0, tokens1))
        return tokens0, tokens1, confidence0, confidence1, matchable0, matchable1


def _rotate(values: Tensor, encoding: Tensor) -> Tensor:
    """(heads, N, 2 F) values rotated by (N, 2, F) cosines and sines, the first half with the second."""
    cosine, sine = encoding.unbind(1)
    first, second = values.chunk(2, dim=2)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=2)


def _log_softmax(rows: Tensor) -> Tensor:
    """Of each row. ONNX Runtime takes the logarithm of a softmax, which is zero where another value is far larger."""
    shifted = rows - rows.amax(dim=1, keepdim=True)
    return shifted - shifted.exp().sum(dim=1, keepdim=True).log()


def _log_sigmoid(values: Tensor) -> Tensor:
    """Logarithm of the sigmoid, finite for all values."""
    return values.clamp(max=0) - torch.log1p(torch.exp(-values.abs()))


def _join_heads(values: Tensor) -> Tensor:
    """(heads, N, width / heads) to (N, width)."""
    return values.transpose(0, 1).flatten(1)


def _padding_bias(mask: Tensor) -> Tensor:
    """(N,) bool, true of real tokens, to what is added to similarities with each."""
    return torch.where(mask, 0.0, _PADDING)


def _reorder_projections(rows: Tensor, shape: MatcherShape) -> Tensor:
    """Rows by head, pair, half of the pair, and query, key or value, to rows by the last, head, half and pair.

    Values, which are not rotated, keep their pairs.
    """
    query, key, value = rows.reshape(shape.heads, shape.frequencies, 2, 3, -1).unbind(3)
    parts = (query.transpose(1, 2), key.transpose(1, 2), value)
    return torch.cat([part.reshape(shape.width, -1) for part in parts]).reshape(rows.shape)


def _present_name(name: str) -> str:
    """The name of a parameter in the present release: earlier ones listed attention by kind, then by layer."""
    name = name.removeprefix("matcher.")
    kind, _, rest = name.partition(".")
    layer, _, parameter = rest.partition(".")
    return f"transformers.{layer}.{kind}.{parameter}" if kind in ("self_attn", "cross_attn") else name
