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
any thread, and wait. Memory is allocated once, for the largest shapes of the profile. Where shapes repeat, the copies
and the network are recorded into a CUDA graph; TensorRT-RTX records one itself.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError, ModelError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.cuda import Buffer, Cuda, load_cuda
from vloc_ros.inference.engine_cache import BuiltEngine
from vloc_ros.inference.tensorrt_api import TENSORRT, TENSORRT_RTX, load_tensorrt, make_logger

_MOST_GRAPHS = 8
_Shapes = tuple[tuple[str, tuple[int, ...]], ...]


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
        self._graphs: OrderedDict[_Shapes, Any] = OrderedDict()
        try:
            self._load(plan)
        except BaseException:
            self.close()
            raise

    def _load(self, plan: bytes) -> None:
        api, built, capability = self._api, self._built, self._cuda.compute_capability()
        if built.key.flavour == TENSORRT_RTX and capability not in built.key.targets:
            raise ModelError(
                f"{built.folder}: was built for {', '.join(built.key.targets)}, this GPU is {capability}; run "
                f"`vloc model build --target {capability}`"
            )
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
        for name, array in inputs.items():
            self._set_input_shape(name, array.shape)
        for name, array in inputs.items():
            self._buffers[name].view(array.shape, array.dtype)[...] = array
        self._execute(shapes)
        self._cuda.synchronize()
        return {
            name: self._buffers[name].view(self._shape_of(name), kind).copy() for name, kind in self._outputs.items()
        }

    def _execute(self, shapes: _Shapes) -> None:
        """Launch the graph of these shapes. They run plainly the first and the second time; then they are recorded.

        A run just before recording lets TensorRT do what a change of shapes left to be done.
        """
        if (graph := self._graphs.get(shapes)) is not None:
            self._graphs.move_to_end(shapes)
            self._cuda.launch(graph)
            return
        self._infer_shapes()
        self._enqueue(shapes)
        if self._built.key.flavour != TENSORRT:
            return
        recorded = None
        if shapes in self._graphs:
            self._cuda.synchronize()
            self._cuda.start_capture()
            self._enqueue(shapes)
            recorded = self._cuda.end_capture()
        self._remember(shapes, recorded)

    def _remember(self, shapes: _Shapes, graph: Any) -> None:
        """Keep a graph, None for shapes that ran once, and let go what was not used for the longest time."""
        self._graphs[shapes] = graph
        self._graphs.move_to_end(shapes)
        while len(self._graphs) > _MOST_GRAPHS:
            _, old = self._graphs.popitem(last=False)
            if old is not None:
                self._cuda.call("cudaGraphExecDestroy", old)

    def _enqueue(self, shapes: _Shapes) -> None:
        for name, shape in shapes:
            self._buffers[name].to_device(_bytes_of(shape, self._inputs[name]))
        if not self._context.execute_async_v3(int(self._cuda.stream)):
            raise ModelError(f"{self._built.folder}: TensorRT could not run the engine ({self._log.last_error})")
        for name, kind in self._outputs.items():
            self._buffers[name].to_host(_bytes_of(self._shape_of(name), kind))

    def close(self) -> None:
        """Graphs, memory, context, engine, stream: in this order."""
        for graph in self._graphs.values():
            if graph is not None:
                self._cuda.call("cudaGraphExecDestroy", graph)
        self._graphs.clear()
        for buffer in self._buffers.values():
            buffer.free()
        self._buffers.clear()
        self._context = self._engine = self._runtime = None
        self._cuda.close()


def _bytes_of(shape: tuple[int, ...], kind: Any) -> int:
    return int(np.prod(shape, dtype=np.int64)) * int(np.dtype(kind).itemsize)
