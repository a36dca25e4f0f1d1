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

"""VXP's networks: an image network with local features, and a sparse network over voxels (Li et al. 2025)."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.cross_modal.voxel.config import VoxelConfig, VoxelModelConfig
from training.cross_modal.voxel.voxelization import POINT_FEATURES
from training.networks.sparse_convolution import SparseConvolution, SparseVoxels
from training.place_recognition.geolocalization.network import PlaceNetwork

_POWER = 3.0
# channels of the voxel feature encoder, and of the sparse stages in multiples of the first
_ENCODED, _FIRST, _SECOND = (16, 64, 128), (2, 4, 4), (8, 16, 16)


class VoxelBatch(NamedTuple):
    """The voxels of several clouds: see `VoxelCloud`; indices have the cloud's number first."""

    points: Tensor
    counts: Tensor
    indices: Tensor


class VoxelFeatureEncoder(nn.Module):
    """Features of the points of each voxel, each beside the largest of the voxel (Zhou and Tuzel 2018)."""

    def __init__(self) -> None:
        super().__init__()
        sizes = (POINT_FEATURES, *_ENCODED)
        self.layers = nn.ModuleList(
            nn.Linear(sizes[k] if k == 0 else 2 * sizes[k], sizes[k + 1]) for k in range(len(_ENCODED))
        )

    def forward(self, points: Tensor, counts: Tensor) -> Tensor:
        """(M, 128) of (M, P, 7) points, of which the first `counts` are there."""
        there = torch.arange(points.shape[1], device=points.device)[None] < counts[:, None]
        largest = points
        for layer in self.layers:
            found = F.relu(layer(points)).masked_fill(~there[:, :, None], 0.0)
            largest = found.amax(dim=1)
            points = torch.cat([found, largest[:, None].expand_as(found)], dim=2)
        return largest


class SparseStage(nn.Module):
    """A convolution that halves the grid, and submanifold ones after it, each with a norm and a ReLU."""

    def __init__(self, channels: int, outputs: tuple[int, ...], *, halves: bool) -> None:
        super().__init__()
        convolutions, norms = list[nn.Module](), list[nn.Module]()
        for number, out in enumerate(outputs):
            stride = (2, 2, 2) if halves and number == 0 else (1, 1, 1)
            convolutions.append(SparseConvolution(channels, out, stride=stride))
            norms.append(nn.LayerNorm(out))
            channels = out
        self.convolutions, self.norms = nn.ModuleList(convolutions), nn.ModuleList(norms)

    def forward(self, voxels: SparseVoxels) -> SparseVoxels:
        """The voxels of the next grid."""
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            voxels = convolution(voxels)
            voxels = voxels._replace(features=F.relu(norm(voxels.features)))
        return voxels


class VoxelEncoder(nn.Module):
    """Local features of a coarse grid of voxels, and a descriptor of them.

    Attributes:
        shape: voxels along x, y and z of the input.
    """

    def __init__(self, config: VoxelConfig, *, channels: int, dimension: int) -> None:
        """With local features of as many channels as the images'."""
        super().__init__()
        self.shape, width = config.shape, config.channels
        self.encoder = VoxelFeatureEncoder()
        first, second = (tuple(width * k for k in stage) for stage in (_FIRST, _SECOND))
        self.stages = nn.Sequential(
            SparseStage(_ENCODED[-1], (width,), halves=False),
            SparseStage(width, first, halves=True),
            SparseStage(first[-1], second, halves=True),
        )
        self.local = nn.Linear(second[-1], channels)
        self.power = nn.Parameter(torch.tensor(_POWER))
        self.projection = nn.Linear(channels, dimension)

    def extract_local(self, batch: VoxelBatch, clouds: int) -> SparseVoxels:
        """Features of the occupied cells of the coarse grid."""
        found = SparseVoxels(self.encoder(batch.points, batch.counts), batch.indices, self.shape, clouds)
        coarse: SparseVoxels = self.stages(found)
        return coarse._replace(features=self.local(coarse.features))

    def aggregate(self, voxels: SparseVoxels) -> Tensor:
        """(B, D) L2-normalised descriptors by generalised mean pooling over the cells of each cloud."""
        raised = voxels.features.float().clamp(min=1e-6).pow(self.power)
        cloud = voxels.indices[:, 0]
        sums = raised.new_zeros((voxels.batch, raised.shape[1])).index_add(0, cloud, raised)
        counts = torch.bincount(cloud, minlength=voxels.batch).clamp(min=1)[:, None]
        pooled = F.normalize((sums / counts).pow(1 / self.power), dim=-1)
        return F.normalize(self.projection(pooled), dim=-1)

    def forward(self, batch: VoxelBatch, clouds: int) -> Tensor:
        """(B, D) L2-normalised descriptors of so many clouds."""
        return self.aggregate(self.extract_local(batch, clouds))


class VoxelModel(nn.Module):
    """Both networks.

    Attributes:
        image: of images.
        voxels: of clouds.
    """

    def __init__(self, config: VoxelModelConfig, *, pretrained: bool = False) -> None:
        """With random weights; see `PlaceNetwork` for `pretrained`."""
        super().__init__()
        self.image = PlaceNetwork(config.image, pretrained=pretrained)
        channels = self._count_channels()
        self.voxels = VoxelEncoder(config.voxels, channels=channels, dimension=config.image.dimension)

    @torch.no_grad()
    def _count_channels(self) -> int:
        self.image.eval()
        channels = int(self.image.extract_local(torch.zeros(1, 3, *self.image.size)).shape[1])
        self.image.train()
        return channels

    def forward(self, images: Tensor, batch: VoxelBatch) -> tuple[Tensor, Tensor]:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images, and of as many clouds."""
        return self.image(images), self.voxels(batch, len(images))
