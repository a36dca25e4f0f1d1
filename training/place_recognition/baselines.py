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

import math

import faiss
import numpy as np
import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.config import ConvolutionConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_STRIDE = 16
_ITERATIONS = 25
# soft assignment of a local feature to its second nearest centre, relative to the nearest
_SECOND = 0.01


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
        self.backbone = _build_backbone(config.backbone)
        channels = self.backbone.feature_info.channels()[-1]
        self.pool = Gem(config.power) if pooling == "gem" else NetVlad(config.clusters, channels)
        self.dimension = channels if pooling == "gem" else config.clusters * channels

    def extract_local(self, images: Tensor) -> Tensor:
        """(B, C, h, w) local features of (B, 3, H, W) images."""
        return self.backbone(images)[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, D) L2-normalised descriptors of (B, 3, H, W) images."""
        return F.normalize(self.pool(self.extract_local(images)).float(), dim=-1)


def _build_backbone(name: str) -> nn.Module:
    """A backbone of timm, up to the last stage of stride 16."""
    try:
        stages = timm.create_model(name, features_only=True).feature_info.reduction()
    except RuntimeError as error:
        raise InputError(f"timm has no backbone {name} with stages ({error}); see timm.list_models()") from error
    if _STRIDE not in stages:
        raise InputError(f"the backbone {name} has stages of stride {stages}, expected one of {_STRIDE}")
    return timm.create_model(name, features_only=True, out_indices=(stages.index(_STRIDE),))


class Gem(nn.Module):
    """Generalised mean pooling (Radenović et al. 2019); its power is learned."""

    def __init__(self, power: float) -> None:
        super().__init__()
        self.power = nn.Parameter(torch.tensor(power))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C) of (B, C, h, w)."""
        return features.float().clamp(min=1e-6).pow(self.power).mean(dim=(2, 3)).pow(1 / self.power)


class NetVlad(nn.Module):
    """Residuals to cluster centres, summed by soft assignment (Arandjelović et al. 2016)."""

    def __init__(self, clusters: int, channels: int) -> None:
        super().__init__()
        self.assignment = nn.Conv2d(channels, clusters, 1, bias=False)
        self.centres = nn.Parameter(F.normalize(torch.randn(clusters, channels), dim=1))

    def forward(self, features: Tensor, weights: Tensor | None = None) -> Tensor:
        """(B, K * C) from (B, C, h, w), normalised per cluster.

        Args:
            features: local features.
            weights: (B, 1, h, w) weight of each feature; 1 where None.
        """
        features = F.normalize(features.to(self.centres.dtype), dim=1)
        shares = self.assignment(features).flatten(2).softmax(dim=1)
        if weights is not None:
            shares = shares * weights.flatten(2)
        sums = shares @ features.flatten(2).transpose(1, 2)
        residuals = sums - shares.sum(dim=2, keepdim=True) * self.centres
        return F.normalize(residuals, dim=2).flatten(1)

    @torch.no_grad()
    def initialise_from(self, features: Array, *, seed: int) -> None:
        """Set the centres by k-means, and the sharpness of the soft assignment, from (N, C) local features."""
        count, channels = self.centres.shape
        if len(features) < count:
            raise InputError(f"{len(features)} local features are too few for {count} clusters; use more images")
        unit = np.ascontiguousarray(features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12))
        unit = unit.astype(np.float32)
        kmeans = faiss.Kmeans(channels, count, niter=_ITERATIONS, seed=seed, min_points_per_centroid=1, verbose=False)
        kmeans.train(unit)
        self.centres.copy_(torch.from_numpy(np.asarray(kmeans.centroids)))
        directions = F.normalize(self.centres, dim=1)
        similarities = np.sort(unit @ directions.cpu().numpy().T, axis=1)
        gap = max(float((similarities[:, -1] - similarities[:, -2]).mean()), 1e-6)
        self.assignment.weight.copy_((-math.log(_SECOND) / gap * directions)[:, :, None, None])
