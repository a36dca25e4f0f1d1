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

"""Sparse 3-D convolution in plain PyTorch: rules of which voxel contributes to which, then a product per offset.

Submanifold convolution (Graham, Engelcke and van der Maaten 2018) has outputs only where there are inputs; a strided
one has an output wherever a window touches an input. Outside the voxels all is 0, as a dense convolution pads.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

_KERNEL = 3


class SparseVoxels(NamedTuple):
    """Features of occupied voxels.

    Attributes:
        features: (N, C).
        indices: (N, 4) int64 batch, x, y, z, each row once.
        shape: voxels along x, y and z.
        batch: number of clouds.
    """

    features: Tensor
    indices: Tensor
    shape: tuple[int, int, int]
    batch: int

    def keys(self) -> Tensor:
        """(N,) int64 number of each voxel, in the order of batch, x, y, z."""
        return _number(self.indices, self.shape)

    def to_dense(self) -> Tensor:
        """(B, C, X, Y, Z), zero where there is no voxel."""
        dense = self.features.new_zeros((self.batch, *self.shape, self.features.shape[1]))
        dense[tuple(self.indices.T)] = self.features
        return dense.permute(0, 4, 1, 2, 3)


class SparseConvolution(nn.Module):
    """A 3x3x3 convolution with a padding of 1, without a bias, over occupied voxels.

    Attributes:
        stride: 1 for a submanifold convolution, or the stride along x, y and z.
    """

    def __init__(self, channels: int, out: int, *, stride: tuple[int, int, int] = (1, 1, 1)) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.empty(_KERNEL**3, channels, out))
        nn.init.normal_(self.weight, std=(2.0 / (_KERNEL**3 * channels)) ** 0.5)

    def forward(self, voxels: SparseVoxels) -> SparseVoxels:
        """The convolved voxels."""
        is_submanifold = self.stride == (1, 1, 1)
        shape = tuple((size - 1) // step + 1 for size, step in zip(voxels.shape, self.stride, strict=True))
        outputs = voxels.indices if is_submanifold else self._touched(voxels, (shape[0], shape[1], shape[2]))
        order = torch.argsort(voxels.keys())
        sorted_keys = voxels.keys()[order]
        found = voxels.features.new_zeros((len(outputs), self.weight.shape[2]))
        strides = torch.tensor(self.stride, device=outputs.device)
        for number, offset in enumerate(_offsets(outputs.device)):
            sources = outputs.clone()
            sources[:, 1:] = outputs[:, 1:] * strides + offset
            rows, columns = _match(sources, sorted_keys, order, voxels.shape)
            # autocast multiplies in half precision and adds in none: the sum keeps the features' own
            product = (voxels.features[columns] @ self.weight[number]).to(found.dtype)
            found = found.index_add(0, rows, product)
        return SparseVoxels(found, outputs, (shape[0], shape[1], shape[2]), voxels.batch)

    def _touched(self, voxels: SparseVoxels, shape: tuple[int, int, int]) -> Tensor:
        """(M, 4) outputs whose window holds an input, each once, in the order of their numbers."""
        strides, limit = (torch.tensor(part, device=voxels.indices.device) for part in (self.stride, shape))
        found = []
        for offset in _offsets(voxels.indices.device):
            place = voxels.indices[:, 1:] - offset
            fits = (place % strides == 0).all(dim=1) & (place >= 0).all(dim=1)
            target = torch.div(place, strides, rounding_mode="floor")
            fits &= (target < limit).all(dim=1)
            found.append(torch.cat([voxels.indices[fits, :1], target[fits]], dim=1))
        return torch.unique(torch.cat(found), dim=0)


def _offsets(device: torch.device) -> Tensor:
    """(27, 3) offsets of a window, from -1 to 1, the last axis fastest."""
    steps = torch.arange(-(_KERNEL // 2), _KERNEL // 2 + 1, device=device)
    return torch.cartesian_prod(steps, steps, steps)


def _match(places: Tensor, sorted_keys: Tensor, order: Tensor, shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Rows of places that are voxels, and which voxels they are."""
    limit = torch.tensor(shape, device=places.device)
    inside = ((places[:, 1:] >= 0) & (places[:, 1:] < limit)).all(dim=1)
    keys = _number(places, shape)
    at = torch.searchsorted(sorted_keys, keys).clamp(max=len(sorted_keys) - 1)
    there = torch.nonzero(inside & (sorted_keys[at] == keys)).flatten()
    return there, order[at[there]]


def _number(indices: Tensor, shape: tuple[int, int, int]) -> Tensor:
    batch, x, y, z = indices.T
    return ((batch * shape[0] + x) * shape[1] + y) * shape[2] + z
