"""PyTorch modules as ONNX files with their weights inside, and what such a file says of itself."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime
import torch
from torch import Tensor, nn

from vloc_ros.core.errors import VlocError

_OPSET = 18
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


class ExportError(VlocError):
    """The exported model does not say what the trained one says."""


def onnx_bytes_of(
    model: nn.Module,
    sample: tuple[Tensor, ...],
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    dynamic_shapes: Mapping[str, Any] | None,
) -> bytes:
    """A module as an ONNX file.

    Args:
        model: in evaluation mode, on the CPU.
        sample: arguments that fit it.
        inputs: names of its arguments.
        outputs: names of what it returns.
        dynamic_shapes: by argument, the dimensions of any size, as torch.export has them; None for all fixed.
    """
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("onnxscript").setLevel(logging.ERROR)
        program = torch.onnx.export(
            model,
            sample,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=dynamic_shapes,
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


def described(onnx_bytes: bytes) -> dict[str, Any]:
    """`inputs` and `outputs` of a manifest: type and shape by name, N for any size."""
    session = session_of(onnx_bytes)
    inputs, outputs = (
        {
            node.name: {"dtype": _DTYPES[node.type], "shape": [s if isinstance(s, int) else "N" for s in node.shape]}
            for node in nodes
        }
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    return {"inputs": inputs, "outputs": outputs}
