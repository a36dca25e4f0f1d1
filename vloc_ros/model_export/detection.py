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

"""From a score map to keypoints: local maxima, the strongest of them, and their sub-pixel positions.

Written for export to ONNX: sizes are dynamic, the number of keypoints depends on the data, an image may have none.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def max_pool(score_map: Tensor, radius: int) -> Tensor:
    """Maximum of a map (H, W) over squares of 2 radius + 1 pixels: along the rows, then along the columns."""
    size = 2 * radius + 1
    of_rows = F.max_pool2d(score_map[None, None], (1, size), stride=1, padding=(0, radius))
    return F.max_pool2d(of_rows, (size, 1), stride=1, padding=(radius, 0)).squeeze((0, 1))


def select_strongest(score_map: Tensor, is_candidate: Tensor, *, count: Tensor) -> tuple[Tensor, Tensor]:
    """The strongest candidates of a map.

    Args:
        score_map: (H, W), not negative.
        is_candidate: (H, W) bool.
        count: (1,) int64, the largest number to return.

    Returns:
        scores (N,) in descending order; pixels (N, 2), x y as int64.
    """
    width, size = score_map.shape[1], score_map.shape[0] * score_map.shape[1]
    found = count.clamp(min=0, max=size).item()
    torch._check(found <= size)
    scores, indices = torch.topk((score_map * is_candidate).flatten(), found)
    is_kept = scores > 0
    scores, indices = scores[is_kept], indices[is_kept]
    rows = indices // width
    return scores, torch.stack((indices - rows * width, rows), dim=1)


def gather_patches(score_map: Tensor, pixels: Tensor, *, radius: int) -> Tensor:
    """The squares (N, 2 radius + 1, 2 radius + 1) around pixels (N, 2) of a map; beyond the border it is replicated."""
    height, width = score_map.shape
    steps = torch.arange(-radius, radius + 1)
    columns = clamp_indices(pixels[:, :1] + steps, width)
    rows = clamp_indices(pixels[:, 1:] + steps, height)
    return torch.take(score_map, rows[:, :, None] * width + columns[:, None, :])


def clamp_indices(indices: Tensor, size: int) -> Tensor:
    """Indices, those outside of an axis moved to its ends; the size may be dynamic."""
    return indices.clamp(min=0, max=size - 1)


def fit_peaks(patches: Tensor) -> Tensor:
    """Sub-pixel offsets (N, 2), x y, of maxima in the centres of patches (N, 3, 3) of a score map.

    A parabola through the logarithms of three scores, along each axis: exact where the peak is a Gaussian. The offset
    is at most half a pixel, because the score in the centre is the largest.
    """
    logs = patches.clamp(min=1e-8).log()
    before, peak, after = torch.stack((logs[:, 1, :], logs[:, :, 1]), dim=2).unbind(1)
    curvature = (2 * peak - before - after).clamp(min=1e-6)
    return 0.5 * (after - before) / curvature
