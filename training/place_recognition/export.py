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

"""Export of a trained global descriptor model to a folder that a robot loads without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.framework.export import ParityCheck, Signature, export_network
from training.place_recognition.encoders import Encoder
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.preprocessing import Preprocessing

INPUT, OUTPUT = "images", "descriptors"
_TOLERANCE = 1e-3
_MOST = 1 << 12


def export(
    encoder: Encoder,
    folder: Path,
    *,
    preprocessing: Preprocessing,
    images: Sequence[Array],
    training: Mapping[str, Any],
    batch: int | None = None,
) -> None:
    """Write a model folder.

    Args:
        encoder: one that takes images alone, in evaluation mode, on the CPU.
        folder: to write.
        preprocessing: of its images.
        images: (H, W) or (H, W, 3) uint8, on which encoder and export are compared.
        training: provenance of the model, as JSON types.
        batch: fixed batch size; None for a dynamic one.

    Raises:
        ExportError: the descriptors of ONNX Runtime differ from the encoder's.
        StorageError: the folder cannot be written.
    """
    export_network(
        encoder,
        folder,
        describe_signature(encoder, batch=batch),
        compare_on(np.stack([preprocessing.apply(image) for image in images]), batch=batch),
        kind=KIND,
        training=training,
        entries={"preprocessing": preprocessing.to_manifest()},
    )


def describe_signature(encoder: Encoder, *, batch: int | None = None) -> Signature:
    """Images in, descriptors out, with a fixed or a dynamic batch size."""
    dynamic = {} if batch else {INPUT: {0: torch.export.Dim("batch", min=1, max=_MOST)}}
    return Signature({INPUT: torch.zeros(batch or 2, 3, *encoder.size)}, (OUTPUT,), dynamic)


def compare_on(images: Array, *, batch: int | None = None) -> ParityCheck:
    """The comparison on (N, 3, H, W) images; the last batch is filled up with the last image."""
    count = batch or len(images)
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % count, axis=0)])
    return ParityCheck([{INPUT: padded[first : first + count]} for first in range(0, len(padded), count)], _TOLERANCE)
