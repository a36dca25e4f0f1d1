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

"""Networks of cross-view retrieval: one for all views, and each image is described by itself."""

from __future__ import annotations

import math
from collections.abc import Mapping

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cross_view.config import FUSION, CrossViewConfig, FusionConfig
from training.place_recognition.geolocalization.network import ImageEncoder, PlaceNetwork
from vloc_ros.core.errors import InputError


class AttentionPool(nn.Module):
    """Learned queries, one a head, that attend to all local features of an image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Parameter(torch.randn(1, heads, 1, width // heads) * 0.02)
        self.norm = nn.LayerNorm(width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, width) of (B, N, width)."""
        keys, values = self.keys_values(self.norm(features)).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        shares = (self.query * keys).sum(dim=3, keepdim=True) * keys.shape[3] ** -0.5
        return self.output((shares.softmax(dim=2) * values).sum(dim=2).flatten(1))


class FusionEncoder(ImageEncoder):
    """The last stages of a hierarchical transformer, brought to one width and pooled together by attention."""

    def __init__(self, config: FusionConfig) -> None:
        """With random weights.

        Raises:
            InputError: timm has no such backbone with stages.
        """
        super().__init__()
        self.size, self.dimension = (config.side, config.side), config.dimension
        self.pretrained_name = config.backbone
        try:
            self.backbone = timm.create_model(config.backbone, features_only=True, img_size=config.side)
        except (RuntimeError, AttributeError, TypeError) as error:
            raise InputError(f"timm has no backbone {config.backbone} with stages ({error}); use a Swin") from error
        channels = self.backbone.feature_info.channels()[-config.stages :]
        self.projections = nn.ModuleList(nn.Linear(count, config.width) for count in channels)
        self.levels = nn.Parameter(torch.randn(len(channels), config.width) * 0.02)
        self.pool = AttentionPool(config.width, config.heads)
        self.output = nn.Linear(config.width, config.dimension)

    def extract_local(self, images: Tensor) -> Tensor:
        """(B, N, width) local features of all fused stages of (B, 3, H, W) images."""
        stages = self.backbone(images)[-len(self.projections) :]
        levels = zip(stages, self.projections, self.levels, strict=True)
        return torch.cat([project(stage.flatten(1, 2)) + level for stage, project, level in levels], dim=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return F.normalize(self.output(self.pool(self.extract_local(images))).float(), dim=-1)


class DiscNetwork(PlaceNetwork):
    """A network that sees only the disc that touches the edges of an image: at every heading the same ground."""

    def extract_local(self, images: Tensor) -> Tensor:
        """(B, C, h, w) local features of (B, 3, H, W) images; beyond the disc all is mean grey."""
        y, x = (torch.linspace(1 / n - 1, 1 - 1 / n, n, device=images.device) for n in images.shape[2:])
        return super().extract_local(images * (y[:, None] ** 2 + x**2 <= 1))


class CrossViewNetwork(nn.Module):
    """An encoder, and what only its training needs: a temperature, and a projection to each teacher's descriptors.

    Attributes:
        encoder: describes images; it alone is exported.
        log_scale: logarithm of the inverse temperature.
        heads: to the descriptors of each teacher.
    """

    def __init__(self, config: CrossViewConfig, *, pretrained: bool, teachers: Mapping[str, int]) -> None:
        """With random weights.

        Args:
            config: of the network.
            pretrained: whether the backbone will get pretrained weights, see `PlaceNetwork`.
            teachers: lengths of the teachers' descriptors by name.
        """
        super().__init__()
        self.encoder: ImageEncoder = (
            FusionEncoder(config.fusion)
            if config.encoder == FUSION
            else (DiscNetwork if config.disc else PlaceNetwork)(config.network, pretrained=pretrained)
        )
        self.log_scale = nn.Parameter(torch.tensor(-math.log(config.loss.temperature)))
        self.heads = nn.ModuleDict({name: nn.Linear(self.encoder.dimension, n) for name, n in teachers.items()})

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return self.encoder(images)
