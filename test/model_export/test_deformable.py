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

"""Deformable convolution in PyTorch and in an exported graph."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from vloc_ros.model_export.deformable import DeformableConv2d, deformable_convolution
from vloc_ros.model_export.onnx_files import export_onnx, open_session


def arguments():
    torch.manual_seed(0)
    return torch.randn(1, 4, 9, 7), 3 * torch.randn(1, 18, 9, 7), torch.randn(5, 4, 3, 3), torch.randn(5)


def test_without_offsets_it_is_a_convolution() -> None:
    x, offsets, weight, bias = arguments()
    found = deformable_convolution(x, torch.zeros_like(offsets), weight, bias)
    assert torch.allclose(found, F.conv2d(x, weight, bias, padding=1), atol=1e-5)


def test_it_is_that_of_torchvision() -> None:
    ops = pytest.importorskip("torchvision.ops", reason="no torchvision to compare with")
    x, offsets, weight, bias = arguments()
    expected = ops.deform_conv2d(x, offsets, weight, bias, padding=1)
    assert torch.allclose(deformable_convolution(x, offsets, weight, bias), expected, atol=1e-4)


@pytest.mark.slow
def test_the_exported_graph_gives_the_same() -> None:
    torch.manual_seed(0)
    module = DeformableConv2d(4, 5).eval()
    module.offset_conv.weight.data *= 10
    sample = torch.randn(1, 4, 9, 7)
    onnx_bytes = export_onnx(
        module, (sample,), inputs=("x",), outputs=("y",), dynamic_shapes={"x": {2: torch.export.Dim.AUTO}}
    )
    for height in (9, 14):
        x = torch.randn(1, 4, height, 7)
        (found,) = open_session(onnx_bytes).run(None, {"x": x.numpy()})
        assert torch.allclose(torch.from_numpy(found), module(x), atol=1e-4)
