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

"""Engines that are missing, damaged, foreign or do not fit, and a GPU without driver or memory.

TensorRT and CUDA are the stand-in of `software_gpu`; TensorRT-RTX's builder, where a row names it, is the real one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from drive import Drive
from fault_rows import FaultRow
from learned_wall import LearnedWall
from recorded_cuda import Code, RecordedCuda
from ros_session import Inbox, Ros
from small_networks import write_network
from software_gpu import use_software_gpu, write_software_engine

from vloc_ros.core.errors import VlocError
from vloc_ros.inference.engine_cache import (
    PLAN,
    BuiltEngine,
    Profile,
    list_engines,
    lock_engine,
    write_engine,
)
from vloc_ros.storage.maps import read_map

pytestmark = pytest.mark.fault
_BACK_S = 10.0
_PROFILE: Profile = {"image": ((96, 96), (480, 640), (480, 640)), "min_score": ((1,), (1,), (1,))}


@dataclass
class Engines:
    """A localizer with an engine, its cache, and what stands for the GPU."""

    drive: Drive
    cache: Path
    built: BuiltEngine
    cuda: RecordedCuda
    reports: Inbox
    plan: bytes

    def reconfigure(self) -> str:
        """Configure and activate the localizer again; the reason where it refuses to."""
        node = self.drive.node
        assert node is not None
        if node.state == "active":
            node.trigger_deactivate()
            node.trigger_cleanup()
            self.drive.ros.until(lambda: not self.cuda.allocated)  # a callback may still hold the localizer
        node.trigger_configure()
        if node.state == "unconfigured":
            self.reports.messages.clear()
            found = self.reports.wait(lambda all_: any(map(_error_of, all_)), "the reason")
            return next(text for message in found if (text := _error_of(message)))
        node.trigger_activate()
        self.drive.await_listener()
        return ""

    def replace_engine(self, *, plan: bytes | None = None, **change: Any) -> None:
        """Another engine in place of the one that was built."""
        shutil.rmtree(self.cache, ignore_errors=True)
        key = replace(self.built.key, **change)
        write_engine(self.cache / key.digest, key, plan or self.plan, {"date": "2026"})

    def restore(self) -> None:
        """The cache as it was."""
        self.replace_engine()
        self.cuda.memory, self.cuda.refused = 1 << 30, {}


def _error_of(message: DiagnosticArray) -> str:
    errors = (s.message for s in message.status if s.level == DiagnosticStatus.ERROR)
    return next((text for text in errors if not text.startswith("waiting")), "")


@pytest.fixture
def engines(ros: Ros, drive_with: Callable[..., Drive], learned_wall: LearnedWall, tmp_path: Path,
            monkeypatch: pytest.MonkeyPatch) -> Iterator[Engines]:  # fmt: skip
    """A robot whose keypoints are an engine's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache, cuda, model = tmp_path / "vloc_ros" / "engines", RecordedCuda(), read_map(learned_wall.map).keypoint_model
    built = write_software_engine(cache, model.hash, model.graph.tobytes(), _PROFILE, keypoints=1000)
    engine = {"inference.engine": "tensorrt", "inference.precision": "fp16", "diagnostics.period_s": 0.1}
    with use_software_gpu(cuda, _PROFILE, keypoints=1000):
        reports = ros.collect(DiagnosticArray, "/diagnostics")
        drive = drive_with(map=str(learned_wall.map), **engine)
        drive.warm_up()
        assert "cudaMemcpyAsync" in cuda.calls
        yield Engines(drive, cache, built, cuda, reports, model.graph.tobytes())


def _truncate(engines: Engines) -> None:
    path = engines.built.folder / PLAN
    os.truncate(path, path.stat().st_size // 2)


_MISFITS: dict[str, tuple[Callable[[Engines], None], str]] = {
    "is missing": (lambda e: shutil.rmtree(e.cache), "has no engine by tensorrt in fp16"),
    "is truncated": (_truncate, "truncated or altered"),
    "is no plan": (lambda e: e.replace_engine(plan=b"foreign"), "cannot load the plan"),
    "is of another model": (lambda e: e.replace_engine(model_hash="c" * 64), "has no engine by tensorrt in fp16"),
    "is of another TensorRT": (lambda e: e.replace_engine(version="10.3.0"), "was built by tensorrt 10.3.0"),
    "is for another target": (lambda e: e.replace_engine(targets=("sm89",)), "was built for sm89, this GPU is sm86"),
    "was built on another GPU": (lambda e: e.replace_engine(device="Orin"), "was built on Orin"),
    "is in another precision": (lambda e: e.replace_engine(precision="int8"), "found tensorrt int8"),
    "is for fewer keypoints": (lambda e: e.replace_engine(keypoints=500), "was built for 500 keypoints"),
}


def test_engines_that_do_not_fit(engines: Engines, row: FaultRow) -> None:
    for what, (damage, words) in _MISFITS.items():
        damage(engines)
        assert words in engines.reconfigure(), what
        engines.restore()
    assert engines.reconfigure() == ""
    row.record(
        f"the localizer is configured with an engine that {', '.join(_MISFITS)}, one after the other, then with the "
        "right one",
        f"{len(_MISFITS)} times it stays unconfigured, with the reason and `vloc model build` on /diagnostics, and "
        "runs nothing else instead",
        back_s=engines.drive.localize_next(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_a_gpu_without_driver_or_memory(engines: Engines, row: FaultRow) -> None:
    reasons = []
    engines.cuda.refused = {"cudaGetDeviceCount": Code.cudaErrorInsufficientDriver}
    reasons.append(engines.reconfigure())
    assert "no NVIDIA driver" in reasons[-1]
    engines.restore()
    engines.cuda.memory = 1 << 10
    reasons.append(engines.reconfigure())
    assert "cudaErrorMemoryAllocation" in reasons[-1]
    engines.restore()
    assert engines.reconfigure() == ""
    row.record(
        "the localizer is configured where the NVIDIA driver is missing, and where the GPU's memory is full",
        f"it stays unconfigured; on /diagnostics: {'; '.join(reason.partition(', code')[0] for reason in reasons)}",
        back_s=engines.drive.localize_next(within_s=_BACK_S),
        within_s=_BACK_S,
    )


_BUILDER = """
import sys, time
from pathlib import Path
from vloc_ros.inference.engine_cache import lock_engine, read_engine
cache, folder = map(Path, sys.argv[1:])
with lock_engine(cache, read_engine(folder).key, timeout_s=1):
    print("builds", flush=True)
    time.sleep(600)
"""


def test_a_builder_that_is_killed_while_the_localizer_waits(engines: Engines, tmp_path: Path, row: FaultRow) -> None:
    kept = tmp_path / "kept"
    shutil.move(engines.built.folder, kept)
    command = [sys.executable, "-c", _BUILDER, str(engines.cache), str(kept)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as builder:
        assert builder.stdout is not None
        assert builder.stdout.readline() == "builds\n"

        def kill_when_waited_for() -> None:
            words = f"which process {builder.pid} builds"
            engines.reports.wait(lambda all_: any(words in s.message for m in all_ for s in m.status), words)
            builder.kill()

        killer = threading.Thread(target=kill_when_waited_for)
        killer.start()
        reason = engines.reconfigure()
        killer.join()
    assert "has no engine" in reason
    assert list_engines(engines.cache) == []
    engines.restore()
    assert engines.reconfigure() == ""
    row.record(
        "the localizer waits for an engine whose builder is killed (SIGKILL); it is built again",
        "while it waits it says on /diagnostics which process builds; then it stays unconfigured and names the "
        "command; no half engine is left",
        back_s=engines.drive.localize_next(within_s=_BACK_S),
        within_s=_BACK_S,
    )


def test_a_cache_that_cannot_be_written(engines: Engines, tmp_path: Path, row: FaultRow) -> None:
    """The limit of a file's size stands for the end of the disk."""
    script = """
        import resource, signal, sys
        from pathlib import Path
        from vloc_ros.inference.engine_cache import read_engine, write_engine
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        write_engine(Path(sys.argv[1]), read_engine(Path(sys.argv[2])).key, bytes(1 << 20), {})
    """
    command = [sys.executable, "-c", "\n".join(map(str.strip, script.splitlines())), str(tmp_path / "full" / "one")]
    done = subprocess.run(
        [*command, str(engines.built.folder)], check=False, capture_output=True, text=True, timeout=300
    )
    assert "cannot be written (File too large)" in done.stderr
    assert list_engines(tmp_path / "full") == []
    locked = lock_engine(Path("/proc/vloc_ros"), engines.built.key, timeout_s=1)
    with pytest.raises(VlocError, match="cannot be written"), locked:
        pass
    row.record(
        "an engine is built into a folder that cannot be written, and onto a full disk",
        "the builder is refused before it begins, or ends with the path and the reason; no engine is left, and the "
        "localizer goes on with the one that it has",
        back_s=engines.drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )


@pytest.mark.slow_fault
def test_two_builders_at_once(engines: Engines, tensorrt_rtx: Any, tmp_path: Path, row: FaultRow) -> None:
    model, cache = write_network(tmp_path / "small"), tmp_path / "built"
    words = ["model", "build", model, "--engine", "tensorrt_rtx", "--target", "sm86", "--out", cache]
    command = [sys.executable, "-m", "vloc_ros.cli.main", *map(str, words), "--shapes", "image=32x32,64x96,64x96"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in running]
    assert sum("found in the cache" in one for one in said) == 1
    assert len(list_engines(cache)) == 1
    row.record(
        "two processes build the same engine at once, by TensorRT-RTX, while the localizer runs",
        "one builds, the other waits and takes its engine",
        back_s=engines.drive.recover(within_s=_BACK_S),
        within_s=_BACK_S,
    )
