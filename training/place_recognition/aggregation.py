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

"""Aggregation of local features to one vector: GeM, NetVLAD and MixVPR."""

from __future__ import annotations

import math

import faiss
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array

_ITERATIONS = 25
# soft assignment of a local feature to its second nearest centre, relative to the nearest
_SECOND = 0.01


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


class FeatureMixer(nn.Module):
    """A two-layer network over the positions of each channel, on normalised input and added to it."""

    def __init__(self, positions: int) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.LayerNorm(positions), nn.Linear(positions, positions), nn.ReLU(), nn.Linear(positions, positions)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, positions) of the same."""
        return x + self.mlp(x)


class MixVpr(nn.Module):
    """Channels whose positions are mixed, then projected along both axes (Ali-bey, Chaib-draa and Giguère 2023).

    Of the mixing aggregations it costs least: no attention, and no iterations of optimal transport. It is for images
    of one size.
    """

    def __init__(self, channels: int, positions: int, *, layers: int, projected: int, rows: int) -> None:
        """For (B, channels, h, w) local features with h * w = positions; the result has projected * rows values."""
        super().__init__()
        self.mixers = nn.Sequential(*(FeatureMixer(positions) for _ in range(layers)))
        self.channel_projection = nn.Linear(channels, projected)
        self.row_projection = nn.Linear(positions, rows)

    def forward(self, features: Tensor) -> Tensor:
        """(B, projected * rows) of (B, channels, h, w)."""
        mixed = self.mixers(features.flatten(2))
        channels = self.channel_projection(mixed.transpose(1, 2)).transpose(1, 2)
        return self.row_projection(channels).flatten(1)
