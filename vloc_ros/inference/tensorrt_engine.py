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

"""Engines of TensorRT and TensorRT-RTX on the GPU.

One thread owns everything of an engine: context, stream, memory. Callbacks of a multi-threaded executor call `run` from
any thread, and wait. Memory is allocated once, for the largest shapes of the profile. While shapes stay the same, the
copies and the network are recorded into a CUDA graph. A graph belongs to the state of its execution context, so another
shape ends it: NVIDIA calls it undefined to launch it after that. TensorRT-RTX records graphs itself.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.cuda import Buffer, Cuda, Device, load_cuda, read_device
from vloc_ros.inference.engine_cache import BuiltEngine, EngineKey
from vloc_ros.inference.tensorrt_api import TENSORRT, TENSORRT_RTX, load_tensorrt, make_logger

_Shapes = tuple[tuple[str, tuple[int, ...]], ...]
_LOG = logging.getLogger("vloc_ros.inference")


def explain_misfit(key: EngineKey, *, keypoints: int = 0) -> str:
    """Why an engine cannot be used on this machine, or for so many keypoints; empty where it can.

    Raises:
        ModelError: TensorRT, cuda-bindings, the driver or the GPU is missing.
    """
    version = str(load_tensorrt(key.flavour).__version__)
    if key.version != version:
        return f"was built by {key.flavour} {key.version}, found {version}"
    if key.keypoints < keypoints:
        return f"was built for {key.keypoints} keypoints, expected {keypoints} (--keypoints)"
    return explain_other_device(key, read_device(load_cuda()))


def check_runtime(flavour: str) -> None:
    """Check that engines of a flavour can run here, whether there are some or not.

    Raises:
        ModelError: TensorRT, cuda-bindings, the driver or the GPU is missing.
    """
    load_tensorrt(flavour)
    read_device(load_cuda())


def explain_other_device(key: EngineKey, device: Device) -> str:
    """Why an engine does not run on a GPU; empty where it does."""
    if device.capability not in key.targets:
        return f"was built for {', '.join(key.targets)}, this GPU is {device.capability}"
    if key.flavour == TENSORRT and key.device != device.name:
        return f"was built on {key.device}, this GPU is {device.name}"
    return ""


class TensorRtEngine:
    """Runs one engine; see `vloc_ros.inference.engines.Engine`. Safe to call from any thread.

    Attributes:
        built: the engine on disk.
    """

    def __init__(self, built: BuiltEngine) -> None:
        """Load it.

        Raises:
            ModelError: TensorRT, cuda-bindings, the driver or the GPU is missing, or the plan is damaged or does not
                fit them.
        """
        self.built = built
        api = load_tensorrt(built.key.flavour)
        if api.__version__ != built.key.version:
            raise ModelError(
                f"{built.folder}: was built by {built.key.flavour} {built.key.version}, found {api.__version__}; "
                "run `vloc model build` again on this machine"
            )
        plan = built.read_plan()
        self._owner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tensorrt")
        try:
            self._state = self._owner.submit(_LoadedPlan, api, Cuda, plan, built).result()
        except BaseException:
            self._owner.shutdown()
            raise
        # a localizer that is replaced by another closes nothing
        self._release = weakref.finalize(self, _release, self._owner, self._state)
        self._release.atexit = False  # a process that ends gives all back

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name.

        Raises:
            InputError: an input is missing, of another type, or has a shape outside of the profile.
            ModelError: CUDA or TensorRT failed.
        """
        limit = inputs.get("max_keypoints")
        given = {name: array for name, array in inputs.items() if name != "max_keypoints" or not self._keypoints}
        if self._keypoints and (limit is None or int(limit[0]) > self._keypoints):
            found = "none" if limit is None else str(int(limit[0]))
            raise InputError(
                f"the engine was built for {self._keypoints} keypoints, found max_keypoints {found}; build it with "
                f"--keypoints {found}"
            )
        outputs = self._owner.submit(self._state.run, given).result()
        return drop_padding(outputs, int(limit[0])) if limit is not None and self._keypoints else outputs

    def close(self) -> None:
        """Give all memory back; afterwards it cannot be run. An engine that nobody holds is closed too."""
        self._release()

    @property
    def _keypoints(self) -> int:
        return self.built.key.keypoints


def _release(owner: ThreadPoolExecutor, state: _LoadedPlan) -> None:
    owner.submit(state.close).result()
    owner.shutdown()


def drop_padding(outputs: Mapping[str, Array], limit: int) -> dict[str, Array]:
    """The rows of real keypoints: an engine returns as many as it was built for, those that are none with score 0."""
    scores = outputs["scores"]
    kept = np.flatnonzero(scores > 0)[:limit]
    return {name: array[kept] for name, array in outputs.items()}


class _LoadedPlan:
    """What the owner thread holds."""

    def __init__(self, api: Any, cuda: Any, plan: bytes, built: BuiltEngine) -> None:
        self._api, self._built = api, built
        self._cuda: Cuda = cuda(load_cuda())
        self._log = make_logger(api)
        self._buffers: dict[str, Buffer] = {}
        # of the context; their graph once they ran, unless it could not be recorded
        self._shapes: _Shapes = ()
        self._graph: Any = None
        self._has_run = self._cannot_record = False
        try:
            self._load(plan)
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes) -> None:
        api, built, capability = self._api, self._built, self._cuda.device.capability
        if reason := explain_other_device(built.key, self._cuda.device):
            where = f"--target {capability}" if built.key.flavour == TENSORRT_RTX else "again on this machine"
            raise ModelError(f"{built.folder}: {reason}; run `vloc model build` {where}")
        # the runtime outlives its engine
        self._runtime = api.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ModelError(
                f"{built.folder}: {built.key.flavour} cannot load the plan on this {capability} "
                f"({self._log.last_error}); run `vloc model build` again on this machine"
            )
        self._context = self._make_context()
        self._inputs, self._outputs = self._list_tensors()
        self._allocate()

    def _make_context(self) -> Any:
        if self._built.key.flavour == TENSORRT_RTX:
            config = self._engine.create_runtime_config()
            config.cuda_graph_strategy = self._api.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(config)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise ModelError(
                f"{self._built.folder}: no execution context could be made ({self._log.last_error}); the GPU's memory "
                "may be full: build the engine for smaller shapes"
            )
        return context

    def _list_tensors(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Types of inputs and of outputs by name."""
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        kinds = {name: np.dtype(self._api.nptype(self._engine.get_tensor_dtype(name))) for name in names}
        is_input = {name: self._engine.get_tensor_mode(name) == self._api.TensorIOMode.INPUT for name in names}
        inputs = {name: kind for name, kind in kinds.items() if is_input[name]}
        return inputs, {name: kind for name, kind in kinds.items() if not is_input[name]}

    def _allocate(self) -> None:
        """Memory for the largest shapes, at addresses that stay."""
        for name in self._inputs:
            largest = tuple(self._engine.get_tensor_profile_shape(name, 0)[2])
            self._set_input_shape(name, largest)
        self._infer_shapes()
        for name, kind in {**self._inputs, **self._outputs}.items():
            self._buffers[name] = Buffer(self._cuda, _bytes_of(self._shape_of(name), kind))
            self._context.set_tensor_address(name, self._buffers[name].device)

    def _shape_of(self, name: str) -> tuple[int, ...]:
        return tuple(self._context.get_tensor_shape(name))

    def _set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if not self._context.set_input_shape(name, shape):
            least, _, most = map(tuple, self._engine.get_tensor_profile_shape(name, 0))
            raise InputError(
                f"{name} has shape {list(shape)}, the engine takes {list(least)} to {list(most)}; build it for this "
                f"shape with `vloc model build --shapes {name}=...`"
            )

    def _infer_shapes(self) -> None:
        if missing := self._context.infer_shapes():
            raise ModelError(f"TensorRT has no shape of {', '.join(missing)} ({self._log.last_error})")

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Copy in, run, copy out."""
        if inputs.keys() != self._inputs.keys():
            raise InputError(
                f"found the inputs {', '.join(sorted(inputs))}, expected {', '.join(sorted(self._inputs))}"
            )
        for name, kind in self._inputs.items():
            if inputs[name].dtype != kind:
                raise InputError(f"{name} is of {inputs[name].dtype}, the engine takes {kind}")
        shapes = tuple(sorted((name, array.shape) for name, array in inputs.items()))
        if shapes != self._shapes:
            self._change_shapes(shapes)
        for name, array in inputs.items():
            self._buffers[name].view(array.shape, array.dtype)[...] = array
        self._execute()
        self._cuda.synchronize()
        return {
            name: self._buffers[name].view(self._shape_of(name), kind).copy() for name, kind in self._outputs.items()
        }

    def _change_shapes(self, shapes: _Shapes) -> None:
        self._forget_graph()
        self._shapes, self._has_run = (), False  # those of the context are unknown until all are set
        for name, shape in shapes:
            self._set_input_shape(name, shape)
        self._infer_shapes()
        self._shapes = shapes

    def _execute(self) -> None:
        """Run plainly the first and the second time in the same shapes, then record; from then on launch the graph.

        A run just before recording lets TensorRT do what a change of shapes left to be done.
        """
        if self._graph is not None:
            self._cuda.launch(self._graph)
            return
        self._enqueue()
        if self._built.key.flavour == TENSORRT and self._has_run and not self._cannot_record:
            self._cuda.synchronize()
            try:
                self._graph = self._cuda.record(self._enqueue)
            except ModelError as error:  # the run before it is valid
                self._cannot_record = True
                _LOG.warning("the engine runs without a CUDA graph, somewhat slower: %s", error)
        self._has_run = True

    def _forget_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._cuda.call("cudaGraphExecDestroy", graph)

    def _enqueue(self) -> None:
        for name, shape in self._shapes:
            self._buffers[name].to_device(_bytes_of(shape, self._inputs[name]))
        if not self._context.execute_async_v3(int(self._cuda.stream)):
            raise ModelError(f"{self._built.folder}: TensorRT could not run the engine ({self._log.last_error})")
        for name, kind in self._outputs.items():
            self._buffers[name].to_host(_bytes_of(self._shape_of(name), kind))

    def close(self) -> None:
        """Graph, memory, context, engine, stream: in this order."""
        self._forget_graph()
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._context = self._engine = self._runtime = None
        self._cuda.close()


def _bytes_of(shape: tuple[int, ...], kind: Any) -> int:
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(kind).itemsize)
