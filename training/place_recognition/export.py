"""Export of a trained global descriptor model to a folder that a robot loads without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.place_recognition.encoders import Encoder
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.global_descriptors import KIND
from vloc_ros.inference.models import write_model
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.model_export.onnx_files import ExportError, describe_io, export_onnx, open_session

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
    onnx_bytes = convert_to_onnx(encoder, batch=batch)
    check_parity(encoder, onnx_bytes, np.stack([preprocessing.apply(image) for image in images]), batch=batch)
    manifest = {
        "kind": KIND,
        **describe_io(onnx_bytes),
        "preprocessing": preprocessing.to_manifest(),
        "training": dict(training),
    }
    write_model(folder, onnx_bytes, manifest)


def convert_to_onnx(encoder: Encoder, *, batch: int | None = None) -> bytes:
    """The encoder as an ONNX file with a fixed or a dynamic batch size."""
    sample = torch.zeros(batch or 2, 3, *encoder.size)
    shapes = None if batch else {"images": {0: torch.export.Dim("batch", min=1, max=_MOST)}}
    return export_onnx(encoder, (sample,), inputs=(INPUT,), outputs=(OUTPUT,), dynamic_shapes=shapes)


@torch.no_grad()
def check_parity(encoder: Encoder, onnx_bytes: bytes, images: Array, *, batch: int | None = None) -> float:
    """The largest difference of the two on (N, 3, H, W) images.

    Raises:
        ExportError: the difference is too large.
    """
    session, count = open_session(onnx_bytes), batch or len(images)
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % count, axis=0)])
    parts = [padded[first : first + count] for first in range(0, len(padded), count)]
    found = np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in parts])
    expected = encoder(torch.from_numpy(padded)).numpy()
    difference = float(np.abs(found - expected).max())
    if not difference <= _TOLERANCE:
        raise ExportError(
            f"the exported model's descriptors differ by {difference:.2g} from the trained one's, expected at most "
            f"{_TOLERANCE:g}; use other versions of torch and onnxruntime"
        )
    return difference
