"""The student: a CrossViT (Chen, Fan and Panda 2021) that sees the image alone, with a 256-D descriptor for a head.

In the preset small it weights the patches of `DenseResiduals` and adds a little to them: a few hundred images do not
teach a transformer to tell places apart.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.crossvit import CrossVit
from torch import Tensor, nn

from training.place_recognition.config import COARSE_PATCH_PX, FINE_PATCH_PX, CrossVitConfig
from training.place_recognition.patches import GradientPatches
from training.place_recognition.residuals import Embedded, dense_residuals, described

_MLP = (4.0, 4.0, 1.0)


class StudentEncoder(nn.Module):
    """Images to descriptors.

    Attributes:
        size: height and width of the images that it takes.
        dimension: of a descriptor.
    """

    pretrained_name = "crossvit_tiny_240"

    def __init__(self, config: CrossVitConfig) -> None:
        super().__init__()
        self.size, self.dimension = (config.size, config.size), config.dimension
        self.network = _TwoScales(
            img_size=config.size,
            img_scale=(1.0, (config.coarse_size + 0.5) / config.size),
            patch_size=(FINE_PATCH_PX, COARSE_PATCH_PX),
            num_classes=config.dimension,
            embed_dim=(config.width, config.second_width),
            depth=((config.blocks, config.second_blocks, 0),) * config.stages,
            num_heads=(config.heads, config.heads),
            mlp_ratio=_MLP,
            drop_path_rate=config.drop_path,
        )
        self.residuals = dense_residuals(config, width=config.width)
        if config.stem == "gradients":
            scales = zip((FINE_PATCH_PX, COARSE_PATCH_PX), (config.width, config.second_width), strict=True)
            self.network.patch_embed = nn.ModuleList(GradientPatches(*scale) for scale in scales)

    @property
    def backbone(self) -> nn.Module:
        """What pretrained weights are of."""
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return self.embed(images).descriptors

    def embed(self, images: Tensor) -> Embedded:
        """Descriptors of (B, 3, H, W) images, and how much each patch counts."""
        branches = self.network.forward_features(images)
        whole = self.network.forward_head(branches)
        return described(self.residuals, images, branches[0][:, 1:], whole)


class _TwoScales(CrossVit):
    """timm's CrossViT with the image of its second branch made by two constant matrices.

    They hold the weights of the bicubic interpolation, and are multiplied in a third of the time that ONNX Runtime
    takes to resize.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        size, coarse = self.img_size_scaled[0][0], self.img_size_scaled[1][0]
        self.register_buffer("coarse_from_fine", bicubic(size, coarse), persistent=False)

    def _embed(self, x: Tensor) -> list[Tensor]:
        matrix = self.coarse_from_fine.to(x.dtype)
        embedded = []
        for number, scaled in enumerate((x, matrix @ x @ matrix.T)):
            patches = self.patch_embed[number](scaled)
            of_class = getattr(self, f"cls_token_{number}").expand(patches.shape[0], -1, -1)
            tokens = torch.cat([of_class, patches], dim=1)
            embedded.append(self.pos_drop(tokens + getattr(self, f"pos_embed_{number}")))
        return embedded

    def forward_head(self, x: list[Tensor], pre_logits: bool = False) -> Tensor:
        """(B, D) mean of what both branches say."""
        return torch.stack([head(gathered(branch)) for head, branch in zip(self.head, x, strict=True)]).mean(0)


def gathered(branch: Tensor) -> Tensor:
    """(B, C) of (B, 1 + G, C): the class token and the mean of the patches, which few images teach sooner."""
    return branch[:, 0] + branch[:, 1:].mean(dim=1)


def bicubic(size: int, scaled: int) -> Tensor:
    """(scaled, size) matrix that resizes columns as torch's bicubic interpolation does, exactly."""
    return F.interpolate(torch.eye(size)[None, None], size=(scaled, size), mode="bicubic", align_corners=False)[0, 0]
