"""Rotary encoding: numbers turned by angles, so that products of two depend on the angles' difference alone."""

from __future__ import annotations

import torch
from torch import Tensor


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """(..., N, 2 h) numbers, taken as h pairs, turned by angles with these (..., N, h) cosines and sines."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
