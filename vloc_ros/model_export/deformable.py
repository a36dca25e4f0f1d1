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

"""Deformable convolution (Dai et al., ICCV 2017), of operators that every ONNX Runtime has.

ONNX has an operator for it, which ONNX Runtime did not implement on the CPU up to version 1.24 at least.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vloc_ros.model_export.sampling import sample_bilinear

_KERNEL, _PADDING = 3, 1


class DeformableConv2d(nn.Module):
    """A 3x3 convolution whose taps are moved by offsets that another convolution predicts."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.offset_conv = nn.Conv2d(inputs, 2 * _KERNEL * _KERNEL, _KERNEL, padding=_PADDING)
        self.regular_conv = nn.Conv2d(inputs, outputs, _KERNEL, padding=_PADDING)

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, H, W) to (1, outputs, H, W)."""
        limit = torch.sym_max(x.shape[2], x.shape[3]) / 4
        offsets = self.offset_conv(x).clamp(min=-limit, max=limit)
        assert self.regular_conv.bias is not None
        return deformable_convolution(x, offsets, self.regular_conv.weight, self.regular_conv.bias)


def deformable_convolution(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of x (1, C, H, W) with offsets (1, 18, H, W): y and x of each tap, row by row."""
    channels, height, width = x.shape[1:]
    taps = torch.arange(_KERNEL) - _PADDING
    moved = offsets.reshape(_KERNEL, _KERNEL, 2, height, width).permute(3, 4, 0, 1, 2)
    rows = moved[..., 0] + torch.arange(height)[:, None, None, None] + taps[:, None]
    columns = moved[..., 1] + torch.arange(width)[:, None, None] + taps
    # beyond the border is zero: one ring of zeros, on which all positions outside end
    padded = F.pad(x, (1, 1, 1, 1)).squeeze(0).permute(1, 2, 0)
    positions = torch.stack((columns.clamp(min=-1, max=width), rows.clamp(min=-1, max=height)), dim=-1) + 1
    sampled = sample_bilinear(padded, positions.reshape(-1, 2)).reshape(-1, _KERNEL * _KERNEL * channels)
    convolved = sampled @ weight.permute(2, 3, 1, 0).flatten(0, 2) + bias
    return convolved.reshape(1, height, width, -1).permute(0, 3, 1, 2)
