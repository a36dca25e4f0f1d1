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

"""Interpolation of feature maps, against PyTorch's and against what it must reproduce."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vloc_ros.model_export.sampling import normalize, sample_bicubic, sample_bilinear, upsample

SAMPLERS = {"bilinear": sample_bilinear, "bicubic": sample_bicubic}


@pytest.mark.parametrize("mode", SAMPLERS)
def test_values_are_those_of_grid_sample_at_the_same_pixels(mode: str) -> None:
    torch.manual_seed(0)
    features = torch.randn(11, 7, 3)
    positions = torch.rand(200, 2) * torch.tensor([9.0, 13.0]) - 1.5
    grid = 2 * positions / torch.tensor([6.0, 10.0]) - 1
    expected = F.grid_sample(
        features.permute(2, 0, 1)[None], grid[None, None], mode=mode, padding_mode="border", align_corners=True
    )[0, :, 0].T
    # PyTorch moves positions to the border, here only the pixels beyond it are replaced
    inside = ((positions >= 0) & (positions <= torch.tensor([6.0, 10.0]))).all(dim=1)
    assert inside.sum() > 50
    assert torch.allclose(SAMPLERS[mode](features, positions)[inside], expected[inside], atol=1e-5)


@pytest.mark.parametrize("mode", SAMPLERS)
def test_integers_are_the_centres_of_pixels(mode: str) -> None:
    features = torch.randn(4, 5, 2)
    found = SAMPLERS[mode](features, torch.tensor([[0.0, 0.0], [4.0, 3.0], [2.0, 1.0]]))
    assert torch.allclose(found, torch.stack((features[0, 0], features[3, 4], features[1, 2])), atol=1e-6)


def test_an_enlarged_map_has_its_values_at_the_centres_of_its_pixels() -> None:
    ramp = torch.arange(4.0).expand(3, 4)
    fine = upsample(ramp, 8)
    centres = torch.arange(32) / 8 - 7 / 16
    assert fine.shape == (24, 32)
    assert torch.allclose(fine, centres.clamp(0, 3).expand(24, 32), atol=1e-6)


def test_vectors_get_the_length_one_and_zero_stays_zero() -> None:
    assert torch.allclose(normalize(torch.tensor([[3.0, 4.0], [0.0, 0.0]])), torch.tensor([[0.6, 0.8], [0.0, 0.0]]))
