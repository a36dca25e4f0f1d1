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

"""Sparse convolutions give what dense ones give at the voxels that are there."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch
from torch import Tensor
from torch.nn.functional import conv3d

from training.networks.sparse_convolution import SparseConvolution, SparseVoxels


def _voxels(seed: int, shape: tuple[int, int, int]) -> SparseVoxels:
    generator = torch.Generator().manual_seed(seed)
    there = torch.rand((2, *shape), generator=generator) < 0.15
    indices = torch.nonzero(there)
    indices = indices[torch.randperm(len(indices), generator=generator)]
    return SparseVoxels(torch.randn((len(indices), 3), generator=generator), indices, shape, 2)


def _dense(convolution: SparseConvolution, voxels: SparseVoxels) -> Tensor:
    weight = convolution.weight.view(3, 3, 3, 3, 5).permute(4, 3, 0, 1, 2)
    return conv3d(voxels.to_dense(), weight, stride=convolution.stride, padding=1)


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (2, 2, 1)])
def test_as_dense_at_its_voxels(stride: tuple[int, int, int]) -> None:
    voxels, convolution = _voxels(1, (7, 6, 5)), SparseConvolution(3, 5, stride=stride)
    found, expected = convolution(voxels), _dense(convolution, voxels)
    assert found.to_dense().shape == expected.shape
    at = tuple(found.indices.T)
    torch.testing.assert_close(found.features, expected.permute(0, 2, 3, 4, 1)[at], rtol=1e-4, atol=1e-5)
    if stride != (1, 1, 1):  # nothing is left out
        torch.testing.assert_close(found.to_dense(), expected, rtol=1e-4, atol=1e-5)


def test_half_precision_is_added_up_in_the_features_own() -> None:
    voxels, convolution = _voxels(2, (7, 6, 5)), SparseConvolution(3, 5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = convolution(voxels).features
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, convolution(voxels).features, rtol=0.05, atol=0.05)


def test_gradients_reach_weights_and_features() -> None:
    voxels, convolution = _voxels(2, (7, 6, 5)), SparseConvolution(3, 5)
    features = voxels.features.clone().requires_grad_()
    convolution(voxels._replace(features=features)).features.square().sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0
    assert (convolution.weight.grad.abs().sum(dim=(1, 2)) > 0).all()
