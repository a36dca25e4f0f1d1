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

"""From a device graph to TensorRT's plan, in a child process: a builder may crash, hang or fill the memory.

`python -m vloc_ros.engine_build.plan_builder FOLDER` reads `graph.onnx` and `order.json` there, writes `engine.plan`,
and prints its progress as lines of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vloc_ros.core.errors import ModelError
from vloc_ros.inference.engine_cache import PLAN, EngineKey, Profile
from vloc_ros.inference.tensorrt_api import TENSORRT_RTX, list_targets, load_tensorrt, make_logger

_GRAPH, _ORDER, _ERRORS = "graph.onnx", "order.json", "errors.txt"
# where a builder's progress goes
_PROGRESS = 1


def build_plan(
    graph: bytes,
    key: EngineKey,
    *,
    timeout_s: float,
    timing_cache: Path | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> bytes:
    """The plan of a device graph.

    Args:
        graph: the ONNX file.
        key: of the engine.
        timeout_s: after which the builder is ended.
        timing_cache: file of TensorRT's measured times, read and written; None for none.
        report: takes a line of progress at a time.

    Raises:
        ModelError: TensorRT is missing, cannot parse or build the graph, or takes too long.
    """
    with tempfile.TemporaryDirectory(prefix="vloc_engine_") as name:
        folder = Path(name)
        (folder / _GRAPH).write_bytes(graph)
        order = {"flavour": key.flavour, "targets": key.targets, "profile": key.profile}
        (folder / _ORDER).write_text(json.dumps({**order, "timing_cache": timing_cache and str(timing_cache)}))
        last = _run_child(folder, timeout_s=timeout_s, report=report)
        if "error" in last or not (folder / PLAN).is_file():
            raise ModelError(
                str(last.get("error") or f"TensorRT's builder ended without a plan ({_last_line(folder)})")
            )
        return (folder / PLAN).read_bytes()


def _last_line(folder: Path) -> str:
    """What the builder wrote last to its standard error: of an exception, its type and message."""
    lines = (folder / _ERRORS).read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "it gives no reason")


def _run_child(folder: Path, *, timeout_s: float, report: Callable[[str], None]) -> Mapping[str, Any]:
    """Run the builder and pass its progress on; the last thing that it said."""
    command = [sys.executable, "-m", __name__, str(folder)]
    # its own group, so that a Ctrl-C ends this process, which then ends that one
    with open(folder / _ERRORS, "wb") as errors:
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    is_late = threading.Event()

    def end_late() -> None:
        is_late.set()
        child.kill()

    timer = threading.Timer(timeout_s, end_late)
    timer.start()
    last: Mapping[str, Any] = {}
    try:
        assert child.stdout is not None
        for line in child.stdout:
            last = json.loads(line)
            if "step" in last:
                report(str(last["step"]))
        code = child.wait()
    finally:
        timer.cancel()
        if child.poll() is None:
            child.kill()
            child.wait()
    if is_late.is_set():
        raise ModelError(f"TensorRT's builder was ended after {timeout_s:.0f} s; allow more with --time-limit")
    if code < 0:
        raise ModelError(f"TensorRT's builder was ended by signal {-code}; memory may have been full: use fewer "
                         "targets or smaller shapes")  # fmt: skip
    return last


def _main(folder: Path) -> int:
    order = json.loads((folder / _ORDER).read_text())
    _end_with_parent()
    try:
        plan = _build((folder / _GRAPH).read_bytes(), **order)
    except ModelError as error:
        _say(error=str(error))
        return 1
    (folder / PLAN).write_bytes(plan)
    _say(step=f"built {len(plan)} bytes")
    return 0


def _build(graph: bytes, flavour: str, targets: list[str], profile: Profile, timing_cache: str | None) -> bytes:
    api = load_tensorrt(flavour, builder=True)
    log = make_logger(api)
    builder = api.Builder(log)
    network = builder.create_network(1 << int(api.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = api.OnnxParser(network, log)
    if not parser.parse(graph):
        errors = [parser.get_error(index) for index in range(parser.num_errors)]
        reasons = "; ".join(f"{error.node_name() or 'the graph'}: {error.desc().splitlines()[-1]}" for error in errors)
        raise ModelError(f"{flavour} {api.__version__} cannot parse the graph ({reasons}); use inference.engine onnx")
    _say(step=f"parsed {network.num_layers} layers")
    config = builder.create_builder_config()
    # on by default: what is float32 stays so, as where the loss was measured
    config.clear_flag(api.BuilderFlag.TF32)
    _set_targets(api, config, flavour, targets)
    monitor = _make_monitor(api)
    config.progress_monitor = monitor
    _add_profile(builder, config, profile)
    cache = _load_timing_cache(config, timing_cache)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ModelError(f"{flavour} {api.__version__} cannot build the engine ({log.last_error})")
    if timing_cache and cache is not None:
        _keep_timing_cache(Path(timing_cache), bytes(config.get_timing_cache().serialize()))
    return bytes(plan)


def _set_targets(api: Any, config: Any, flavour: str, targets: list[str]) -> None:
    """TensorRT-RTX builds for any device that it knows, TensorRT for the one that is there."""
    if flavour != TENSORRT_RTX:
        return
    config.num_compute_capabilities = len(targets)
    for index, target in enumerate(targets):
        if not hasattr(api.ComputeCapability, target.upper()):
            known = ", ".join(list_targets(api, flavour))
            raise ModelError(f"the target is {target}, TensorRT-RTX {api.__version__} builds for {known}")
        if not config.set_compute_capability(getattr(api.ComputeCapability, target.upper()), index):
            raise ModelError(f"TensorRT-RTX {api.__version__} cannot combine the targets {', '.join(targets)}")


def _add_profile(builder: Any, config: Any, profile: Profile) -> None:
    added = builder.create_optimization_profile()
    for name, shapes in profile.items():
        added.set_shape(name, *map(tuple, shapes))
    if config.add_optimization_profile(added) < 0:
        raise ModelError(f"TensorRT refuses the shapes {dict(profile)}; smallest, usual, largest have to ascend")


def _load_timing_cache(config: Any, path: str | None) -> Any:
    if path is None:
        return None
    known = Path(path).read_bytes() if Path(path).is_file() else b""
    cache = config.create_timing_cache(known)
    # of another version or device: times are measured anew
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, ignore_mismatch=False)
    return cache


def _keep_timing_cache(path: Path, times: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(times)
    part.replace(path)


def _make_monitor(api: Any) -> Any:
    class Monitor(api.IProgressMonitor):  # type: ignore[misc]
        """Reports the phases of the outer level; TensorRT calls it from threads of its own."""

        def __init__(self) -> None:
            api.IProgressMonitor.__init__(self)
            self._outer: set[str] = set()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self._outer.add(phase_name)
                _say(step=f"{phase_name}, {num_steps} steps")

        def phase_finish(self, phase_name: str) -> None:
            self._outer.discard(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self._outer:
                _say(step=f"{phase_name}, step {step + 1}")
            return True

    return Monitor()


def _end_with_parent() -> None:
    """Ask Linux to end this process when the one that started it dies."""
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _say(**what: object) -> None:
    """One line in one write: TensorRT reports from several threads."""
    os.write(_PROGRESS, (json.dumps(what) + "\n").encode())


if __name__ == "__main__":
    # TensorRT's libraries print to the standard output too
    _PROGRESS = os.dup(1)
    os.dup2(2, 1)
    sys.exit(_main(Path(sys.argv[1])))
