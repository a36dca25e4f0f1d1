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

"""CUDA's runtime and TensorRT as far as `TensorRtEngine` calls them, recorded, for machines without a GPU.

Device memory is memory of this process, so that copies and the network, which doubles its input, really happen. What is
enqueued while a stream is captured happens when the graph is launched, and only then.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np


class Code(enum.IntEnum):
    """Codes of CUDA."""

    cudaSuccess = 0  # noqa: N815 - CUDA's name
    cudaErrorMemoryAllocation = 2  # noqa: N815 - CUDA's name
    cudaErrorInsufficientDriver = 35  # noqa: N815 - CUDA's name


class RecordedCuda:
    """The functions of cuda.bindings.runtime; `calls` are their names, `threads` who called them."""

    cudaMemcpyKind = staticmethod(int)  # noqa: N815 - CUDA's name
    cudaStreamCaptureMode = staticmethod(int)  # noqa: N815 - CUDA's name

    def __init__(self, *, memory: int = 1 << 30, counts_only: bool = False) -> None:
        self.calls: Any = CallCounts() if counts_only else []
        self.threads: set[int] = set()
        self.memory = memory
        self.refused: dict[str, Code] = {}
        self.allocated: dict[int, Any] = {}
        self.recorded: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.refuses_capture = False
        self.captured: list[Callable[[], None]] | None = None
        self._numbers = itertools.count(1)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*arguments: Any) -> tuple[Any, ...]:
            self.calls.append(name)
            self.threads.add(threading.get_ident())
            if name in self.refused:
                return (self.refused[name],)
            return getattr(self, f"_{name}", self._succeed)(*arguments)

        return call

    def do(self, work: Callable[[], None]) -> None:
        """Now, or in the graph that is being recorded."""
        if self.captured is None:
            work()
        else:
            self.captured.append(work)

    def _succeed(self, *_: Any) -> tuple[Any, ...]:
        return (Code.cudaSuccess,)

    def _cudaGetDeviceCount(self) -> tuple[Any, ...]:  # noqa: N802
        return Code.cudaSuccess, 1

    def _cudaGetDeviceProperties(self, device: int) -> tuple[Any, ...]:  # noqa: N802
        return Code.cudaSuccess, SimpleNamespace(major=8, minor=6, name=b"RTX of the tests")

    def _cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, ...]:  # noqa: N802
        return Code.cudaSuccess, 77

    def _cudaGetErrorString(self, code: Code) -> tuple[Any, ...]:  # noqa: N802
        return Code.cudaSuccess, code.name.encode()

    def _cudaMalloc(self, size: int) -> tuple[Any, ...]:  # noqa: N802
        if size > self.memory:
            return Code.cudaErrorMemoryAllocation, 0
        block = (ctypes.c_byte * size)()
        self.allocated[ctypes.addressof(block)] = block
        return Code.cudaSuccess, ctypes.addressof(block)

    _cudaMallocHost = _cudaMalloc  # noqa: N815

    def _cudaFree(self, address: int) -> tuple[Any, ...]:  # noqa: N802
        del self.allocated[address]
        return (Code.cudaSuccess,)

    _cudaFreeHost = _cudaFree  # noqa: N815

    def _cudaMemcpyAsync(self, target: int, source: int, size: int, *_: Any) -> tuple[Any, ...]:  # noqa: N802
        self.do(lambda: ctypes.memmove(target, source, size))
        return (Code.cudaSuccess,)

    def _cudaStreamBeginCapture(self, *_: Any) -> tuple[Any, ...]:  # noqa: N802
        self.captured = []
        return (Code.cudaSuccess,)

    def _cudaStreamEndCapture(self, *_: Any) -> tuple[Any, ...]:  # noqa: N802
        number = next(self._numbers)
        assert self.captured is not None
        self.recorded[number], self.captured = self.captured, None
        return Code.cudaSuccess, number

    def _cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Any, ...]:  # noqa: N802
        self.graphs[graph] = self.recorded[graph]
        return Code.cudaSuccess, graph

    def _cudaGraphDestroy(self, graph: int) -> tuple[Any, ...]:  # noqa: N802
        del self.recorded[graph]
        return (Code.cudaSuccess,)

    def _cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Any, ...]:  # noqa: N802
        assert self.captured is None
        for work in self.graphs[graph]:
            work()
        return (Code.cudaSuccess,)

    def _cudaGraphExecDestroy(self, graph: int) -> tuple[Any, ...]:  # noqa: N802
        del self.graphs[graph]
        return (Code.cudaSuccess,)


class Context:
    """Doubles `values`, (N,) float32 of 1 <= N <= 64, into `doubled`."""

    def __init__(self, cuda: RecordedCuda) -> None:
        self._cuda, self._addresses, self._shape = cuda, dict[str, int](), (0,)

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert not self._cuda.graphs, "a graph belongs to the shapes that its context had"
        self._shape = shape
        return len(shape) == 1 and 1 <= shape[0] <= 64

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shape

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        assert stream == 77
        if self._cuda.captured is not None and self._cuda.refuses_capture:
            return False
        count = self._shape[0]

        def work() -> None:
            source, target = (
                np.frombuffer((ctypes.c_float * count).from_address(self._addresses[name]), np.float32)
                for name in ("values", "doubled")
            )
            target[...] = 2 * source

        self._cuda.do(work)
        return True


def recorded_tensorrt(cuda: RecordedCuda, *, loads: bool = True) -> Any:
    """A module `tensorrt` that runs nothing but the network above."""
    names = ["values", "doubled"]
    mode = SimpleNamespace(INPUT="input", OUTPUT="output")
    engine = SimpleNamespace(
        num_io_tensors=2,
        get_tensor_name=names.__getitem__,
        get_tensor_mode=lambda name: mode.INPUT if name == "values" else mode.OUTPUT,
        get_tensor_dtype=lambda name: np.float32,
        get_tensor_profile_shape=lambda name, index: [(1,), (8,), (64,)],
        create_execution_context=lambda: Context(cuda),
    )

    class Logger:
        Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal")

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            if not loads:
                self._log.log("error", "the plan is of another device")
            return engine if loads else None

    return SimpleNamespace(
        __version__="11.4.0", ILogger=Logger, Runtime=Runtime, TensorIOMode=mode, nptype=lambda kind: kind
    )


class CallCounts(Counter[str]):
    """Calls by name in place of a list of them, for runs of hours."""

    def append(self, name: str) -> None:
        """One more call."""
        self[name] += 1
