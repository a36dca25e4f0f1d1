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

"""Values of a feature map at positions between its pixels.

A gather of whole feature vectors and a weighted sum. ONNX Runtime's GridSample goes through the map channel by channel,
and takes several times as long.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from vloc_ros.model_export.detection import clamp_indices

# of the cubic convolution kernel, as in PyTorch and OpenCV
_A = -0.75


def sample_bilinear(features: Tensor, positions: Tensor) -> Tensor:
    """Values of a feature map by linear interpolation between 2x2 pixels; beyond the border it is replicated.

    Args:
        features: (H, W, C).
        positions: (N, 2), x y, where integers are the centres of the map's pixels.

    Returns:
        (N, C).
    """
    height, width, channels = features.shape
    first = positions.floor()
    x, y = (positions - first).unsqueeze(2).unbind(1)
    left, top = first.long().unbind(1)
    (left, right), (top, bottom) = (
        (clamp_indices(i, size), clamp_indices(i + 1, size)) for i, size in ((left, width), (top, height))
    )
    rows = features.reshape(-1, channels)
    upper, lower = (
        torch.index_select(rows, 0, row * width + left) * (1 - x) + torch.index_select(rows, 0, row * width + right) * x
        for row in (top, bottom)
    )
    return upper * (1 - y) + lower * y


def sample_bicubic(features: Tensor, positions: Tensor) -> Tensor:
    """The same by cubic convolution over 4x4 pixels."""
    height, width, channels = features.shape
    first = positions.floor()
    weights = _cubic_weights(positions - first)
    columns, rows = (first.long()[:, :, None] + torch.arange(-1, 3)).unbind(1)
    indices = clamp_indices(rows, height)[:, :, None] * width + clamp_indices(columns, width)[:, None, :]
    gathered = torch.index_select(features.reshape(-1, channels), 0, indices.flatten()).reshape(-1, 16, channels)
    products = weights[:, 1, :, None] * weights[:, 0, None, :]
    return (products.reshape(-1, 1, 16) @ gathered).squeeze(1)


def _cubic_weights(fraction: Tensor) -> Tensor:
    """Weights (..., 4) of the pixels at -1, 0, 1, 2 for fractions in [0, 1)."""
    far, near = fraction + 1, 1 - fraction
    return torch.stack((_outer(far), _inner(fraction), _inner(near), _outer(near + 1)), dim=-1)


def _inner(distance: Tensor) -> Tensor:
    """Cubic kernel at distances up to 1."""
    return ((_A + 2) * distance - (_A + 3)) * distance * distance + 1


def _outer(distance: Tensor) -> Tensor:
    """Cubic kernel at distances from 1 to 2."""
    return ((_A * distance - 5 * _A) * distance + 8 * _A) * distance - 4 * _A


def upsample(score_map: Tensor, factor: int) -> Tensor:
    """A map (H, W) in finer pixels, bilinear; beyond the centres of the outer pixels it is replicated."""
    return F.interpolate(score_map[None, None], scale_factor=float(factor), mode="bilinear").squeeze((0, 1))


def normalize(vectors: Tensor) -> Tensor:
    """Vectors (..., C) of length 1; those of length 0 stay so."""
    return vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True).clamp(min=1e-12)
