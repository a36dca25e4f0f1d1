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

"""CUDA as TensorRT needs it, by NVIDIA's cuda-bindings: device, stream, memory, graphs. Codes become our errors.

The runtime API works in the primary context of a device, which other libraries of the process share. The current device
belongs to a thread: all calls for one engine come from one thread.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import ModelError
from vloc_ros.core.geometry.pose import Array

_REMEDIES = {
    "cudaErrorInsufficientDriver": "this machine has no NVIDIA driver, or an older one; install it, or use "
    "inference.engine onnx",
    "cudaErrorNoDevice": "the driver sees no GPU; in a container start it with --gpus all, or use "
    "inference.engine onnx",
    "cudaErrorMemoryAllocation": "the GPU's memory is full; build the engine for smaller shapes, or stop what else uses"
    " the GPU",
}


def load_cuda() -> Any:
    """The module cuda.bindings.runtime.

    Raises:
        ModelError: it is not installed.
    """
    try:
        return importlib.import_module("cuda.bindings.runtime")
    except ImportError as error:
        raise ModelError(
            f"cuda-bindings cannot be imported ({error}), by which TensorRT's engines are run; install the version of "
            "your CUDA, such as pip install 'cuda-bindings<13' for CUDA 12"
        ) from error


@dataclass(frozen=True, slots=True)
class Device:
    """A GPU.

    Attributes:
        capability: compute capability, such as `sm86`.
        name: such as `NVIDIA GeForce RTX 3090`, `Orin`.
    """

    capability: str
    name: str


def read_device(runtime: Any, *, device: int = 0) -> Device:
    """What a GPU is; no memory of it is taken.

    Raises:
        ModelError: there is no driver or no such device.
    """
    count = call(runtime, "cudaGetDeviceCount")
    if device >= count:
        raise ModelError(f"CUDA has {count} devices, expected number {device}; choose another one")
    found = call(runtime, "cudaGetDeviceProperties", device)
    name = found.name.decode(errors="replace") if isinstance(found.name, bytes) else str(found.name)
    return Device(f"sm{found.major}{found.minor}", name.strip("\0 "))


def call(runtime: Any, name: str, *arguments: Any) -> Any:
    """A function of the runtime; what it returns after its code.

    Raises:
        ModelError: the code is not success.
    """
    code, *values = getattr(runtime, name)(*arguments)
    if int(code) != 0:
        error = getattr(code, "name", str(code))
        _, text = runtime.cudaGetErrorString(code)
        remedy = _REMEDIES.get(error, "see NVIDIA's documentation of this error")
        described = text.decode() if isinstance(text, bytes) else text
        raise ModelError(f"{name} failed with {error}, code {int(code)} ({described}); {remedy}")
    return values[0] if len(values) == 1 else tuple(values) or None


class Cuda:
    """The calls of one thread, in one stream of one device."""

    def __init__(self, runtime: Any, *, device: int = 0) -> None:
        """Take a device.

        Raises:
            ModelError: there is no driver or no such device.
        """
        self._runtime = runtime
        self.device = read_device(runtime, device=device)
        self.call("cudaSetDevice", device)
        self.stream = self.call("cudaStreamCreateWithFlags", 1)  # cudaStreamNonBlocking

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of the runtime; what it returns after its code.

        Raises:
            ModelError: the code is not success.
        """
        return call(self._runtime, name, *arguments)

    def synchronize(self) -> None:
        """Wait until the stream has done everything."""
        self.call("cudaStreamSynchronize", self.stream)

    def record(self, work: Callable[[], None]) -> Any:
        """A graph, ready to launch, of what some work puts into the stream, which does not run now.

        Raises:
            ModelError: it cannot be recorded; the stream is as before.
        """
        self.call("cudaStreamBeginCapture", self.stream, self._runtime.cudaStreamCaptureMode(1))
        try:
            work()
        except BaseException:
            with contextlib.suppress(ModelError):  # what was recorded may be void, and then is no graph
                self.call("cudaGraphDestroy", self.call("cudaStreamEndCapture", self.stream))
            raise
        graph = self.call("cudaStreamEndCapture", self.stream)
        try:
            return self.call("cudaGraphInstantiate", graph, 0)
        finally:
            self.call("cudaGraphDestroy", graph)

    def launch(self, graph: Any) -> None:
        """Run a recorded graph in the stream."""
        self.call("cudaGraphLaunch", graph, self.stream)

    def close(self) -> None:
        """Give the stream back."""
        self.call("cudaStreamDestroy", self.stream)


class Buffer:
    """Memory on the device and, of the same size, pinned memory on the host, both at fixed addresses."""

    def __init__(self, cuda: Cuda, size: int) -> None:
        """Allocate `size` bytes of each.

        Raises:
            ModelError: the memory is full.
        """
        self._cuda = cuda
        self.device = int(cuda.call("cudaMalloc", max(size, 1)))
        try:
            self._host = int(cuda.call("cudaMallocHost", max(size, 1)))
        except ModelError:
            cuda.call("cudaFree", self.device)
            raise

    def view(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """The pinned memory as an array of a shape."""
        count = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        memory = (ctypes.c_byte * count).from_address(self._host)
        return np.frombuffer(memory, dtype).reshape(shape)

    def to_device(self, size: int) -> None:
        """Copy the first bytes, in the stream."""
        self._copy(self.device, self._host, size, 1)  # cudaMemcpyHostToDevice

    def to_host(self, size: int) -> None:
        """Copy the first bytes, in the stream."""
        self._copy(self._host, self.device, size, 2)  # cudaMemcpyDeviceToHost

    def _copy(self, target: int, source: int, size: int, kind: int) -> None:
        kind = self._cuda._runtime.cudaMemcpyKind(kind)
        self._cuda.call("cudaMemcpyAsync", target, source, size, kind, self._cuda.stream)

    def free(self) -> None:
        """Give both back."""
        self._cuda.call("cudaFree", self.device)
        self._cuda.call("cudaFreeHost", self._host)
