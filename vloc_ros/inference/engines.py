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

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from vloc_ros.core.config import InferenceConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.engine_cache import BuiltEngine, default_cache, find_engine
from vloc_ros.inference.models import Model
from vloc_ros.inference.tensorrt_api import TENSORRT, TENSORRT_RTX
from vloc_ros.inference.tensorrt_engine import TensorRtEngine, explain_misfit

ON_CPU = InferenceConfig()
_CUDA = "CUDAExecutionProvider"
# operators that take nearly all of the time
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul"})
# what an engine waits for; a node shows it
_LOG = logging.getLogger("vloc_ros.inference")


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
        options = _session_options(onnxruntime, threads)
        try:
            self._session = onnxruntime.InferenceSession(model.graph, options, providers=[provider])
        except Exception as error:  # ONNX Runtime's exceptions have no other common base
            raise ModelError(f"{model.folder}: ONNX Runtime cannot load the model ({first_line(error)})") from error
        if provider not in (used := self._session.get_providers()):
            raise ModelError(
                f"ONNX Runtime cannot use {provider} here, it fell back to {', '.join(used)}; install the libraries "
                "that the provider needs, or choose another one with inference.provider"
            )
        if provider != ON_CPU.provider:
            check_partition(self._session, provider)
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
        # on the CPU a binding costs as much as it saves
        self._run = self._run_bound if provider == _CUDA else self._run_plainly

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        values = {name: np.ascontiguousarray(array) for name, array in inputs.items()}
        return dict(zip(self._outputs, self._run(values), strict=True))

    def _run_plainly(self, values: Mapping[str, Array]) -> list[Array]:
        found: list[Array] = self._session.run(self._outputs, values)
        return found

    def _run_bound(self, values: Mapping[str, Array]) -> list[Array]:
        """Run with inputs and outputs bound: what lies between them stays on the device."""
        binding = self._session.io_binding()
        for name, array in values.items():
            binding.bind_cpu_input(name, array)
        for name in self._outputs:
            binding.bind_output(name, "cpu")
        self._session.run_with_iobinding(binding)
        found: list[Array] = binding.copy_outputs_to_cpu()
        return found


def _session_options(onnxruntime: Any, threads: int) -> Any:
    """Of a session that shares a robot's computer."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # between images the threads would wait in a loop, on cores that a robot needs for other things
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # the default of all versions, said here since models are measured with it
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return options


def check_partition(session: Any, provider: str) -> None:
    """Refuse a session whose products run elsewhere: ONNX Runtime moves what a provider lacks silently.

    Arithmetic of shapes may stay there, where it is fastest. `session.disable_cpu_ep_fallback` would refuse it too.

    Raises:
        ModelError: convolutions or matrix products are not on the provider.
    """
    if not hasattr(session, "get_provider_graph_assignment_info"):  # up to 1.23
        _LOG.warning("this ONNX Runtime does not say which nodes %s runs; update it to have them checked", provider)
        return
    parts = session.get_provider_graph_assignment_info()
    elsewhere = [
        f"{node.op_type} {node.name}"
        for part in parts
        for node in part.get_nodes()
        if part.ep_name != provider and node.op_type in _PRODUCTS
    ]
    if elsewhere:
        raise ModelError(
            f"{provider} does not run {len(elsewhere)} products of the model, ONNX Runtime would move them to the CPU: "
            f"{', '.join(elsewhere[:3])}; choose another provider with inference.provider, or another precision"
        )


@contextlib.contextmanager
def report_engine_waits(report: Callable[[str], None]) -> Iterator[None]:
    """Have each line about an engine that is waited for reported, and an empty one when the wait is over."""
    lines: list[str] = []
    handler = logging.Handler()

    def emit(record: logging.LogRecord) -> None:
        lines.append(record.getMessage())
        report(lines[-1])

    handler.emit = emit  # type: ignore[method-assign]
    _LOG.addHandler(handler)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        if lines:
            report("")


def start_engine(model: Model, inference: InferenceConfig, *, keypoints: int = 0) -> Engine:
    """The engine of a model.

    Args:
        model: the model.
        inference: which engine, and where.
        keypoints: most that are asked for of a keypoint model.

    Raises:
        ModelError: the provider or engine is not available or cannot be used, or the graph does not match its manifest.
    """
    return _STARTERS[inference.engine](model, inference, keypoints)


def _start_onnx_runtime(model: Model, inference: InferenceConfig, _: int) -> Engine:
    return OnnxRuntime(model, provider=inference.provider, threads=inference.threads)


def check_engine(model_hash: str, inference: InferenceConfig, *, keypoints: int = 0) -> None:
    """Check that TensorRT's engine of a graph is in the cache and fits this machine; it is not loaded.

    Raises:
        EngineMissingError: there is none.
        ModelError: there are some, and the software or the GPU that they are for is missing.
    """
    _find_engine(model_hash, replace(inference, engine_wait_s=0.0), keypoints)


def _start_tensorrt(model: Model, inference: InferenceConfig, keypoints: int) -> Engine:
    return TensorRtEngine(_find_engine(str(model.entry("hash")), inference, keypoints))


def _find_engine(model_hash: str, inference: InferenceConfig, keypoints: int) -> BuiltEngine:
    return find_engine(
        default_cache(),
        model_hash,
        flavour=inference.engine,
        precision=inference.precision,
        explain_misfit=partial(explain_misfit, keypoints=keypoints),
        wait_s=inference.engine_wait_s,
        report=_LOG.warning,
    )


_STARTERS: dict[str, Callable[[Model, InferenceConfig, int], Engine]] = {
    "onnx": _start_onnx_runtime,
    TENSORRT: _start_tensorrt,
    TENSORRT_RTX: _start_tensorrt,
}


def first_line(error: Exception) -> str:
    """The first line of an engine's error message; the others are about its internals."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__
