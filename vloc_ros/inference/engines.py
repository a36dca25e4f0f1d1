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

"""Engines run a model: named arrays in, named arrays out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.models import Model

ON_CPU = InferenceConfig()


class Engine(Protocol):
    """Runs one model. Not thread-safe."""

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        ...


class OnnxRuntime:
    """ONNX Runtime with the requested execution provider, without a fall-back to another one."""

    def __init__(self, model: Model, *, provider: str = "CPUExecutionProvider", threads: int = 0) -> None:
        """Load the graph.

        Args:
            model: the graph, and its manifest with the names of inputs and outputs.
            provider: an execution provider of ONNX Runtime.
            threads: within one operator; 0 for one per core.

        Raises:
            ModelError: the provider is not available or cannot be used, or the graph does not match its manifest.
        """
        import onnxruntime

        available = onnxruntime.get_available_providers()
        if provider not in available:
            raise ModelError(
                f"ONNX Runtime has no {provider} here, expected one of {', '.join(available)}; choose one of these "
                "with inference.provider, or install the ONNX Runtime that has it"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # between images the threads would wait in a loop, on cores that a robot needs for other things
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(model.graph, options, providers=[provider])
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise ModelError(f"{model.folder}: ONNX Runtime cannot load the model ({first_line(error)})") from error
        if provider not in (used := self._session.get_providers()):
            raise ModelError(
                f"ONNX Runtime cannot use {provider} here, it fell back to {', '.join(used)}; install the libraries "
                "that the provider needs, or choose another one with inference.provider"
            )
        self._session.disable_fallback()
        found = {
            "inputs": {value.name for value in self._session.get_inputs()},
            "outputs": {value.name for value in self._session.get_outputs()},
        }
        for side, names in found.items():
            if names != set(model.entry(side)):
                expected = ", ".join(sorted(model.entry(side)))
                raise ModelError(f"{model.folder}: its graph has the {side} {', '.join(sorted(names))}, its manifest "
                                 f"declares {expected}; {model.remedy}")  # fmt: skip
        self._outputs = sorted(found["outputs"])

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        values = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return dict(zip(self._outputs, self._session.run(self._outputs, values), strict=True))


def start_engine(model: Model, inference: InferenceConfig) -> Engine:
    """The engine of a model.

    Raises:
        ModelError: the provider is not available or cannot be used, or the graph does not match its manifest.
    """
    return OnnxRuntime(model, provider=inference.provider, threads=inference.threads)


def first_line(error: Exception) -> str:
    """The first line of an engine's error message; the others are about its internals."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
