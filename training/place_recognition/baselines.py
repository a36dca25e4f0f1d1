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

"""Baselines for the student: a convolutional backbone pooled by GeM or by NetVLAD."""

from __future__ import annotations

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.aggregation import Gem, NetVlad
from training.place_recognition.config import ConvolutionConfig
from vloc_ros.core.errors import InputError

_STRIDE = 16


class PooledEncoder(nn.Module):
    """A backbone up to stride 16, pooled to one descriptor.

    Attributes:
        size: height and width of its images.
        dimension: length of a descriptor.
    """

    def __init__(self, config: ConvolutionConfig, pooling: str) -> None:
        """Pooled by `gem` or `netvlad`."""
        super().__init__()
        self.size, self.pretrained_name = (config.size, config.size), config.backbone
        self.backbone = build_timm_backbone(config.backbone)
        channels = self.backbone.feature_info.channels()[-1]
        self.pool = Gem(config.power) if pooling == "gem" else NetVlad(config.clusters, channels)
        self.dimension = channels if pooling == "gem" else config.clusters * channels

    def extract_local(self, images: Tensor) -> Tensor:
        """(B, C, h, w) local features of (B, 3, H, W) images."""
        return self.backbone(images)[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return F.normalize(self.pool(self.extract_local(images)).float(), dim=-1)


def build_timm_backbone(name: str, *, stride: int = _STRIDE) -> nn.Module:
    """A backbone of timm with random weights, up to the last stage of a stride.

    Raises:
        InputError: timm has no such backbone, or it has no stage of this stride.
    """
    try:
        stages = timm.create_model(name, features_only=True).feature_info.reduction()
    except (RuntimeError, AttributeError) as error:
        raise InputError(f"timm has no backbone {name} with stages ({error}); see timm.list_models()") from error
    if stride not in stages:
        raise InputError(f"the backbone {name} has stages of stride {stages}, expected one of {stride}")
    return timm.create_model(name, features_only=True, out_indices=(stages.index(stride),))
