"""A trained recogniser as a folder that a robot loads: `model.onnx` and `manifest.json`, without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from training.onnx_files import ExportError, described, onnx_bytes_of, session_of
from training.recognition.fitting import recognize_with
from training.recognition.model import RecognitionNetwork
from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.landmark_recognizer import CONVENTION, KIND
from vloc_ros.inference.models import write_model

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkTable

INPUTS = ("rays", "descriptors")
OUTPUTS = ("background", "landmarks", "probabilities", "coarse")
_TOLERANCE = 1e-4
_TRIED = (1, 2, 37, 512)


def export(
    model: RecognitionNetwork,
    landmarks: LandmarkTable,
    folder: Path,
    *,
    extractor: ExtractorConfig,
    keypoints: int,
    training: Mapping[str, Any],
) -> None:
    """Write a model folder.

    Args:
        model: in evaluation mode, on the CPU.
        landmarks: what its answers name.
        folder: to write.
        extractor: of the keypoints that it was trained on.
        keypoints: per image, strongest first.
        training: how it came about, JSON only.

    Raises:
        ExportError: ONNX Runtime answers otherwise than the model.
        StorageError: the folder cannot be written.
    """
    onnx_bytes = onnx_of(model)
    check_parity(model, onnx_bytes)
    manifest = {
        "kind": KIND,
        **described(onnx_bytes),
        "keypoints": {"extractor": asdict(extractor), "convention": CONVENTION, "max_keypoints": keypoints},
        "landmarks": {
            "keys": [f"{int(key) & (2**64 - 1):016x}" for key in landmarks.keys],
            "parents": [int(parent) for parent in landmarks.parents],
        },
        "training": dict(training),
    }
    write_model(folder, onnx_bytes, manifest)


def onnx_of(model: RecognitionNetwork) -> bytes:
    """The model for one image of any number of keypoints."""
    dimension = model.described[0].in_features
    sample = torch.zeros(5, 2), torch.zeros(5, dimension)
    count = torch.export.Dim("keypoints", min=1, max=1 << 16)
    shapes = {"rays": {0: count}, "descriptors": {0: count}}
    return onnx_bytes_of(model, sample, inputs=INPUTS, outputs=OUTPUTS, dynamic_shapes=shapes)


def check_parity(model: RecognitionNetwork, onnx_bytes: bytes) -> None:
    """Compare the two on keypoints made by lot.

    Raises:
        ExportError: they differ.
    """
    session, recognize, rng = session_of(onnx_bytes), recognize_with(model), np.random.default_rng(0)
    for count in _TRIED:
        rays = rng.uniform(-0.6, 0.6, (count, 2)).astype(np.float32)
        descriptors = rng.uniform(0, 1, (count, model.described[0].in_features)).astype(np.float32)
        descriptors /= np.linalg.norm(descriptors, axis=1, keepdims=True)
        expected = recognize(rays, descriptors)
        found = session.run(OUTPUTS, {"rays": rays, "descriptors": descriptors})
        for name, apart in _differences(expected, found).items():
            if not apart <= _TOLERANCE:
                raise ExportError(
                    f"of {count} keypoints the exported model's {name} differs by {apart:.2g} from the trained one's, "
                    f"expected at most {_TOLERANCE:g}; use other versions of torch and onnxruntime"
                )


def _differences(expected: Sequence[Array], found: Sequence[Array]) -> dict[str, float]:
    """Largest difference by output; coarse evidence, which grows with the keypoints, as a mean over them.

    Two landmarks with the same evidence may come in either order, and either of them may be the last one: each is
    compared with itself, and one that the other side lacks must have no more than it has.
    """
    background, landmarks, probabilities, coarse = expected
    ours, theirs = (
        {int(row[0]): part for row, part in zip(names, np.moveaxis(shares, 1, 0), strict=True)}
        for names, shares in ((landmarks, probabilities), (found[1], found[2]))
    )
    common = ours.keys() & theirs.keys()
    n = len(background)
    least = min(float(part.sum()) for part in ours.values()) / n
    single = [abs(float(side[key].sum()) / n - least) for side in (ours, theirs) for key in side.keys() - common]
    return {
        "background": float(np.abs(background - found[0]).max()),
        "landmarks": max(single, default=0.0),
        "probabilities": max((float(np.abs(ours[key] - theirs[key]).max()) for key in common), default=0.0),
        "coarse": float(np.abs(coarse - found[3]).max()) / n,
    }
