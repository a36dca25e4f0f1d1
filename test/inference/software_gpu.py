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

"""A GPU in software: TensorRT's calls by name, with ONNX Runtime's CPU as what runs the plan, on recorded CUDA.

A plan is an ONNX file. Copies, streams, graphs and shapes go through `RecordedCuda`, so that what is enqueued, recorded
and launched really gives the outputs of the network.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from recorded_cuda import RecordedCuda

from vloc_ros.inference import tensorrt_engine
from vloc_ros.inference.engine_cache import BuiltEngine, EngineKey, Profile, write_engine

VERSION, DEVICE = "11.4.0", "RTX of the tests"
COUNT = "max_keypoints"
_DTYPES = {"tensor(float)": np.float32, "tensor(int64)": np.int64, "tensor(uint8)": np.uint8, "tensor(bool)": np.bool_}
Shape = tuple[int, ...]


def write_software_engine(
    cache: Path, model_hash: str, graph: bytes, profile: Profile, *, keypoints: int, precision: str = "fp16"
) -> BuiltEngine:
    """An engine in a cache, as `vloc model build --engine tensorrt` would have written it on this machine.

    A graph that takes `max_keypoints` runs with as many as the engine is for, and its outputs are padded to them.
    """
    key = EngineKey(model_hash, "b" * 64, "tensorrt", VERSION, ("sm86",), precision, profile, keypoints, DEVICE)
    return write_engine(cache / key.digest, key, graph, {"date": "2026"})


@contextmanager
def use_software_gpu(cuda: RecordedCuda, profile: Profile, *, keypoints: int) -> Iterator[None]:
    """TensorRT and CUDA are these, for this process."""
    api = make_software_tensorrt(cuda, profile, keypoints=keypoints)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt_engine, "load_tensorrt", lambda flavour: api)
        patch.setattr(tensorrt_engine, "load_cuda", lambda: cuda)
        yield


def make_software_tensorrt(cuda: RecordedCuda, profile: Profile, *, keypoints: int) -> Any:
    """A module `tensorrt` whose plans are ONNX files."""

    class Logger:
        Severity = SimpleNamespace(ERROR="error", INTERNAL_ERROR="internal")

    class Runtime:
        def __init__(self, log: Any) -> None:
            self._log = log

        def deserialize_cuda_engine(self, plan: bytes) -> Any:
            try:
                return _Engine(cuda, plan, profile, keypoints)
            except Exception as error:  # ONNX Runtime's exceptions have no other common base
                self._log.log("error", str(error))
                return None

    return SimpleNamespace(
        __version__=VERSION,
        ILogger=Logger,
        Runtime=Runtime,
        TensorIOMode=SimpleNamespace(INPUT="input", OUTPUT="output"),
        nptype=lambda kind: kind,
    )


class _Engine:
    def __init__(self, cuda: RecordedCuda, plan: bytes, profile: Profile, keypoints: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(plan, options, providers=["CPUExecutionProvider"])
        self.cuda, self.profile, self.keypoints = cuda, profile, keypoints
        self.counted = COUNT in {value.name for value in self.session.get_inputs()}
        self.inputs = {value.name: value for value in self.session.get_inputs() if value.name != COUNT}
        self.outputs = {value.name: value for value in self.session.get_outputs()}
        self._names = [*self.inputs, *self.outputs]
        self.num_io_tensors, self.get_tensor_name = len(self._names), self._names.__getitem__

    def get_tensor_mode(self, name: str) -> str:
        return "input" if name in self.inputs else "output"

    def get_tensor_dtype(self, name: str) -> Any:
        return _DTYPES[{**self.inputs, **self.outputs}[name].type]

    def get_tensor_profile_shape(self, name: str, index: int) -> tuple[Shape, Shape, Shape]:
        return self.profile[name]

    def create_execution_context(self) -> _Context:
        return _Context(self)


class _Context:
    def __init__(self, engine: _Engine) -> None:
        self._engine, self._addresses, self._shapes = engine, dict[str, int](), dict[str, Shape]()

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        self._shapes[name] = shape
        least, _, most = self._engine.profile[name]
        return all(low <= size <= high for low, size, high in zip(least, shape, most, strict=True))

    def infer_shapes(self) -> list[str]:
        return [name for name in self._engine.inputs if name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Shape:
        if name in self._shapes:
            return self._shapes[name]
        return self._engine.keypoints, *self._engine.outputs[name].shape[1:]

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        shapes = dict(self._shapes)
        self._engine.cuda.do(lambda: self._run(shapes))
        return True

    def _run(self, shapes: Mapping[str, Shape]) -> None:
        given = {name: self._view(name, shape) for name, shape in shapes.items()}
        if self._engine.counted:
            given[COUNT] = np.array([self._engine.keypoints], np.int64)
        names = list(self._engine.outputs)
        for name, found in zip(names, self._engine.session.run(names, given), strict=True):
            target = self._view(name, self.get_tensor_shape(name))
            target[...] = 0
            target[: len(found)] = found

    def _view(self, name: str, shape: Shape) -> Any:
        kind = np.dtype(self._engine.get_tensor_dtype(name))
        size = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        return np.frombuffer((ctypes.c_byte * size).from_address(self._addresses[name]), kind).reshape(shape)
