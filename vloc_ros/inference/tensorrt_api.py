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

"""TensorRT 10, TensorRT 11 and TensorRT-RTX behind one name: only what all three have is used.

TensorRT 11 dropped weak typing, calibrators and precision flags. What remains, and what this package uses, is in the
tables below: strongly typed networks whose precision the ONNX graph says.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

from vloc_ros.core.errors import ModelError

TENSORRT, TENSORRT_RTX = "tensorrt", "tensorrt_rtx"
# engine of the configuration -> names of the module in order; the second is what PyPI's bindings alone install
_MODULES = {TENSORRT: ("tensorrt",), TENSORRT_RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_INSTALL = {
    TENSORRT: "install TensorRT 10 or 11 from NVIDIA, on a Jetson it is part of JetPack, see docs/deploy.md",
    TENSORRT_RTX: "pip install 'vloc_ros[tensorrt-rtx]'",
}
# what is used, by class
RUNTIME_NAMES: dict[str, Sequence[str]] = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        *("create_execution_context", "num_io_tensors", "get_tensor_name", "get_tensor_mode", "get_tensor_dtype"),
        *("get_tensor_shape", "get_tensor_profile_shape"),
    ),
    "IExecutionContext": ("set_input_shape", "set_tensor_address", "get_tensor_shape", "infer_shapes",
                          "execute_async_v3"),
}  # fmt: skip
BUILDER_NAMES: dict[str, Sequence[str]] = {
    "Builder": ("create_network", "create_builder_config", "create_optimization_profile", "build_serialized_network"),
    "IBuilderConfig": (
        *("add_optimization_profile", "progress_monitor", "create_timing_cache", "set_timing_cache", "clear_flag"),
    ),
    "BuilderFlag": ("TF32",),
    "IOptimizationProfile": ("set_shape",),
    "OnnxParser": ("parse", "num_errors", "get_error"),
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "IProgressMonitor": ("phase_start", "phase_finish", "step_complete"),
}
# of TensorRT-RTX alone: it builds for devices that are not there
RTX_NAMES: dict[str, Sequence[str]] = {
    "IBuilderConfig": ("num_compute_capabilities", "set_compute_capability"),
    "ComputeCapability": ("SM75", "SM80", "SM86", "SM89", "SM120"),
}


def load_tensorrt(flavour: str, *, builder: bool = False) -> Any:
    """The module of a flavour.

    Args:
        flavour: `tensorrt` or `tensorrt_rtx`.
        builder: also what builds engines is needed, not only what runs them.

    Raises:
        ModelError: it is not installed, its libraries are missing, or it lacks what is used.
    """
    reasons = []
    for name in _MODULES[flavour]:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError, RuntimeError) as error:  # the last two where a shared library is missing
            reasons.append(f"{name}: {str(error).splitlines()[0]}")
            continue
        if missing := find_missing_names(module, flavour, builder=builder):
            raise ModelError(
                f"{name} {module.__version__} lacks {', '.join(missing)}, expected TensorRT 10, 11 or TensorRT-RTX; "
                f"{_INSTALL[flavour]}"
            )
        return module
    raise ModelError(f"inference.engine is {flavour}, which cannot be loaded ({'; '.join(reasons)}); "
                     f"{_INSTALL[flavour]}, or use inference.engine onnx")  # fmt: skip


def find_missing_names(module: Any, flavour: str, *, builder: bool) -> list[str]:
    """What of the tables a module lacks."""
    tables = [RUNTIME_NAMES, *([BUILDER_NAMES] if builder else [])]
    if builder and flavour == TENSORRT_RTX:
        tables.append(RTX_NAMES)
    return [
        f"{kind}.{name}"
        for table in tables
        for kind, names in table.items()
        for name in names
        if not hasattr(getattr(module, kind, None), name)
    ]


def list_targets(module: Any, flavour: str) -> list[str]:
    """Compute capabilities that a module builds for, such as `sm86`; none where it builds for the GPU that is there."""
    if flavour != TENSORRT_RTX:
        return []
    names = (name for name in dir(module.ComputeCapability) if name.startswith("SM"))
    return [name.lower() for name in sorted(names, key=lambda name: int(name[2:]))]


def make_logger(module: Any) -> Any:
    """A logger of a flavour that keeps errors: calls return None, and only the log says why.

    It has `errors`, a list of messages, and `last_error`, the newest of them that is not about the driver's absence
    alone.
    """

    class Log(module.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (module.ILogger.Severity.ERROR, module.ILogger.Severity.INTERNAL_ERROR):
                self.errors.append(message)

        @property
        def last_error(self) -> str:
            return "; ".join(dict.fromkeys(self.errors[-2:])) or "it gives no reason"

    return Log()
