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

"""The losses of VXP's stages: triplets of images, local features of voxels and pixels, and descriptors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.networks.sparse_convolution import SparseVoxels

# less would weight what is at the sensor by anything
_NEAREST_M = 1.0


def hardest_triplet_loss(descriptors: Tensor, positive: Tensor, negative: Tensor, *, margin: float) -> Tensor:
    """Triplets of each image's farthest positive and nearest negative of a batch (Hermans et al. 2017).

    Args:
        descriptors: (B, D) of length 1.
        positive: (B, B) bool, of an image with itself false.
        negative: (B, B) bool.
        margin: by which a negative is to be further away.
    """
    distances = (2.0 - 2.0 * descriptors.float() @ descriptors.float().T).clamp(min=1e-9).sqrt()
    farthest = distances.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(~negative, torch.inf).amin(dim=1)
    scored = positive.any(dim=1) & negative.any(dim=1)
    if not bool(scored.any()):
        return descriptors.sum() * 0.0
    return (margin + farthest - nearest)[scored].clamp(min=0).mean()


def local_loss(voxels: SparseVoxels, local: Tensor, shares: Tensor, depths: Tensor, *, visible_m: float) -> Tensor:
    """Smooth L1 of each visible cell's features and those of the pixel that shows it, by inverse depth.

    Of the cells that project into one local feature, the nearest is seen, and what is little behind it.

    Args:
        voxels: of the coarse grid.
        local: (B, C, h, w) features of the images, without a gradient.
        shares: (B, X, Y, Z, 2) where the image shows a cell, as shares of width and height; NaN where it does not.
        depths: (B, X, Y, Z) along the optical axis, metres.
        visible_m: how far behind.
    """
    height, width = local.shape[2:]
    at = tuple(voxels.indices.T)
    share, depth = shares[at], depths[at]
    inside = torch.isfinite(share).all(dim=1)
    column, row = (share.nan_to_num() * share.new_tensor([width, height])).long().unbind(dim=1)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    pixel = (voxels.indices[:, 0] * height + row) * width + column
    nearest = depth.new_full((len(local) * height * width,), torch.inf)
    nearest = nearest.scatter_reduce(0, pixel[inside], depth[inside], "amin")
    seen = inside & (depth <= nearest[pixel] + visible_m)
    if not bool(seen.any()):
        return voxels.features.sum() * 0.0
    target = local[voxels.indices[seen, 0], :, row[seen], column[seen]]
    differences = F.smooth_l1_loss(voxels.features[seen], target, reduction="none").mean(dim=1)
    weights = 1.0 / depth[seen].clamp(min=_NEAREST_M)
    return (weights * differences).sum() / weights.sum()
