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

"""The student: a CrossViT (Chen, Fan and Panda 2021) of the image alone, whose head is a 256-D descriptor.

In the preset small it mainly weights the patches of `DenseResiduals`: a few hundred images are too few for a
transformer to learn to distinguish places.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.crossvit import CrossVit
from torch import Tensor, nn

from training.place_recognition.config import COARSE_PATCH_PX, FINE_PATCH_PX, CrossVitConfig
from training.place_recognition.patches import GradientPatches
from training.place_recognition.residuals import Embedding, dense_residuals, embed_with_residuals

_MLP = (4.0, 4.0, 1.0)


class StudentEncoder(nn.Module):
    """Images to descriptors.

    Attributes:
        size: height and width of its images.
        dimension: length of a descriptor.
    """

    pretrained_name = "crossvit_tiny_240"

    def __init__(self, config: CrossVitConfig) -> None:
        super().__init__()
        self.size, self.dimension = (config.size, config.size), config.dimension
        self.network = TwoScaleCrossVit(
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
        """The part that pretrained weights are for."""
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return self.embed(images).descriptors

    def embed(self, images: Tensor) -> Embedding:
        """Descriptors of (B, 3, H, W) images, and the weight of each patch."""
        branches = self.network.forward_features(images)
        whole = self.network.forward_head(branches)
        return embed_with_residuals(self.residuals, images, branches[0][:, 1:], whole)


class TwoScaleCrossVit(CrossVit):
    """timm's CrossViT, which resizes the image of its second branch by two constant matrices.

    They hold the weights of the bicubic interpolation. ONNX Runtime needs three times as long for its own resizing.
    """

    def __init__(self, **options: object) -> None:
        super().__init__(**options)
        size, coarse = self.img_size_scaled[0][0], self.img_size_scaled[1][0]
        self.register_buffer("coarse_from_fine", bicubic_matrix(size, coarse), persistent=False)

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
        """(B, D) mean of the outputs of both branches."""
        return torch.stack([head(pool_tokens(branch)) for head, branch in zip(self.head, x, strict=True)]).mean(0)


def pool_tokens(branch: Tensor) -> Tensor:
    """(B, C) from (B, 1 + G, C): the class token plus the mean of the patches, which learns faster from few images."""
    return branch[:, 0] + branch[:, 1:].mean(dim=1)


def bicubic_matrix(size: int, scaled: int) -> Tensor:
    """(scaled, size) matrix that resizes columns exactly as torch's bicubic interpolation."""
    return F.interpolate(torch.eye(size)[None, None], size=(scaled, size), mode="bicubic", align_corners=False)[0, 0]
