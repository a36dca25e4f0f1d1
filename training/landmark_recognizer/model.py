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

"""The recogniser: it classifies every keypoint of an image by the landmark of the map that it shows.

A transformer over the keypoints of one image, after PRAM (Xue et al. 2024): context resolves perceptual aliasing.
Classification has two steps, coarse and then fine among the children of a coarse landmark, so that the cost does not
grow with the number of fine ones. Positions enter by rotary encoding of learned Fourier features (Li et al. 2021;
Lindenberger et al. 2023) of the rays, in queries and keys only, so that the output is invariant to a common shift.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.landmark_recognizer.config import ModelConfig
from training.networks.rotary import apply_rotary

_FREQUENCY_STD = 3.0
_IMPOSSIBLE = -1e4
_MLP_FACTOR = 2


def list_children(parents: Sequence[int]) -> Tensor:
    """(C, M) int64 fine landmarks of every coarse one, padded with -1, from the (L,) parents of the fine ones."""
    children: list[list[int]] = [[] for _ in range(max(parents) + 1)]
    for fine, coarse in enumerate(parents):
        children[coarse].append(fine)
    most = max(map(len, children))
    return torch.tensor([row + [-1] * (most - len(row)) for row in children], dtype=torch.int64)


class Layer(nn.Module):
    """Self-attention and a two-layer network, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output_projection = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, _MLP_FACTOR * width), nn.GELU(), nn.Linear(_MLP_FACTOR * width, width)
        )

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor], mask: Tensor | None) -> Tensor:
        """(B, N, d) tokens, from such; (B, heads, N, d / heads / 2) cosines and sines; (B, 1, 1, N) attention mask."""
        batch, count, width = x.shape
        parts = self.queries_keys_values(self.attention_norm(x)).view(batch, count, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(
            apply_rotary(queries, *turn), apply_rotary(keys, *turn), values, attn_mask=mask
        )
        x = x + self.output_projection(seen.transpose(1, 2).reshape(batch, count, width))
        return x + self.mlp(self.mlp_norm(x))


class RecognitionNetwork(nn.Module):
    """Keypoints in, probabilities of landmarks out.

    Attributes:
        fine_of: (C, M) int64 fine landmarks of every coarse one, padded with -1.
    """

    def __init__(self, config: ModelConfig, parents: Sequence[int], *, dimension: int = 128) -> None:
        """For landmarks with these (L,) parents, and descriptors of this dimension."""
        super().__init__()
        width, self.heads = config.width, config.heads
        self.register_buffer("fine_of", list_children(parents), persistent=False)
        coarse, most = self.fine_of.shape
        self.candidates = min(coarse, config.candidates)
        self.input_projection = nn.Sequential(nn.Linear(dimension, width), nn.LayerNorm(width))
        self.frequencies = nn.Linear(2, width // 2, bias=False)
        self.image_token = nn.Parameter(0.02 * torch.randn(width))
        self.layers = nn.ModuleList(Layer(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        self.coarse = nn.Linear(width, coarse + 1)
        self.to_fine = nn.Linear(width, width)
        self.fine_weight = nn.Parameter(width**-0.5 * torch.randn(coarse, most, width))
        self.fine_bias = nn.Parameter(torch.zeros(coarse, most))
        nn.init.normal_(self.frequencies.weight, std=_FREQUENCY_STD)

    def encode(self, rays: Tensor, descriptors: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, N, d) contextual tokens of keypoints.

        Args:
            rays: (B, N, 2) x / z and y / z.
            descriptors: (B, N, D).
            mask: (B, N) bool, False for padding; None for no padding.
        """
        batch, count, _ = rays.shape
        weight = torch.ones_like(rays[..., :1]) if mask is None else mask[..., None].to(rays.dtype)
        centre = (rays * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True).clamp(min=1)
        # the image token is at the mean of the keypoints
        positions = torch.cat([torch.zeros_like(centre), rays - centre], dim=1)
        angles = self.frequencies(positions).view(batch, count + 1, self.heads, -1).transpose(1, 2)
        x = torch.cat([self.image_token.expand(batch, 1, -1), self.input_projection(descriptors)], dim=1)
        seen = None if mask is None else F.pad(mask, (1, 0), value=True)[:, None, None]
        turn = angles.cos(), angles.sin()
        for layer in self.layers:
            x = layer(x, turn, seen)
        return self.norm(x[:, 1:])

    def fine_logits(self, tokens: Tensor, coarse: Tensor) -> Tensor:
        """(N, M) logits of the children of each token's coarse landmark, from (N, d) tokens and (N,) landmarks."""
        # computed for all landmarks, then selected: gathering weights for every keypoint is slower
        logits = self.to_fine(tokens) @ self.fine_weight.flatten(0, 1).T + self.fine_bias.flatten()
        of_coarse = logits.view(len(tokens), *self.fine_bias.shape)[torch.arange(len(tokens)), coarse]
        return self._only_children(of_coarse, coarse)

    def _only_children(self, logits: Tensor, coarse: Tensor) -> Tensor:
        return logits.float().masked_fill(self.fine_of[coarse] < 0, _IMPOSSIBLE)

    def forward(self, rays: Tensor, descriptors: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The exported function, of the (N, 2) rays and (N, D) descriptors of one image.

        Returns:
            background: (N,) probability that a keypoint shows no landmark.
            landmarks: (K, M) int64 children of the K coarse landmarks with most evidence, padded with -1.
            probabilities: (N, K, M) that a keypoint shows each of them.
            coarse: (C,) evidence of every coarse landmark, in keypoints.
        """
        tokens = self.encode(rays[None], descriptors[None])[0]
        of_coarse = self.coarse(tokens).float().softmax(dim=-1)
        background, of_coarse = of_coarse[:, -1], of_coarse[:, :-1]
        evidence = of_coarse.sum(dim=0)
        most = evidence.topk(self.candidates).indices
        logits = torch.einsum("nd,kmd->nkm", self.to_fine(tokens), self.fine_weight[most]) + self.fine_bias[most]
        of_fine = self._only_children(logits, most).softmax(dim=-1)
        return background, self.fine_of[most], of_coarse[:, most, None] * of_fine, evidence
