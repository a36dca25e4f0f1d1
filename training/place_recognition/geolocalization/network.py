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

"""A network of place recognition: a backbone, an aggregation, a projection."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.aggregation import Gem, MixVpr, NetVlad
from training.place_recognition.geolocalization.backbones import CROSSVIT_NAME, build_backbone
from training.place_recognition.geolocalization.config import CROSSVIT, GEM, GRID, NETVLAD, NetworkConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array


class ImageEncoder(nn.Module):
    """Images to descriptors of length 1.

    Attributes:
        size: height and width of its images.
        dimension: length of a descriptor.
        pretrained_name: of the backbone, for its published weights.
        backbone: the part that pretrained weights are for.
    """

    size: tuple[int, int]
    dimension: int
    pretrained_name: str
    backbone: nn.Module

    @property
    def training_only(self) -> nn.Module:
        """Parts that no description needs, which an export leaves out."""
        return nn.ModuleList()


class PlaceNetwork(ImageEncoder):
    """A backbone, an aggregation and a projection.

    Attributes:
        pool: the aggregation.
        classifiers: (K, D) one vector for each cell of a group, for training by classification alone.
    """

    def __init__(self, config: NetworkConfig, *, pretrained: bool = False, classes: Sequence[int] = ()) -> None:
        """With random weights.

        Args:
            config: of the network.
            pretrained: whether the backbone will get pretrained weights. Then its batch normalisation keeps their
                mean and variance in training, since a batch of few places has others, and its first layers are
                frozen where `config.frozen` says so.
            classes: number of cells of each group.
        """
        super().__init__()
        self.size = config.size
        self.pretrained_name = CROSSVIT_NAME if config.backbone == CROSSVIT else config.backbone
        self._keeps_statistics = pretrained
        self.backbone, channels = build_backbone(config)
        for module in _list_layers(self.backbone)[: config.frozen if pretrained else 0]:
            module.requires_grad_(False)
        self.pool, length = _build_pool(config, channels, self._count_positions())
        self.dimension = config.dimension or length
        self.projection = nn.Linear(length, config.dimension) if config.dimension else nn.Identity()
        self.classifiers = nn.ParameterList(torch.randn(count, self.dimension) * 0.01 for count in classes)

    @property
    def training_only(self) -> nn.Module:
        """The classifiers."""
        return self.classifiers

    @torch.no_grad()
    def _count_positions(self) -> int:
        self.backbone.eval()
        height, width = self.extract_local(torch.zeros(1, 3, *self.size)).shape[2:]
        self.backbone.train()
        return int(height * width)

    def train(self, mode: bool = True) -> PlaceNetwork:
        """Switch between training and evaluation; pretrained batch normalisation stays in evaluation."""
        super().train(mode)
        for module in self.backbone.modules() if self._keeps_statistics else ():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def extract_local(self, images: Tensor) -> Tensor:
        """(B, C, h, w) local features of (B, 3, H, W) images."""
        features = self.backbone(images)
        return features if isinstance(features, Tensor) else features[-1]

    def aggregate(self, images: Tensor) -> Tensor:
        """(B, L) L2-normalised vectors of (B, 3, H, W) images, before the projection."""
        return F.normalize(self.pool(self.extract_local(images)).float(), dim=-1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return F.normalize(self.projection(self.aggregate(images)).float(), dim=-1)

    @torch.no_grad()
    def initialise_projection(self, vectors: Array) -> None:
        """Set the projection to a principal component analysis of (N, L) vectors, with whitening by half.

        Axes beyond the rank of the vectors keep their random weights, scaled to the smallest one.

        Raises:
            InputError: all vectors are equal.
        """
        if not isinstance(self.projection, nn.Linear):
            return
        found = torch.from_numpy(vectors).double()
        middle = found.mean(dim=0)
        _, spread, axes = torch.linalg.svd(found - middle, full_matrices=False)
        kept = min(self.projection.out_features, int((spread > 1e-6 * spread[0].clamp(min=1e-12)).sum()))
        if not kept or float(spread[0]) <= 1e-9:
            raise InputError(f"the descriptors of {len(vectors)} images are equal; use other images or other weights")
        scaled = axes[:kept] * (spread[0] / spread[:kept]).sqrt()[:, None]
        weight = F.normalize(self.projection.weight.double(), dim=1) * 1e-2
        weight[:kept] = scaled
        self.projection.weight.copy_(weight)
        self.projection.bias.copy_(-weight @ middle)


def _list_layers(backbone: nn.Module) -> list[nn.Module]:
    """Layers and blocks in the order of the way of an image."""
    layers = list[nn.Module]()
    for child in backbone.children():
        layers += child.children() if isinstance(child, nn.ModuleList | nn.Sequential) else [child]
    return layers


def _build_pool(config: NetworkConfig, channels: int, positions: int) -> tuple[nn.Module, int]:
    """An aggregation, and the length of its result."""
    if config.aggregation == GEM:
        return Gem(config.power), channels
    if config.aggregation == NETVLAD:
        return NetVlad(config.clusters, channels), config.clusters * channels
    if config.aggregation == GRID:
        return nn.Flatten(), positions * channels
    mixing = MixVpr(
        channels, positions, layers=config.mixer_layers, projected=config.mixer_channels, rows=config.mixer_rows
    )
    return mixing, config.mixer_channels * config.mixer_rows
