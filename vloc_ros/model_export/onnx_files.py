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

"""PyTorch modules as ONNX files with their weights inside, and the inputs and outputs of such a file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnxruntime
import onnxscript  # noqa: F401  torch.onnx.export needs it, and says so only late
import torch
from torch import Tensor, nn

from vloc_ros.core.errors import VlocError

_OPSET = 18
_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(uint8)": "uint8", "tensor(bool)": "bool"}


class ExportError(VlocError):
    """The outputs of the exported model differ from those of the network."""


def export_onnx(
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
        sample: example arguments.
        inputs: names of its arguments.
        outputs: names of its results.
        dynamic_shapes: dynamic dimensions by argument, as for torch.export; None if all are fixed.
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


def open_session(onnx_bytes: bytes, *, threads: int = 2) -> onnxruntime.InferenceSession:
    """A session of ONNX Runtime on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    return onnxruntime.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])


def describe_io(onnx_bytes: bytes) -> dict[str, Any]:
    """`inputs` and `outputs` of a manifest: type and shape by name, N for a dynamic size."""
    session = open_session(onnx_bytes)
    inputs, outputs = (
        {
            node.name: {"dtype": _DTYPES[node.type], "shape": [s if isinstance(s, int) else "N" for s in node.shape]}
            for node in nodes
        }
        for nodes in (session.get_inputs(), session.get_outputs())
    )
    return {"inputs": inputs, "outputs": outputs}
