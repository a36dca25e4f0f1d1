"""A trained recogniser as a folder that a robot loads: `model.onnx` and `manifest.json`, without torch."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch

from training.recognition.fitting import recognize_with
from training.recognition.model import LandmarkRecognizer
from vloc_ros.core.config import ExtractorConfig
from vloc_ros.core.errors import VlocError
from vloc_ros.storage.atomic import write_bytes_atomically

if TYPE_CHECKING:
    from vloc_ros.core.landmark_map import LandmarkTable

INPUTS = ("rays", "descriptors")
OUTPUTS = ("background", "landmarks", "probabilities", "coarse")
_OPSET = 18
_TOLERANCE = 1e-4
_TRIED = (1, 2, 37, 512)


class ExportError(VlocError):
    """The exported model does not say what the trained one says."""


def export(
    model: LandmarkRecognizer,
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
        "kind": "recognizer",
        **_described(onnx_bytes),
        "keypoints": {"extractor": asdict(extractor), "convention": "rays", "max_keypoints": keypoints},
        "landmarks": {
            "keys": [f"{int(key) & (2**64 - 1):016x}" for key in landmarks.keys],
            "parents": [int(parent) for parent in landmarks.parents],
        },
        "training": dict(training),
    }
    _write_model(folder, onnx_bytes, manifest)


def onnx_of(model: LandmarkRecognizer) -> bytes:
    """The model for one image of any number of keypoints."""
    dimension = model.described[0].in_features
    sample = torch.zeros(5, 2), torch.zeros(5, dimension)
    count, written = torch.export.Dim("keypoints", min=1, max=1 << 16), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            model,
            sample,
            input_names=INPUTS,
            output_names=OUTPUTS,
            dynamic_shapes={"rays": {0: count}, "descriptors": {0: count}},
            opset_version=_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert program is not None
    program.save(written, external_data=False)
    return written.getvalue()


def session_of(onnx_bytes: bytes, *, threads: int = 2) -> onnxruntime.InferenceSession:
    """ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])


def check_parity(model: LandmarkRecognizer, onnx_bytes: bytes) -> None:
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
        for name, ours, theirs in zip(OUTPUTS, expected, found, strict=True):
            apart = np.abs(ours.astype(np.float64) - theirs).max() if ours.shape == theirs.shape else np.inf
            if not apart <= _TOLERANCE * max(1.0, float(np.abs(ours).max()) if name == "coarse" else 1.0):
                raise ExportError(
                    f"of {count} keypoints the exported model's {name} differs by {apart:.2g} from the trained one's, "
                    f"expected at most {_TOLERANCE:g}; use other versions of torch and onnxruntime"
                )


def _described(onnx_bytes: bytes) -> dict[str, Any]:
    session = session_of(onnx_bytes)
    dtypes = {"tensor(float)": "float32", "tensor(int64)": "int64"}
    inputs, outputs = (
        {node.name: {"dtype": dtypes[node.type], "shape": [s if isinstance(s, int) else "N" for s in node.shape]} for node in nodes}
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    return {"inputs": inputs, "outputs": outputs}


def _write_model(folder: Path, onnx_bytes: bytes, manifest: Mapping[str, Any]) -> None:
    content = {"format": "vloc_ros model", "version": 1, **manifest}
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    content["hash"] = hashlib.sha256(canonical + onnx_bytes).hexdigest()
    write_bytes_atomically(folder / "model.onnx", onnx_bytes)
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n"
    write_bytes_atomically(folder / "manifest.json", text.encode())
