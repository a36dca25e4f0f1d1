"""The teacher: a CrossViT of two branches, one for the image and one for the 3D structure that its patches see.

The second branch is told what its patches look like, too: where something lies says more to one who knows what it is.
Where the structure lies comes in by rotary encoding (Su et al. 2021) of metric coordinates, per axis and over
wavelengths from decimetres to the map's extent, in queries and keys alone: attention depends on where patches lie
from one another, and nothing changes when the map's origin does.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from timm.models.crossvit import CrossAttentionBlock
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from training.place_recognition.config import FINE_PATCH_PX, CrossVitConfig, SpatialConfig
from training.place_recognition.crossvit import gathered
from training.place_recognition.patches import patch_tokens
from training.place_recognition.residuals import Embedded, dense_residuals, described
from training.place_recognition.structure import NUMBERS
from training.rotary import rotated

_MLP_FACTOR = 4
_INIT_STD = 0.02
_AXES = 3


class TeacherEncoder(nn.Module):
    """Images and what is known of their structure to descriptors.

    Attributes:
        size: height and width of the images that it takes.
        grid: patches along each side.
        dimension: of a descriptor.
    """

    def __init__(self, config: CrossVitConfig, spatial: SpatialConfig, *, extent_m: float) -> None:
        """For maps of this extent."""
        super().__init__()
        self.size, self.dimension = (config.size, config.size), config.dimension
        self.grid = config.size // FINE_PATCH_PX
        widths = (config.width, config.second_width)
        self.patches = nn.ModuleList(patch_tokens(config.stem, FINE_PATCH_PX, width) for width in widths)
        self.structure = StructureEmbedding(config.second_width)
        self.classes = nn.ParameterList(nn.Parameter(torch.zeros(1, 1, width)) for width in widths)
        self.places = nn.ParameterList(nn.Parameter(torch.zeros(1, 1 + self.grid**2, width)) for width in widths)
        self.rotary = MetricRotary(config.second_width // config.heads, spatial, extent_m=extent_m)
        shares = [config.drop_path * stage / max(1, config.stages - 1) for stage in range(config.stages)]
        self.stages = nn.ModuleList(Stage(config, share) for share in shares)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in widths)
        self.heads = nn.ModuleList(nn.Linear(width, config.dimension) for width in widths)
        self.apply(_initialised)
        # what lies where may say how much a patch counts
        self.residuals = dense_residuals(config, width=config.second_width)
        for parameter in (*self.classes, *self.places, self.structure.nothing):
            nn.init.trunc_normal_(parameter, std=_INIT_STD)

    def forward(self, images: Tensor, structure: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors.

        Args:
            images: (B, 3, H, W).
            structure: (B, grid * grid, 5) of every patch, see `structure_tokens`.
        """
        return self.embed(images, structure).descriptors

    def embed(self, images: Tensor, structure: Tensor) -> Embedded:
        """Descriptors, and how much each patch counts; of the same as `forward`."""
        looks = [patches(images) for patches in self.patches]
        branches = [
            torch.cat([of_class.expand(tokens.shape[0], -1, -1), tokens], dim=1) + place
            for of_class, tokens, place in zip(
                self.classes, (looks[0], looks[1] + self.structure(structure)), self.places, strict=True
            )
        ]
        turn = self.rotary(positions(structure))
        for stage in self.stages:
            branches = stage(branches, turn)
        normed = [norm(branch) for norm, branch in zip(self.norms, branches, strict=True)]
        answers = [head(gathered(branch)) for head, branch in zip(self.heads, normed, strict=True)]
        whole = torch.stack(answers).mean(0)
        return described(self.residuals, images, normed[1][:, 1:], whole)


def positions(structure: Tensor) -> Tensor:
    """(B, 1 + G, 3) where the tokens of (B, G, 5) patches lie.

    The class token and patches that see nothing lie in the middle of what is seen, so that they move with it.
    """
    seen = (structure[..., 4:] > 0).to(structure.dtype)
    middle = (structure[..., :3] * seen).sum(1, keepdim=True) / seen.sum(1, keepdim=True).clamp(min=1)
    return torch.cat([middle, torch.where(seen > 0, structure[..., :3], middle)], dim=1)


class StructureEmbedding(nn.Module):
    """Spread and count of a patch to a token; where it lies is not in it. One learned token where it sees nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.described = nn.Sequential(nn.Linear(2, width), nn.GELU(), nn.Linear(width, width))
        self.nothing = nn.Parameter(torch.zeros(width))

    def forward(self, structure: Tensor) -> Tensor:
        """(B, G, width) of (B, G, 5)."""
        assert structure.shape[-1] == NUMBERS
        spread, count = structure[..., 3:4], structure[..., 4:]
        # centimetres, decimetres and metres are one step apart
        tokens = self.described(torch.cat([(spread + 0.01).log10(), count.log1p()], dim=-1))
        return torch.where(count > 0, tokens, self.nothing.to(tokens.dtype))


class MetricRotary(nn.Module):
    """Angles of positions in metres: per axis a geometric range of wavelengths; pairs left over are not turned."""

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
        # no product of matrices: mixed precision would round metres to a few digits
        angles = (places[..., None] * self.frequencies).sum(dim=-2)[:, None]
        return angles.cos(), angles.sin()


class RotaryAttention(nn.Module):
    """Self-attention whose queries and keys are turned by where their tokens lie."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries_keys_values = nn.Linear(width, 3 * width)
        self.attended = nn.Linear(width, width)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """(B, N, width) of the same."""
        batch, count, width = x.shape
        parts = self.queries_keys_values(x).view(batch, count, 3, self.heads, width // self.heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)
        cos, sin = (part.to(x.dtype) for part in turn)
        found = F.scaled_dot_product_attention(
            rotated(queries, cos, sin).to(values.dtype), rotated(keys, cos, sin).to(values.dtype), values
        )
        return self.attended(found.transpose(1, 2).reshape(batch, count, width))


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
    """Blocks of both branches, and then the class token of each looks at the patches of the other."""

    def __init__(self, config: CrossVitConfig, drop_path: float) -> None:
        super().__init__()
        widths = (config.width, config.second_width)
        self.looking = nn.Sequential(
            *(Block(config.width, config.heads, qkv_bias=True, drop_path=drop_path) for _ in range(config.blocks))
        )
        self.lying = nn.ModuleList(SpatialBlock(config.second_width, config.heads) for _ in range(config.second_blocks))
        self.over = nn.ModuleList(_translated(mine, other) for mine, other in zip(widths, widths[::-1], strict=True))
        self.crossed = nn.ModuleList(
            CrossAttentionBlock(other, config.heads, qkv_bias=True, drop_path=drop_path) for other in widths[::-1]
        )
        self.back = nn.ModuleList(_translated(other, mine) for mine, other in zip(widths, widths[::-1], strict=True))

    def forward(self, branches: list[Tensor], turn: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Both branches, (B, 1 + G, width) each, class tokens first."""
        looks, lies = self.looking(branches[0]), branches[1]
        for block in self.lying:
            lies = block(lies, turn)
        return [self._exchanged(0, looks, lies), self._exchanged(1, lies, looks)]

    def _exchanged(self, branch: int, mine: Tensor, other: Tensor) -> Tensor:
        asking = torch.cat([self.over[branch](mine[:, :1]), other[:, 1:]], dim=1)
        return torch.cat([self.back[branch](self.crossed[branch](asking)), mine[:, 1:]], dim=1)


def _translated(width: int, other: int) -> nn.Module:
    return nn.Sequential(nn.LayerNorm(width), nn.GELU(), nn.Linear(width, other))


def _initialised(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INIT_STD)
        nn.init.zeros_(module.bias)
