"""Dense gradients and colours of an image summed as residuals to cluster centres, and projected to a short descriptor.

What an image's details look like, whatever their order: VLAD over dense descriptors (Jégou et al. 2010; Torii et al.
2015 find places at night by it), every part of which is learned further once it has begun from the images themselves.
A transformer says how much each patch counts (Kim et al. 2017 reweight by context), and adds what it says of the whole.
Of few images it learns little: the residuals do most of the work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.place_recognition.baselines import NetVlad
from training.place_recognition.config import FINE_PATCH_PX, RESIDUAL_LENGTH, CrossVitConfig
from training.place_recognition.discriminant import Discriminant
from training.place_recognition.patches import CELL_PX, DIRECTIONS, Gradients

_WINDOW = 3  # cells along a side of what is described at once
_LEAST_ENERGY = 0.2
_LOOKS = 60_000
_CHANNELS = 3
# colours beside gradients; more of them finds more by day and less at night
_OF_COLOUR = 0.8
# of what the transformer says of the image as a whole, a vector of length 1, so much is added to the details at first
_OF_WHOLE = 0.1


class Embedded(NamedTuple):
    """What an encoder makes of images.

    Attributes:
        descriptors: (B, D) L2-normalised.
        counted: (B, P) logits of how much each of the patches counts; None where they all count alike.
    """

    descriptors: Tensor
    counted: Tensor | None = None


class DenseResiduals(nn.Module):
    """Images, and what a transformer makes of them, to descriptors."""

    def __init__(self, clusters: int, *, grid: int, patch_px: int, width: int, dimension: int) -> None:
        """Of images of grid by grid patches, whose tokens are so wide."""
        super().__init__()
        self.grid, self.cells = grid, patch_px // CELL_PX
        self.gradients = Gradients()
        self.looks = nn.Conv2d(DIRECTIONS + _CHANNELS, RESIDUAL_LENGTH, _WINDOW)
        self.pool = NetVlad(clusters, RESIDUAL_LENGTH)
        self.counting = nn.Linear(width, 1)
        self.projected = nn.Linear(clusters * RESIDUAL_LENGTH, dimension)
        self.of_whole = nn.Parameter(torch.tensor(_OF_WHOLE))
        for zero in (self.counting.weight, self.counting.bias):
            nn.init.zeros_(zero)

    def forward(self, images: Tensor, patches: Tensor, whole: Tensor) -> Embedded:
        """Descriptors, and how much each patch counts.

        Args:
            images: (B, 3, H, W).
            patches: (B, G * G, width) tokens, row by row.
            whole: (B, D) what the transformer says of the image.
        """
        counted = self.counting(patches)[..., 0]
        details = self.projected(self.residuals(images, counted))
        return Embedded(
            F.normalize(details.float() + self.of_whole * F.normalize(whole.float(), dim=-1), dim=-1), counted
        )

    def residuals(self, images: Tensor, counted: Tensor | None = None) -> Tensor:
        """(B, K * 32) of length 1, before they are projected; without what is counted all patches count alike."""
        looks = self.looks(self.cells_of(images))
        return F.normalize(self.pool(looks, None if counted is None else self._around_cells(counted)), dim=-1)

    def cells_of(self, images: Tensor) -> Tensor:
        """(B, 8 + 3, h, w): gradients in cells, as parts of what there is around them, and colours.

        Colours are how a channel differs from the mean of the channels, and a cell from the mean of the image.
        """
        gradients = self.gradients(images)
        energy = F.avg_pool2d(F.pad(gradients.square().sum(1, keepdim=True), (1, 1, 1, 1)), 3, 1) * 9
        directed = (gradients / (energy.sqrt() + _LEAST_ENERGY)).sqrt()
        colours = F.avg_pool2d(images, CELL_PX)
        colours = colours - colours.mean(dim=1, keepdim=True)
        colours = colours - colours.mean(dim=(2, 3), keepdim=True)
        return torch.cat([directed, _OF_COLOUR * colours], dim=1)

    def _around_cells(self, counted: Tensor) -> Tensor:
        """(B, 1, h - 2, w - 2) how much what lies around each cell counts, by the patch that it lies in."""
        counts = (2 * counted.sigmoid()).view(-1, 1, self.grid, self.grid)
        counts = counts.repeat_interleave(self.cells, dim=2).repeat_interleave(self.cells, dim=3)
        return counts[:, :, 1:-1, 1:-1]

    @torch.no_grad()
    def start_from(self, some: Tensor, batches: Iterable[tuple[Tensor, Tensor]], *, views: int, seed: int) -> None:
        """Begin as what the images tell by themselves.

        The looks by principal components, the clusters by k-means, and the projection by linear discriminant analysis:
        large where places differ, small where images of one place do.

        Args:
            some: (N, 3, H, W) images.
            batches: (B, 3, H, W) images as they are trained on, and (B, B) what every two of them share, 0 to 1.
            views: different ones that those batches are of.
            seed: of what is drawn by lot.

        Raises:
            InputError: they are too few.
        """
        rng = np.random.default_rng(seed)
        windows = F.unfold(self.cells_of(some), _WINDOW).transpose(1, 2).flatten(0, 1).numpy()
        windows = windows[rng.permutation(len(windows))[:_LOOKS]]
        _, axes = np.linalg.eigh(np.cov(windows.T))
        axes = axes[:, ::-1][:, :RESIDUAL_LENGTH]
        self.looks.weight.copy_(torch.from_numpy(axes.T.copy()).view_as(self.looks.weight))
        self.looks.bias.copy_(torch.from_numpy(-windows.mean(0) @ axes))
        self.pool.start_from((windows - windows.mean(0)) @ axes, seed=seed)
        found = Discriminant(self.projected.in_features)
        for images, share in batches:
            found.add(self.residuals(images).numpy(), share.numpy())
        axes, mean = found.projection(self.projected.out_features, views=views)
        self.projected.weight.copy_(torch.from_numpy(axes))
        self.projected.bias.copy_(torch.from_numpy(-axes @ mean))


def dense_residuals(config: CrossVitConfig, *, width: int) -> DenseResiduals | None:
    """As configured, if at all, for tokens of this width."""
    if not config.residuals:
        return None
    return DenseResiduals(
        config.residuals,
        grid=config.size // FINE_PATCH_PX,
        patch_px=FINE_PATCH_PX,
        width=width,
        dimension=config.dimension,
    )


def described(residuals: DenseResiduals | None, images: Tensor, patches: Tensor, whole: Tensor) -> Embedded:
    """See `DenseResiduals.forward`; what the transformer says alone where there are none."""
    if residuals is None:
        return Embedded(F.normalize(whole.float(), dim=-1))
    embedded: Embedded = residuals(images, patches, whole)
    return embedded
