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

"""The processes of a live evaluation: nodes in a ROS domain of their own, ended whatever happens."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from vloc_ros.core.errors import VlocError
from vloc_ros.footprint import ONE_HEAP

_MODULES = {
    "localizer": "vloc_ros.nodes.localizer.node",
    "map_server": "vloc_ros.nodes.map_server.node",
    "mapper": "vloc_ros.nodes.mapper.node",
    "player": "vloc_ros.nodes.bag_tools.player",
    "recorder": "vloc_ros.nodes.bag_tools.recorder",
}
_LAST_LINES = 5
_POLL_S = 0.1
_GRACE_S = 5.0
_PR_SET_PDEATHSIG = 1
_DOMAINS = range(1, 102)  # those whose ports are free of Linux's ephemeral ones


class NodeError(VlocError):
    """A node ended or failed while it was needed."""


@contextlib.contextmanager
def free_domain() -> Iterator[dict[str, str]]:
    """The environment of a ROS domain on this machine that no other run of this program uses."""
    for domain in _DOMAINS:
        with socket.socket(socket.AF_UNIX) as taken:
            try:
                taken.bind(f"\0vloc_ros_domain.{domain}")  # in no folder: the same for all users, as the domain is
            except OSError:
                continue
            environment = {**os.environ, "ROS_DOMAIN_ID": str(domain), "PYTHONUNBUFFERED": "1"}
            if environment.get("ROS_DISTRO") in ("humble", "iron"):
                environment["ROS_LOCALHOST_ONLY"] = "1"
            else:
                environment.pop("ROS_LOCALHOST_ONLY", None)
                environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
            yield environment
            return
    raise NodeError(f"all ROS domains from {_DOMAINS[0]} to {_DOMAINS[-1]} are taken; wait for other evaluations")


class Children:
    """Starts nodes, watches them, and ends them when the `with` block is left."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment, self._folder = {**ONE_HEAP, **environment}, folder  # they need not restart for it
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Children:
        self._former = signal.signal(signal.SIGTERM, signal.default_int_handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGTERM, self._former)
        for child in self._children.values():
            child.terminate()
        deadline = time.monotonic() + _GRACE_S
        for name in self._children:
            self._await_or_kill(name, deadline - time.monotonic())

    def start(
        self,
        name: str,
        *,
        params_file: Path | None = None,
        remaps: Mapping[str, str] | None = None,
        **parameters: str | float | bool,
    ) -> str:
        """Start a node by the name of its executable; return the name."""
        arguments = ["--params-file", str(params_file)] if params_file else []
        for source, target in (remaps or {}).items():
            arguments += ["-r", f"{source}:={target}"]
        for key, value in parameters.items():
            arguments += ["-p", f"{key}:={json.dumps(value)}"]
        with self._log(name).open("wb") as log:
            self._children[name] = subprocess.Popen(
                [sys.executable, "-m", _MODULES[name], "--ros-args", *arguments],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for this process, which ends them in order
                preexec_fn=_die_with_parent,  # even if it is killed
            )
        return name

    def pid(self, name: str) -> int:
        """Of a node's process."""
        return self._children[name].pid

    def wait_for(self, name: str) -> None:
        """Wait until a node ended well.

        Raises:
            NodeError: it failed, or another one ended before it.
        """
        while self._children[name].poll() is None:
            for other, child in self._children.items():
                # the recorder ends when it has all that it waits for
                if other not in (name, "recorder") and child.poll() is not None:
                    raise NodeError(self._describe_end(other))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._children[name].wait(_POLL_S)
        if self._children[name].returncode:
            raise NodeError(self._describe_end(name))

    def end_of(self, name: str, *, within_s: float) -> None:
        """Wait for a node to end by itself, and interrupt it after a while.

        Raises:
            NodeError: it failed.
        """
        child = self._children[name]
        try:
            child.wait(within_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGINT)
            self._await_or_kill(name, _GRACE_S)
        if child.returncode:
            raise NodeError(self._describe_end(name))

    def _await_or_kill(self, name: str, within_s: float) -> None:
        child = self._children[name]
        try:
            child.wait(max(0.0, within_s))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _describe_end(self, name: str) -> str:
        lines = self._log(name).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = " | ".join(line.strip() for line in lines[-_LAST_LINES:]) or "it logged nothing"
        code = self._children[name].returncode
        return f"the node {name} ended with {code}: {last}"


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent is gone."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
