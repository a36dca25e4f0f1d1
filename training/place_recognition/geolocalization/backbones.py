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

"""Backbones of place recognition: EfficientNet-Lite0, CrossViT-Ti and the convolutional networks of timm."""

from __future__ import annotations

from dataclasses import replace

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.baselines import build_timm_backbone
from training.place_recognition.config import COARSE_PATCH_PX, FINE_PATCH_PX
from training.place_recognition.crossvit import TwoScaleCrossVit
from training.place_recognition.geolocalization.config import CROSSVIT, EFFICIENTNET, NetworkConfig
from vloc_ros.core.errors import ConfigError
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.model_export.efficientnet import EfficientNetLite0
from vloc_ros.model_export.global_descriptors import GLOBAL_DESCRIPTORS

# the published weights of EfficientNet-Lite0, and how its images are standardised
PUBLISHED = GLOBAL_DESCRIPTORS["gem-efficientnet-lite0"]
CROSSVIT_NAME = "crossvit_tiny_240"
_STRIDES = (4, 8, 16, 32)
# of CrossViT-Ti (Chen, Fan and Panda 2021)
_WIDTHS, _DEPTHS, _HEADS, _MLP, _COARSE = (96, 192), ((1, 4, 0),) * 3, (3, 3), (4.0, 4.0, 1.0), 224 / 240


def build_backbone(config: NetworkConfig) -> tuple[nn.Module, int]:
    """A backbone with random weights, and the channels of its local features.

    Raises:
        ConfigError: it has no stage of the stride.
        InputError: timm has no such backbone.
    """
    if config.backbone == CROSSVIT:
        crossvit = CrossVitFeatures(config.height)
        return crossvit, sum(_WIDTHS)
    if config.stride not in _STRIDES:
        raise ConfigError(f"parameter stride is {config.stride}, expected one of {', '.join(map(str, _STRIDES))}")
    if config.backbone == EFFICIENTNET:
        lite = EfficientNetLite0(config.stride)
        return lite, lite.channels
    stages = build_timm_backbone(config.backbone, stride=config.stride)
    return stages, int(stages.feature_info.channels()[-1])


def make_preprocessing(config: NetworkConfig) -> Preprocessing:
    """How the images of a backbone are resized and standardised: as its published weights expect it."""
    sized = Preprocessing(config.size, own=config.own_statistics)
    if config.backbone == EFFICIENTNET:
        return replace(sized, mean=PUBLISHED.preprocessing.mean, std=PUBLISHED.preprocessing.std)
    published = timm.get_pretrained_cfg(CROSSVIT_NAME if config.backbone == CROSSVIT else config.backbone)
    return replace(sized, mean=tuple(published.mean), std=tuple(published.std)) if published else sized


class CrossVitFeatures(TwoScaleCrossVit):
    """A CrossViT-Ti whose patch tokens, each plus the class token, are local features: fine beside coarse ones."""

    def __init__(self, side: int) -> None:
        """For square images of this side in pixels."""
        coarse = round(side * _COARSE / COARSE_PATCH_PX) * COARSE_PATCH_PX
        super().__init__(
            img_size=side,
            img_scale=(1.0, (coarse + 0.5) / side),
            patch_size=(FINE_PATCH_PX, COARSE_PATCH_PX),
            num_classes=0,
            embed_dim=_WIDTHS,
            depth=_DEPTHS,
            num_heads=_HEADS,
            mlp_ratio=_MLP,
        )
        self._grids = side // FINE_PATCH_PX, coarse // COARSE_PATCH_PX

    def forward(self, x: Tensor) -> Tensor:
        """(B, 288, side / 12, side / 12) local features of (B, 3, side, side) images."""
        fine, coarse = (
            tokens[:, 1:].transpose(1, 2).unflatten(2, (grid, grid)) + tokens[:, 0, :, None, None]
            for tokens, grid in zip(self.forward_features(x), self._grids, strict=True)
        )
        # every fine patch beside the coarse one at its middle
        return torch.cat([fine, F.interpolate(coarse, size=fine.shape[2:], mode="nearest-exact")], dim=1)
