"""Deformable convolution (Dai et al., ICCV 2017): in PyTorch, and as one operator in an ONNX file."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        weight, bias = self.regular_conv.weight, self.regular_conv.bias
        assert bias is not None
        if torch.onnx.is_in_onnx_export():
            return _onnx_operator(x, offsets, weight, bias)
        return deformable_convolution(x, offsets, weight, bias)


def deformable_convolution(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The convolution of x (1, C, H, W) with offsets (1, 18, H, W): y and x of each tap, row by row."""
    height, width = x.shape[2:]
    taps = torch.arange(_KERNEL) - _PADDING
    moved = offsets.reshape(_KERNEL, _KERNEL, 2, height, width)
    rows = torch.arange(height)[:, None] + taps[:, None, None, None] + moved[:, :, 0]
    columns = torch.arange(width) + taps[None, :, None, None] + moved[:, :, 1]
    # to [-1, 1] between the centres of the outer pixels; beyond them the input is zero
    grid = torch.stack((2 * columns / (width - 1) - 1, 2 * rows / (height - 1) - 1), dim=-1)
    sampled = F.grid_sample(x, grid.reshape(1, -1, width, 2), mode="bilinear", align_corners=True)
    sampled = sampled.reshape(x.shape[1], _KERNEL, _KERNEL, height, width)
    return torch.einsum("cijhw,ocij->ohw", sampled, weight)[None] + bias[:, None, None]


def _onnx_operator(x: Tensor, offsets: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    convolved: Tensor = torch.onnx.ops.symbolic(
        "DeformConv",
        (x, weight, offsets, bias),
        {"kernel_shape": [_KERNEL, _KERNEL], "pads": 4 * [_PADDING]},
        dtype=x.dtype,
        shape=(1, weight.shape[0], x.shape[2], x.shape[3]),
        version=19,
    )
    return convolved
