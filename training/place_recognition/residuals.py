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

"""The residual branch: VLAD of dense gradients and colours, projected to a short descriptor.

VLAD (Jégou et al. 2010) describes an image's details whatever their order; over dense descriptors it also recognises
places at night (Torii et al. 2015). All parts are initialised from the images and then trained. A transformer weights
the patches (contextual reweighting, Kim et al. 2017) and adds a global term. With few images it learns little: the
residuals do most of the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.aggregation import NetVlad
from training.place_recognition.config import FINE_PATCH_PX, RESIDUAL_LENGTH, CrossVitConfig
from training.place_recognition.discriminant import Discriminant
from training.place_recognition.patches import CELL_PX, DIRECTIONS, Gradients

_WINDOW = 3  # cells along each side of a local descriptor
_LEAST_ENERGY = 0.2
_SAMPLES = 60_000
_CHANNELS = 3
# weight of colours relative to gradients; a larger one is better by day and worse at night
_COLOUR_WEIGHT = 0.8
# initial weight of the transformer's global term, a vector of length 1
_GLOBAL_WEIGHT = 0.1


class Embedding(NamedTuple):
    """The output of an encoder.

    Attributes:
        descriptors: (B, D) L2-normalised.
        patch_logits: (B, P) logits of the patches' weights; None without a residual branch.
    """

    descriptors: Tensor
    patch_logits: Tensor | None = None


class DenseResiduals(nn.Module):
    """Descriptors from images and from a transformer's tokens of them."""

    def __init__(self, clusters: int, *, grid: int, patch_px: int, width: int, dimension: int) -> None:
        """For images of grid by grid patches, with tokens of this width."""
        super().__init__()
        self.grid, self.cells = grid, patch_px // CELL_PX
        self.gradients = Gradients()
        self.local_projection = nn.Conv2d(DIRECTIONS + _CHANNELS, RESIDUAL_LENGTH, _WINDOW)
        self.pool = NetVlad(clusters, RESIDUAL_LENGTH)
        self.patch_weighting = nn.Linear(width, 1)
        self.projection = nn.Linear(clusters * RESIDUAL_LENGTH, dimension)
        self.global_weight = nn.Parameter(torch.tensor(_GLOBAL_WEIGHT))
        for zero in (self.patch_weighting.weight, self.patch_weighting.bias):
            nn.init.zeros_(zero)

    def forward(self, images: Tensor, patches: Tensor, whole: Tensor) -> Embedding:
        """Descriptors, and the weight of each patch.

        Args:
            images: (B, 3, H, W).
            patches: (B, G * G, width) tokens, row by row.
            whole: (B, D) the transformer's global output.
        """
        patch_logits = self.patch_weighting(patches)[..., 0]
        details = self.projection(self.residuals(images, patch_logits))
        return Embedding(
            F.normalize(details.float() + self.global_weight * F.normalize(whole.float(), dim=-1), dim=-1), patch_logits
        )

    def residuals(self, images: Tensor, patch_logits: Tensor | None = None) -> Tensor:
        """(B, K * 32) of length 1, before the projection; patches have equal weights without logits."""
        local = self.local_projection(self.describe_cells(images))
        weights = None if patch_logits is None else self._weight_cells(patch_logits)
        return F.normalize(self.pool(local, weights), dim=-1)

    def describe_cells(self, images: Tensor) -> Tensor:
        """(B, 8 + 3, h, w): gradients in cells, normalised by the energy of their neighbourhood, and colours.

        Colours are centred: minus the mean of the channels, then minus the mean of the image.
        """
        gradients = self.gradients(images)
        energy = F.avg_pool2d(F.pad(gradients.square().sum(1, keepdim=True), (1, 1, 1, 1)), 3, 1) * 9
        directed = (gradients / (energy.sqrt() + _LEAST_ENERGY)).sqrt()
        colours = F.avg_pool2d(images, CELL_PX)
        colours = colours - colours.mean(dim=1, keepdim=True)
        colours = colours - colours.mean(dim=(2, 3), keepdim=True)
        return torch.cat([directed, _COLOUR_WEIGHT * colours], dim=1)

    def _weight_cells(self, patch_logits: Tensor) -> Tensor:
        """(B, 1, h - 2, w - 2) weight of the window around each cell: that of the cell's patch."""
        weights = (2 * patch_logits.sigmoid()).view(-1, 1, self.grid, self.grid)
        weights = weights.repeat_interleave(self.cells, dim=2).repeat_interleave(self.cells, dim=3)
        return weights[:, :, 1:-1, 1:-1]

    @torch.no_grad()
    def initialise_from(self, some: Tensor, batches: Iterable[tuple[Tensor, Tensor]], *, views: int, seed: int) -> None:
        """Initialise from images.

        Local descriptors are projected by principal components, clusters come from k-means, and the final projection
        is a linear discriminant analysis: large where places differ, small where images of one place do.

        Args:
            some: (N, 3, H, W) images.
            batches: (B, 3, H, W) augmented images, and their (B, B) overlap, 0 to 1.
            views: number of different views in those batches.
            seed: of the random sampling.

        Raises:
            InputError: there are too few images, or no two overlap.
        """
        rng = np.random.default_rng(seed)
        windows = F.unfold(self.describe_cells(some), _WINDOW).transpose(1, 2).flatten(0, 1).numpy()
        windows = windows[rng.permutation(len(windows))[:_SAMPLES]]
        _, axes = np.linalg.eigh(np.cov(windows.T))
        axes = axes[:, ::-1][:, :RESIDUAL_LENGTH]
        self.local_projection.weight.copy_(torch.from_numpy(axes.T.copy()).view_as(self.local_projection.weight))
        self.local_projection.bias.copy_(torch.from_numpy(-windows.mean(0) @ axes))
        self.pool.initialise_from((windows - windows.mean(0)) @ axes, seed=seed)
        found = Discriminant(self.projection.in_features)
        for images, share in batches:
            found.add(self.residuals(images).numpy(), share.numpy())
        axes, mean = found.projection(self.projection.out_features, views=views)
        self.projection.weight.copy_(torch.from_numpy(axes))
        self.projection.bias.copy_(torch.from_numpy(-axes @ mean))


def dense_residuals(config: CrossVitConfig, *, width: int) -> DenseResiduals | None:
    """The configured residual branch, if any, for tokens of this width."""
    if not config.residuals:
        return None
    return DenseResiduals(
        config.residuals,
        grid=config.size // FINE_PATCH_PX,
        patch_px=FINE_PATCH_PX,
        width=width,
        dimension=config.dimension,
    )


def embed_with_residuals(residuals: DenseResiduals | None, images: Tensor, patches: Tensor, whole: Tensor) -> Embedding:
    """`DenseResiduals.forward`, or the transformer's global output alone without a residual branch."""
    if residuals is None:
        return Embedding(F.normalize(whole.float(), dim=-1))
    embedded: Embedding = residuals(images, patches, whole)
    return embedded
