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

"""A Ray cluster on this machine as `ray start` starts it, and its processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_ADDRESS = "RAY_ADDRESS"
_STORE_BYTES = 2_000_000_000
_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def running_cluster(workers: int = 2) -> Iterator[int]:
    """Start a cluster that has so many processors, let RAY_ADDRESS name it, and give its process; end it."""
    with socket.socket() as free, tempfile.TemporaryDirectory(prefix="vloc_ray_") as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
        command += [f"--num-cpus={workers}", f"--temp-dir={folder}", "--include-dashboard=false"]
        command += [f"--object-store-memory={_STORE_BYTES}", "--disable-usage-stats"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = os.environ.get(_ADDRESS)
        os.environ[_ADDRESS] = f"127.0.0.1:{port}"
        try:
            _wait_for_port(port, process)
            yield process.pid
        finally:
            process.terminate()
            process.wait()
            os.environ.pop(_ADDRESS)
            if before is not None:
                os.environ[_ADDRESS] = before


def _wait_for_port(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until Ray listens."""
    while process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    raise SystemExit("ray start failed; is Ray installed? pip install 'vloc_ros[ray]'")


def processor_s(root: int) -> dict[int, float]:
    """Seconds of processor time of a process and of all below it that run."""
    fields = {pid: _fields_of(pid) for pid in tree(root)}
    return {pid: sum(map(int, one[11:13])) / _TICKS for pid, one in fields.items() if one}


def tree(root: int) -> list[int]:
    """A process and all below it."""
    below: dict[int, list[int]] = {}
    for pid in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        if fields := _fields_of(pid):
            below.setdefault(int(fields[1]), []).append(pid)
    found = [root]
    for pid in found:
        found += below.get(pid, [])
    return found


def _fields_of(pid: int) -> list[str]:
    """What /proc/PID/stat says after the name; empty where the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _name_of(pid: int) -> str:
    """What a process calls itself; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def busy_workers(root: int) -> list[int]:
    """The workers of a cluster that have a task of ours."""
    return [pid for pid in tree(root) if _name_of(pid).startswith("ray::work_on")]
