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

"""The teacher: a CrossViT of two branches, one for the image and one for the 3D structure that its patches see.

The second branch also gets the appearance of its patches. Positions enter by rotary encoding (Su et al. 2021) of
metric coordinates, per axis, with wavelengths from decimetres to the map's extent, in queries and keys only. So
attention depends on relative positions, and not on the map's origin.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from timm.models.crossvit import CrossAttentionBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.networks.rotary import apply_rotary
from training.place_recognition.config import FINE_PATCH_PX, CrossVitConfig, SpatialConfig
from training.place_recognition.crossvit import pool_tokens
from training.place_recognition.patches import patch_tokens
from training.place_recognition.residuals import Embedding, dense_residuals, embed_with_residuals
from training.place_recognition.structure import TOKEN_LENGTH

_MLP_FACTOR = 4
_INIT_STD = 0.02
_AXES = 3


class TeacherEncoder(nn.Module):
    """Images and their 3D structure to descriptors.

    Attributes:
        size: height and width of its images.
        grid: patches along each side.
        dimension: length of a descriptor.
    """

    def __init__(self, config: CrossVitConfig, spatial: SpatialConfig, *, extent_m: float) -> None:
        """For maps of this extent."""
        super().__init__()
        self.size, self.dimension = (config.size, config.size), config.dimension
        self.grid = config.size // FINE_PATCH_PX
        widths = (config.width, config.second_width)
        self.patches = nn.ModuleList(patch_tokens(config.stem, FINE_PATCH_PX, width) for width in widths)
        self.structure = StructureEmbedding(config.second_width)
        self.class_tokens = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, width)) for width in widths)
        self.position_embeddings = nn.ParameterList(
            nn.Parameter(torch.zeros(1, 1 + self.grid**2, width)) for width in widths
        )
        self.rotary = MetricRotary(config.second_width // config.heads, spatial, extent_m=extent_m)
        shares = [config.drop_path * stage / max(1, config.stages - 1) for stage in range(config.stages)]
        self.stages = nn.ModuleList(Stage(config, share) for share in shares)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(width, config.dimension) for width in widths)
        self.apply(_initialise_weights)
        # the spatial branch weights the patches
        self.residuals = dense_residuals(config, width=config.second_width)
        for parameter in (*self.class_tokens, *self.position_embeddings, self.structure.empty_token):
            nn.init.trunc_normal_(parameter, std=_INIT_STD)

    def forward(self, images: Tensor, structure: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors.

        Args:
            images: (B, 3, H, W).
            structure: (B, grid * grid, 5), see `structure_tokens`.
        """
        return self.embed(images, structure).descriptors

    def embed(self, images: Tensor, structure: Tensor) -> Embedding:
        """Descriptors, and the weight of each patch; arguments as of `forward`."""
        appearance = [patches(images) for patches in self.patches]
        branches = [
            torch.cat([of_class.expand(tokens.shape[0], -1, -1), tokens], dim=1) + place
            for of_class, tokens, place in zip(
                self.class_tokens,
                (appearance[0], appearance[1] + self.structure(structure)),
                self.position_embeddings,
                strict=True,
            )
        ]
        turn = self.rotary(token_positions(structure))
        for stage in self.stages:
            branches = stage(branches, turn)
        normed = [norm(branch) for norm, branch in zip(self.norms, branches, strict=True)]
        outputs = [head(pool_tokens(branch)) for head, branch in zip(self.heads, normed, strict=True)]
        whole = torch.stack(outputs).mean(0)
        return embed_with_residuals(self.residuals, images, normed[1][:, 1:], whole)


def token_positions(structure: Tensor) -> Tensor:
    """(B, 1 + G, 3) positions of the tokens of (B, G, 5) patches.

    The class token and patches without points are at the mean of the others, so that they move with them.
    """
    seen = (structure[..., 4:] > 0).to(structure.dtype)
    middle = (structure[..., :3] * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
    return torch.cat([middle, torch.where(seen > 0, structure[..., :3], middle)], dim=1)


class StructureEmbedding(nn.Module):
    """Spread and count of a patch to a token, without its position; one learned token for patches without points."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))
        self.empty_token = nn.Parameter(torch.zeros(width))

    def forward(self, structure: Tensor) -> Tensor:
        """(B, G, width) of (B, G, 5)."""
        assert structure.shape[-1] == TOKEN_LENGTH
        spread, count = structure[..., 3:4], structure[..., 4:]
        # centimetres, decimetres and metres are one step apart
        tokens = self.mlp(torch.cat([(spread + 0.01).log10(), count.log1p()], dim=-1))
        return torch.where(count > 0, tokens, self.empty_token.to(tokens.dtype))


class MetricRotary(nn.Module):
    """Rotary angles of positions in metres: geometric wavelengths per axis; the remaining pairs are not rotated."""

    def __init__(self, head_width: int, spatial: SpatialConfig, *, extent_m: float) -> None:
        super().__init__()
        pairs = head_width // 2
        per_axis = pairs // _AXES if spatial.encoding == "rotary" else 0
        longest = max(spatial.longest_m or extent_m, spatial.shortest_m)
        steps = torch.linspace(0, 1, per_axis, dtype=torch.float64)
        wavelengths = spatial.shortest_m * (longest / spatial.shortest_m) ** steps
        frequencies = torch.zeros(_AXES, pairs)
        for axis in range(_AXES):
            frequencies[axis, axis * per_axis : (axis + 1) * per_axis] = 2 * math.pi / wavelengths
        self.register_buffer("frequencies", frequencies)

    def forward(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, N, pairs) cosines and sines of (B, N, 3) positions."""
        # no matrix product: mixed precision would round metres to a few digits
        angles = (places[..., None] * self.frequencies).sum(dim=-2)[:, None]
        return angles.cos(), angles.sin()


class RotaryAttention(nn.Module):
    """Self-attention with queries and keys rotated by the positions of their tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.output_projection = nn.Linear(width, width)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, width) of the same."""
        batch, count, width = x.shape
        parts = self.queries_keys_values(x).view(batch, count, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        cos, sin = (part.to(x.dtype) for part in turn)
        found = F.scaled_dot_product_attention(
            apply_rotary(queries, cos, sin).to(values.dtype), apply_rotary(keys, cos, sin).to(values.dtype), values
        )
        return self.output_projection(found.transpose(1, 2).reshape(batch, count, width))


class SpatialBlock(nn.Module):
    """Rotary attention and a two-layer network, each on normalised input and added to it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = RotaryAttention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, _MLP_FACTOR * width), nn.GELU(), nn.Linear(_MLP_FACTOR * width, width)
        )

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, width) of the same."""
        x = x + self.attention(self.attention_norm(x), turn)
        return x + self.mlp(self.mlp_norm(x))


class Stage(nn.Module):
    """Blocks of both branches, and then cross-attention of each class token to the patches of the other branch."""

    def __init__(self, config: CrossVitConfig, drop_path: float) -> None:
        super().__init__()
        widths = (config.width, config.second_width)
        self.image_blocks = nn.Sequential(
            *(Block(config.width, config.heads, qkv_bias=True, drop_path=drop_path) for _ in range(config.blocks))
        )
        self.spatial_blocks = nn.ModuleList(
            SpatialBlock(config.second_width, config.heads) for _ in range(config.second_blocks)
        )
        self.projections = nn.ModuleList(
            _build_projection(mine, other) for mine, other in zip(widths, widths[::-1], strict=True)
        )
        self.fusions = nn.ModuleList(
            CrossAttentionBlock(other, config.heads, qkv_bias=True, drop_path=drop_path) for other in widths[::-1]
        )
        self.reverse_projections = nn.ModuleList(
            _build_projection(other, mine) for mine, other in zip(widths, widths[::-1], strict=True)
        )

    def forward(self, branches: list[Tensor], turn: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Both branches, (B, 1 + G, width) each, class tokens first."""
        image, spatial = self.image_blocks(branches[0]), branches[1]
        for block in self.spatial_blocks:
            spatial = block(spatial, turn)
        return [self._exchange(0, image, spatial), self._exchange(1, spatial, image)]

    def _exchange(self, branch: int, mine: Tensor, other: Tensor) -> Tensor:
        tokens = torch.cat([self.projections[branch](mine[:, :1]), other[:, 1:]], dim=1)
        return torch.cat([self.reverse_projections[branch](self.fusions[branch](tokens)), mine[:, 1:]], dim=1)


def _build_projection(width: int, other: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, other))


def _initialise_weights(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INIT_STD)
        nn.init.zeros_(module.bias)
