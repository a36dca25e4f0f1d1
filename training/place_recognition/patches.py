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

"""Patch tokens of an image: from a learned filter over pixels, or from gradients."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CELL_PX, DIRECTIONS = 4, 8
# added to the energy of a patch, so that the noise of a dark wall is not amplified
_LEAST_ENERGY = 1e-3
_GAIN = 4.0


def patch_tokens(stem: str, patch_px: int, width: int) -> nn.Module:
    """A module from (B, 3, H, W) images to (B, G, width) tokens, by `pixels` or `gradients`."""
    return GradientPatches(patch_px, width) if stem == "gradients" else PixelPatches(patch_px, width)


class PixelPatches(nn.Module):
    """A linear filter over the pixels of a patch, as in vision transformers."""

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(3, width, patch_px, patch_px)

    def forward(self, images: Tensor) -> Tensor:
        """(B, G, width) of (B, 3, H, W)."""
        return self.filter(images).flatten(2).transpose(1, 2)


class Gradients(nn.Module):
    """Gradient magnitude by direction in cells of 4 pixels; nothing is learned."""

    def __init__(self) -> None:
        super().__init__()
        angles = torch.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
        sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
        filters = angles.cos()[:, None, None] * sobel + angles.sin()[:, None, None] * sobel.T
        self.register_buffer("filters", filters[:, None].repeat(1, 3, 1, 1) / 3, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 8, H / 4, W / 4) of (B, 3, H, W)."""
        gradients = F.conv2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), self.filters).relu()
        return F.avg_pool2d(gradients, CELL_PX)


class GradientPatches(nn.Module):
    """Oriented gradients in cells of 4 pixels, normalised by the patch's contrast, and the patch's colour.

    After histograms of oriented gradients (Dalal and Triggs 2005), which need not be learned from a few hundred images.
    """

    def __init__(self, patch_px: int, width: int) -> None:
        super().__init__()
        self.patch_px, self.cells = patch_px, patch_px // CELL_PX
        self.gradients = Gradients()
        self.gradient_projection = nn.Conv2d(DIRECTIONS, width, self.cells, self.cells, bias=False)
        self.colour_projection = nn.Conv2d(3, width, 1)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """(B, G, width) of (B, 3, H, W)."""
        cells = self.gradients(images)
        energy = F.avg_pool2d(cells.square().sum(1, keepdim=True), self.cells) * self.cells**2
        shapes = self.gradient_projection(cells) * _GAIN / (energy + _LEAST_ENERGY).sqrt()
        tokens = shapes + self.colour_projection(F.avg_pool2d(images, self.patch_px))
        return torch.as_tensor(self.norm(tokens.flatten(2).transpose(1, 2)))
