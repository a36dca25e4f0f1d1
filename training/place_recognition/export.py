"""A trained place encoder as a folder that a robot loads: `model.onnx` and `manifest.json`, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training.onnx_files import ExportError, described, onnx_bytes_of, session_of
from training.place_recognition.encoders import Encoder
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import write_model
from vloc_ros.inference.preprocessing import Preprocessing

KIND = "place encoder"
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
        encoder: of images alone, in evaluation mode, on the CPU.
        folder: to write.
        preprocessing: of its images.
        images: (H, W) or (H, W, 3) uint8, on which both have to say the same.
        training: how it came about, JSON only.
        batch: images at a time; None for any number.

    Raises:
        ExportError: ONNX Runtime answers otherwise than the encoder.
        StorageError: the folder cannot be written.
    """
    onnx_bytes = onnx_of(encoder, batch=batch)
    check_parity(encoder, onnx_bytes, np.stack([preprocessing.apply(image) for image in images]), batch=batch)
    manifest = {
        "kind": KIND,
        **described(onnx_bytes),
        "preprocessing": preprocessing.to_manifest(),
        "training": dict(training),
    }
    write_model(folder, onnx_bytes, manifest)


def onnx_of(encoder: Encoder, *, batch: int | None = None) -> bytes:
    """The encoder for so many images at a time, or for any number."""
    sample = torch.zeros(batch or 2, 3, *encoder.size)
    shapes = None if batch else {"images": {0: torch.export.Dim("batch", min=1, max=_MOST)}}
    return onnx_bytes_of(encoder, (sample,), inputs=(INPUT,), outputs=(OUTPUT,), dynamic_shapes=shapes)


@torch.no_grad()
def check_parity(encoder: Encoder, onnx_bytes: bytes, images: Array, *, batch: int | None = None) -> float:
    """Compare the two on (N, 3, H, W) images, all at once or so many at a time; the largest difference.

    Raises:
        ExportError: they differ.
    """
    session, count = session_of(onnx_bytes), batch or len(images)
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % count, axis=0)])
    parts = [padded[first : first + count] for first in range(0, len(padded), count)]
    found = np.concatenate([session.run([OUTPUT], {INPUT: part})[0] for part in parts])
    expected = encoder(torch.from_numpy(padded)).numpy()
    apart = float(np.abs(found - expected).max())
    if not apart <= _TOLERANCE:
        raise ExportError(
            f"the exported model's descriptors differ by {apart:.2g} from the trained one's, expected at most "
            f"{_TOLERANCE:g}; use other versions of torch and onnxruntime"
        )
    return apart
