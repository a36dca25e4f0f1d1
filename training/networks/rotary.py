"""Rotary position encoding (Su et al. 2021): dot products depend on the difference of two angles alone."""

from __future__ import annotations

import torch
from torch import Tensor


def apply_rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., N, 2 h) numbers, taken as h pairs, rotated by angles with these (..., N, h) cosines and sines."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
