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

"""Export of a trained network to a folder that a robot loads without torch, compared with the network before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import write_model
from vloc_ros.inference.references import References
from vloc_ros.model_export.onnx_files import ExportError, describe_io, export_onnx, open_session

Outputs = Sequence[Array]
_MOST_REFERENCE_BYTES = 4 << 20


def largest_differences(expected: Outputs, found: Outputs) -> list[float]:
    """The largest absolute difference of each output."""
    return [float(np.abs(a - b).max(initial=0)) for a, b in zip(expected, found, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Signature:
    """The arguments and results of an exported network.

    Attributes:
        inputs: an example of each argument, by name and in order.
        outputs: names of the results.
        dynamic: dynamic dimensions by argument, as for torch.export; empty if all are fixed.
    """

    inputs: Mapping[str, Tensor]
    outputs: Sequence[str]
    dynamic: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class ParityCheck:
    """How the exported network is compared with the trained one.

    Attributes:
        samples: arguments by name, of several calls.
        tolerance: largest difference of an output.
        differences: largest difference of each output, in order, of the expected and the found outputs.
    """

    samples: Iterable[Mapping[str, Array]]
    tolerance: float
    differences: Callable[[Outputs, Outputs], Sequence[float]] = largest_differences


def export_network(
    network: nn.Module,
    folder: Path,
    signature: Signature,
    parity: ParityCheck,
    *,
    kind: str,
    training: Mapping[str, Any],
    entries: Mapping[str, Any],
) -> None:
    """Write a model folder.

    Args:
        network: in evaluation mode, on the CPU.
        folder: to write.
        signature: of the network.
        parity: the comparison.
        kind: of model.
        training: provenance of the model, as JSON types, see `training_metadata`.
        entries: of the manifest, for this kind.

    Raises:
        ExportError: the outputs of ONNX Runtime differ from the network's.
        StorageError: the folder cannot be written.
    """
    onnx_bytes = convert_to_onnx(network, signature)
    samples = list(parity.samples)
    check_parity(network, onnx_bytes, signature, replace(parity, samples=samples))
    manifest = {"kind": kind, **describe_io(onnx_bytes), **entries, "training": dict(training)}
    write_model(folder, onnx_bytes, manifest, references=make_references(network, signature, samples).to_bytes())


def convert_to_onnx(network: nn.Module, signature: Signature) -> bytes:
    """The network as an ONNX file."""
    return export_onnx(
        network,
        tuple(signature.inputs.values()),
        inputs=tuple(signature.inputs),
        outputs=signature.outputs,
        dynamic_shapes=signature.dynamic or None,
    )


@torch.no_grad()
def make_references(network: nn.Module, signature: Signature, samples: Sequence[Mapping[str, Array]]) -> References:
    """What the network gives for the largest of the samples that keeps the model folder small, else the smallest."""

    def size(sample: Mapping[str, Array]) -> int:
        return sum(array.nbytes for array in sample.values())

    small = [sample for sample in samples if size(sample) <= _MOST_REFERENCE_BYTES]
    sample = max(small, key=size) if small else min(samples, key=size)
    outputs = network(*(torch.from_numpy(sample[name]) for name in signature.inputs))
    found = (outputs,) if isinstance(outputs, Tensor) else outputs
    return References(sample, {name: part.numpy() for name, part in zip(signature.outputs, found, strict=True)})


@torch.no_grad()
def check_parity(network: nn.Module, onnx_bytes: bytes, signature: Signature, parity: ParityCheck) -> None:
    """Compare the two.

    Raises:
        ExportError: an output differs too much.
    """
    session = open_session(onnx_bytes)
    for sample in parity.samples:
        outputs = network(*(torch.from_numpy(sample[name]) for name in signature.inputs))
        expected = [part.numpy() for part in ((outputs,) if isinstance(outputs, Tensor) else outputs)]
        differences = parity.differences(expected, session.run(signature.outputs, dict(sample)))
        for name, difference in zip(signature.outputs, differences, strict=True):
            if not difference <= parity.tolerance:
                raise ExportError(
                    f"the exported model's {name} differs by {difference:.2g} from the trained one's, expected at "
                    f"most {parity.tolerance:g}; use other versions of torch and onnxruntime"
                )
