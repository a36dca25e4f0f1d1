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

"""`vloc map build` as a process: one at a time, followed line by line, and cancelled. Needs no ROS."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import BinaryIO

from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.footprint import ONE_HEAP
from vloc_ros.nodes.mapper.session import lock_folder
from vloc_ros.storage.atomic import StorageError

_LOCK = ".build.lock"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._ -]{0,254}")
# as vloc_ros.progress writes it to a log
_PROGRESS = re.compile(r"[^:]+: \d+( of \d+)?(, about | in |$)")
_ERROR = re.compile(r"vloc: (?!note: |warning: )(.+)")
# read by vloc_ros.progress, whose lines come every ten seconds otherwise
_PROGRESS_PERIOD = {"VLOC_PROGRESS_PERIOD_S": "1"}
_NICENESS, _GRACE_S = 10, 5.0


class BuildState(Enum):
    """How far a build has come; FAILED and CANCELLED leave no map."""

    NONE = 0
    RUNNING = 1
    HANDING_OVER = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5


@dataclass(frozen=True, slots=True)
class BuildReport:
    """The last build.

    Attributes:
        state: how far it has come.
        recording: name of the recording that it is made of.
        map: name of the map.
        step: the newest line of its progress.
        message: why it failed, or why the map server did not load the map; empty if all went well.
        loaded: whether the map server has loaded the map.
        duration_s: time since its start, or that it took.
    """

    state: BuildState = BuildState.NONE
    recording: str = ""
    map: str = ""
    step: str = ""
    message: str = ""
    loaded: bool = False
    duration_s: float = 0.0


class MapBuilder:
    """Builds maps of recordings into a folder of maps, and hands them over."""

    def __init__(
        self,
        maps_folder: Path,
        *,
        options: Sequence[str],
        hand_over: Callable[[str], str],
        on_change: Callable[[], None],
    ) -> None:
        """Take a folder of maps.

        Args:
            maps_folder: of the maps; made where it is missing.
            options: further ones of `vloc map build`.
            hand_over: called with the name of a map that was built; returns why it cannot be used, or an empty text.
            on_change: called whenever the state changes; if it raises, the build fails. Both are called from a thread
                of the build.
        """
        self._maps, self._options = maps_folder, list(options)
        self._hand_over, self._on_change = hand_over, on_change
        self._changed = threading.Lock()
        self._report, self._began = BuildReport(), 0.0
        self._process: subprocess.Popen[str] | None = None
        self._thread: threading.Thread | None = None
        self._cancelled = False

    @property
    def report(self) -> BuildReport:
        """The last build."""
        with self._changed:
            if self.is_running:
                return replace(self._report, duration_s=time.monotonic() - self._began)
            return self._report

    @property
    def is_running(self) -> bool:
        """Whether a build runs, or its map is handed over."""
        return self._report.state in (BuildState.RUNNING, BuildState.HANDING_OVER)

    def start(self, recording: Path, name: str = "") -> str:
        """Start a build; returns the name of the map, which is that of the recording unless it is given.

        Raises:
            StorageError: another build is running, also one of another node or of one that was killed.
            ConfigError: the name is no plain one.
            InputError: a map of that name exists.
        """
        if self.is_running:
            raise StorageError(f"the map {self._report.map} is being built; wait, or call cancel_build")
        lock = lock_folder(self._maps, _LOCK, what="another map is being built into it")
        try:
            name = self._free_name(name, recording.name)
            self._process = self._start_process(recording, self._maps / name, lock)
        except BaseException:
            lock.close()
            raise
        os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)  # whoever drives the robot goes first
        self._cancelled, self._began = False, time.monotonic()
        with self._changed:
            self._report = BuildReport(BuildState.RUNNING, recording.name, name)
        arguments = (self._process, recording / "build.log", lock)
        self._thread = threading.Thread(target=self._follow, args=arguments, name="build", daemon=True)
        self._thread.start()
        return name

    def cancel(self) -> bool:
        """Cancel the running build; returns False if none runs."""
        if self._process is None or self._report.state is not BuildState.RUNNING:
            return False
        self._cancelled = True
        self._process.terminate()
        return True

    def close(self) -> None:
        """Cancel the build, and wait until it has ended."""
        self.cancel()
        if self._thread is None or self._process is None:
            return
        try:
            self._process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in its disk
                self._process.wait(_GRACE_S)
        self._thread.join(_GRACE_S)

    def _start_process(self, recording: Path, out: Path, lock: BinaryIO) -> subprocess.Popen[str]:
        words = ["--images", recording / "images", "--camera", recording / "camera.yaml"]
        words += ["--poses", recording / "odometry.txt", "--poses-drift", *self._options, "--out", out]
        # one heap is for a node; threads of the build wait for each other on it
        variables = {name: value for name, value in os.environ.items() if ONE_HEAP.get(name) != value}
        try:
            return subprocess.Popen(
                [sys.executable, "-m", "vloc_ros.cli.main", "map", "build", *map(str, words)],
                env={**variables, **_PROGRESS_PERIOD},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                pass_fds=[lock.fileno()],  # it keeps the lock when this process is killed
            )
        except OSError as error:
            raise StorageError(f"`vloc map build` cannot be started ({error.strerror})") from error

    def _free_name(self, wanted: str, default: str) -> str:
        if wanted and not _PLAIN_NAME.fullmatch(wanted):
            raise ConfigError(f"the map is named {wanted!r}, expected a plain name of a folder, such as office")
        if wanted and (self._maps / wanted).exists():
            raise InputError(f"{self._maps / wanted}: exists already, and may be in use; name another map")
        names = (wanted or default, *(f"{default}-{k}" for k in range(2, 1000)))
        return next(name for name in names if not (self._maps / name).exists())

    def _follow(self, process: subprocess.Popen[str], log: Path, lock: BinaryIO) -> None:
        try:
            with lock, process:
                try:
                    error = self._read(process, log)
                except Exception:
                    process.kill()
                    raise
            self._end(process.returncode, error, log)
        except Exception as error:  # a bug, or a folder that was removed: without this it would run for ever
            with contextlib.suppress(Exception):
                self._set(state=BuildState.FAILED, message=f"internal error: {error!r} (see {log})")

    def _read(self, process: subprocess.Popen[str], log: Path) -> str:
        """Follow the output until its end; returns the first line of an error, else the last line."""
        assert process.stdout is not None
        error, last = "", ""
        log.unlink(missing_ok=True)
        for line in process.stdout:
            _append(log, line)
            text = line.strip()
            last = text or last
            if not error and (found := _ERROR.match(text)):
                error = found[1]
            if _PROGRESS.match(text):
                self._set(step=text)
        return error or last

    def _end(self, code: int, error: str, log: Path) -> None:
        if code == 0:
            self._set(state=BuildState.HANDING_OVER, step="")
            try:
                trouble = self._hand_over(self._report.map)
            except Exception as error:  # the map is there all the same
                trouble = f"the map server was not told of the map: {error!r}"
            self._set(state=BuildState.SUCCEEDED, message=trouble, loaded=not trouble)
        elif self._cancelled:
            self._set(state=BuildState.CANCELLED, message="the build was cancelled")
        else:
            ended = "" if code > 0 else f"the build was ended by signal {-code}, 9 where memory ran out: "
            self._set(state=BuildState.FAILED, message=f"{ended}{error} (see {log})")

    def _set(self, **changes: object) -> None:
        with self._changed:
            duration_s = time.monotonic() - self._began
            self._report = replace(self._report, duration_s=duration_s, **changes)  # type: ignore[arg-type]
        self._on_change()


def _append(log: Path, line: str) -> None:
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:  # a full disk does not end the build
        file.write(line)
