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

"""Export of a network of place recognition to a model folder, for images of one size or of any."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.framework.cost import count_cost, count_parameters
from training.framework.export import Signature, export_network
from training.place_recognition.export import INPUT, OUTPUT, compare_on
from training.place_recognition.geolocalization.config import CROSSVIT, GRID, MIXVPR, STRIDE_PX, NetworkConfig
from training.place_recognition.geolocalization.network import ImageEncoder
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.preprocessing import Preprocessing

_MOST_IMAGES, _LARGEST_PX = 1 << 10, 1 << 13


def check_any_size(config: NetworkConfig) -> None:
    """Raise InputError for a network whose weights are of one size of images."""
    for what in {config.backbone, config.aggregation} & {CROSSVIT, GRID, MIXVPR}:
        raise InputError(f"--any-size: {what} has weights for one size of images; leave it out")


def export(
    network: ImageEncoder,
    folder: Path,
    *,
    preprocessing: Preprocessing,
    images: Sequence[Array],
    training: Mapping[str, Any],
    any_size: bool = False,
) -> None:
    """Write a model folder.

    Args:
        network: in evaluation mode, on the CPU.
        folder: to write.
        preprocessing: of its images.
        images: (H, W) or (H, W, 3) uint8, on which network and export are compared.
        training: provenance of the model, as JSON types.
        any_size: whether it takes images of any size, each at its own, as `vloc place test --scales` needs it.

    Raises:
        ExportError: the descriptors of ONNX Runtime differ from the network's.
        StorageError: the folder cannot be written.
    """
    cost = count_cost(network, (torch.zeros(1, 3, *network.size),))
    parameters = cost.parameters - count_parameters(network.training_only)
    entries: dict[str, Any] = {
        "preprocessing": preprocessing.to_manifest(),
        "cost": {"parameters": parameters / 1e6, "gmac": cost.mac / 1e9},
    }
    dynamic: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=_MOST_IMAGES)}
    if any_size:
        rows, columns = (torch.export.Dim(name, min=2, max=_LARGEST_PX // STRIDE_PX) for name in ("rows", "columns"))
        dynamic |= {2: STRIDE_PX * rows, 3: STRIDE_PX * columns}
        entries["stride"] = STRIDE_PX
    export_network(
        network,
        folder,
        Signature({INPUT: torch.zeros(2, 3, *network.size)}, (OUTPUT,), {INPUT: dynamic}),
        compare_on(np.stack([preprocessing.apply(image) for image in images])),
        kind=KIND,
        training=training,
        entries=entries,
    )
