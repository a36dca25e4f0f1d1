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

All modules take (..., N, width) tokens of one set: with any leading dimensions in training, without any in the exported
graphs. A mask says which tokens are real: the others are padding, which no real token attends to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vloc_ros.model_export.matcher_shape import MatcherShape

# added to similarities with padding: the softmax of it is zero, and no value becomes NaN
_PADDING = -1e9


class FourierPositions(nn.Module):
    """Positions as rotations by learned frequencies; attention sees differences of positions alone."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__()
        self.Wr = nn.Linear(2, shape.frequencies, bias=False)

    def forward(self, positions: Tensor) -> Tensor:
        """(..., N, 2) normalised positions to (..., N, 2, F) cosines and sines."""
        angles = self.Wr(positions)
        return torch.stack((angles.cos(), angles.sin()), dim=-2)


class FeedForward(nn.Module):
    """What a token becomes by a message, as a residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.ffn = nn.Sequential(
            nn.Linear(2 * width, 2 * width), nn.LayerNorm(2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor, message: Tensor) -> Tensor:
        """(..., N, width) tokens and messages to tokens."""
        residual: Tensor = self.ffn(torch.cat((tokens, message), dim=-1))
        return tokens + residual


class SelfAttention(FeedForward):
    """Attention within one set, with rotary positions."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__(shape.width)
        self._shape = shape
        self.Wqkv = nn.Linear(shape.width, 3 * shape.width)
        self.out_proj = nn.Linear(shape.width, shape.width)

    def attend(
        self, tokens: Tensor, encoding: Tensor, bias: Tensor, shared: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens, and the (..., heads, N, N) probabilities by which they attended.

        Args:
            tokens: (..., N, width).
            encoding: (..., N, 2, F) of the positions.
            bias: (..., N) of each token as a key.
            shared: probabilities of an earlier layer, instead of those of its own queries and keys.
        """
        query, key, value = (_split_heads(part, self._shape) for part in self.Wqkv(tokens).chunk(3, dim=-1))
        if shared is None:
            query, key = (_rotate(part, encoding) for part in (query, key))
            similarity = query @ key.transpose(-1, -2) / math.sqrt(2 * self._shape.frequencies)
            shared = torch.softmax(similarity + bias[..., None, None, :], dim=-1)
        return self.forward(tokens, self.out_proj(_join_heads(shared @ value))), shared


class CrossAttention(FeedForward):
    """Attention between two sets, from one similarity for both directions."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__(shape.width)
        self._shape = shape
        self.to_qk = nn.Linear(shape.width, shape.width)
        self.to_v = nn.Linear(shape.width, shape.width)
        self.to_out = nn.Linear(shape.width, shape.width)

    def attend(
        self,
        first: Tensor,
        second: Tensor,
        bias0: Tensor,
        bias1: Tensor,
        shared: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
        """Tokens of both sets, and the probabilities by which each attended to the other.

        Args:
            first: (..., N, width).
            second: (..., M, width).
            bias0: (..., N) of each of the first as a key.
            bias1: (..., M) of each of the second.
            shared: (..., heads, N, M) and (..., heads, M, N) probabilities of an earlier layer.
        """
        value0, value1 = (_split_heads(self.to_v(tokens), self._shape) for tokens in (first, second))
        if shared is None:
            key0, key1 = (_split_heads(self.to_qk(tokens), self._shape) for tokens in (first, second))
            similarity = key0 @ key1.transpose(-1, -2) / math.sqrt(2 * self._shape.frequencies)
            shared = (
                torch.softmax(similarity + bias1[..., None, None, :], dim=-1),
                torch.softmax(similarity.transpose(-1, -2) + bias0[..., None, None, :], dim=-1),
            )
        return (
            self.forward(first, self.to_out(_join_heads(shared[0] @ value1))),
            self.forward(second, self.to_out(_join_heads(shared[1] @ value0))),
            shared,
        )


@dataclass(frozen=True, slots=True, eq=False)
class SharedAttention:
    """Probabilities that the next layer may attend by.

    Attributes:
        own: (..., heads, N, N) and (..., heads, M, M) of self-attention.
        cross: (..., heads, N, M) and (..., heads, M, N) of cross-attention.
    """

    own: tuple[Tensor, Tensor]
    cross: tuple[Tensor, Tensor]


class Layer(nn.Module):
    """Self-attention of both sets, then cross-attention."""

    def __init__(self, shape: MatcherShape) -> None:
        super().__init__()
        self.self_attn, self.cross_attn = SelfAttention(shape), CrossAttention(shape)

    def attend(
        self,
        tokens: tuple[Tensor, Tensor],
        encodings: tuple[Tensor, Tensor],
        biases: tuple[Tensor, Tensor],
        shared: SharedAttention | None = None,
    ) -> tuple[tuple[Tensor, Tensor], SharedAttention]:
        """Tokens of both sets, and the probabilities by which they attended; `shared` are those of an earlier layer."""
        own = shared.own if shared else (None, None)
        (first, own0), (second, own1) = (
            self.self_attn.attend(*of_set) for of_set in zip(tokens, encodings, biases, own, strict=True)
        )
        first, second, cross = self.cross_attn.attend(first, second, *biases, shared.cross if shared else None)
        return (first, second), SharedAttention((own0, own1), cross)


class Assignment(nn.Module):
    """Which tokens match: a double softmax of their similarity, and how matchable each is."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._width = width
        self.matchability = nn.Linear(width, 1)
        self.final_proj = nn.Linear(width, width)

    def forward(self, tokens0: Tensor, tokens1: Tensor, mask0: Tensor, mask1: Tensor) -> Tensor:
        """(..., N, M) logarithms of the probability that two tokens match; very low where one is padding."""
        bias0, bias1 = padding_bias(mask0)[..., None], padding_bias(mask1)[..., None, :]
        similarity = self.final_proj(tokens0) @ self.final_proj(tokens1).transpose(-1, -2) / math.sqrt(self._width)
        of_first = _log_softmax(similarity + bias1, dim=-1)
        of_second = _log_softmax(similarity + bias0, dim=-2)
        matchable0, matchable1 = (log_sigmoid(self.matchability(tokens)) for tokens in (tokens0, tokens1))
        return of_first + of_second + matchable0 + matchable1.transpose(-1, -2) + bias0 + bias1


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
        """(..., N, D) to (..., N, width)."""
        tokens: Tensor = self.projection(descriptors)
        return tokens


class PositionStage(nn.Module):
    """Positions to the encoding that attention takes."""

    def __init__(self, network: LightGlueNetwork) -> None:
        super().__init__()
        self.positions = network.posenc

    def forward(self, positions: Tensor) -> Tensor:
        """(..., N, 2) normalised to (..., N, 2, F)."""
        encoding: Tensor = self.positions(positions)
        return encoding


class LayerStage(nn.Module):
    """Some layers, and what the loop decides by after them."""

    def __init__(self, network: LightGlueNetwork, layers: range) -> None:
        super().__init__()
        self.layers = nn.ModuleList(network.transformers[i] for i in layers)
        self._shares = [i in network.shape.shared for i in layers]
        assert not self._shares[0], "the layer before is of another group"
        last = layers[-1]
        self.matchability = network.log_assignment[last].matchability
        self.confidence = network.token_confidence[last].token if last < network.shape.layers - 1 else None

    def forward(
        self, tokens0: Tensor, tokens1: Tensor, encoding0: Tensor, encoding1: Tensor, mask0: Tensor, mask1: Tensor
    ) -> tuple[Tensor, ...]:
        """Tokens of both sets, then (..., N) and (..., M) confidence and matchability of each, all in [0, 1].

        After the last layer the confidence is 1.
        """
        tokens, shared = (tokens0, tokens1), None
        biases = padding_bias(mask0), padding_bias(mask1)
        for layer, shares in zip(self.layers, self._shares, strict=True):
            tokens, shared = layer.attend(tokens, (encoding0, encoding1), biases, shared if shares else None)
        tokens0, tokens1 = tokens
        matchable0, matchable1 = (self.matchability(tokens).sigmoid().squeeze(-1) for tokens in (tokens0, tokens1))
        if self.confidence is None:
            confidence0, confidence1 = torch.ones_like(matchable0), torch.ones_like(matchable1)
        else:
            confidence0, confidence1 = (self.confidence(tokens).squeeze(-1) for tokens in (tokens0, tokens1))
        return tokens0, tokens1, confidence0, confidence1, matchable0, matchable1


def _rotate(values: Tensor, encoding: Tensor) -> Tensor:
    """(..., heads, N, 2 F) values rotated by (..., N, 2, F) cosines and sines, the first half with the second."""
    cosine, sine = (part[..., None, :, :] for part in encoding.unbind(-2))
    first, second = values.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1)


def _log_softmax(values: Tensor, *, dim: int) -> Tensor:
    """Along a dimension. ONNX Runtime takes the logarithm of a softmax, which is zero next to a far larger value."""
    shifted = values - values.amax(dim=dim, keepdim=True)
    return shifted - shifted.exp().sum(dim=dim, keepdim=True).log()


def log_sigmoid(values: Tensor) -> Tensor:
    """Logarithm of the sigmoid, finite for all values."""
    return values.clamp(max=0) - torch.log1p(torch.exp(-values.abs()))


def _split_heads(values: Tensor, shape: MatcherShape) -> Tensor:
    """(..., N, width) to (..., heads, N, width / heads)."""
    return values.unflatten(-1, (shape.heads, 2 * shape.frequencies)).transpose(-3, -2)


def _join_heads(values: Tensor) -> Tensor:
    """(..., heads, N, width / heads) to (..., N, width)."""
    return values.transpose(-3, -2).flatten(-2)


def padding_bias(mask: Tensor) -> Tensor:
    """(..., N) bool, true of real tokens, to what is added to similarities with each."""
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
