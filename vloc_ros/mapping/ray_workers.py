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

"""Workers of a Ray cluster (Moritz et al. 2018): processes of this machine and of others, any of which may die.

Ray sends Python objects by pickle between its processes, and runs what it is sent: a cluster has to be trusted.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import lru_cache
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from threadpoolctl import threadpool_limits

from vloc_ros.core.errors import ClusterError, VlocError
from vloc_ros.mapping.sfm.pairs import Pair

R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
# about half a second of work, which is what the death of a worker costs
_PAIRS_PER_TASK = 32
# enough to keep every worker busy while the oldest task is waited for; what they hold of images is bounded by it
_TASKS_PER_PROCESSOR = 4
# after the death of its worker a task is given to another one so many times
_RETRIES = 5
_ADDRESS = "RAY_ADDRESS"
_ANSWER_S = 10.0
_START = "start one with `ray start --head`, and `ray start --address=HOST:6379` on every other machine"
_INSTALL = "install the same on all machines of the cluster, and start Ray again there"
_NOT_IMPORTED = "failed to import on the worker"
_PACKAGE = Path(__file__).resolve().parents[1]


@contextmanager
def connect_to_ray() -> Iterator[RayWorkers]:
    """The workers of the cluster that runs: that of RAY_ADDRESS, or else the one that this machine is part of.

    Raises:
        ClusterError: there is none, it cannot be used from here, or it has no processors.
        ModuleNotFoundError: Ray is not installed.
    """
    import ray

    address = os.environ.get(_ADDRESS)
    try:
        if address:
            _check_address(address)
        ray.init(address=address or "auto", logging_level="error")
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at {address}, which {_ADDRESS} names," if address else "on this machine"
        raise ClusterError(f"no Ray cluster {where} can be used ({_first_line(error)}); {_START}") from error
    try:
        yield RayWorkers(ray)
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Raise where nobody listens, for which Ray would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise ClusterError(
            f"{_ADDRESS} is {address}, expected HOST:PORT of a cluster that this machine is part of; {_START}"
        )
    socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S).close()


class RayWorkers:
    """See `vloc_ros.mapping.workers.Workers`: tasks of one processor each, which Ray repeats where a worker dies.

    Bit for bit, the results are those of this process in one thread, where the machines have processors of one kind.
    """

    def __init__(self, ray: Any) -> None:
        """Take Ray's module, connected to a cluster.

        Raises:
            ClusterError: the cluster has no processors.
        """
        self._ray, self._code = ray, describe_code()
        task = ray.remote(num_cpus=1, max_retries=_RETRIES)
        self._on_item, self._on_pairs = task(work_on_item), task(work_on_pairs)
        self._processors()

    def map(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """See `Workers`."""
        sent = self._send(work)
        return self._results(self._on_item.remote(self._code, sent, item) for item in items)

    def map_pairs(self, work: Callable[[S, S, T], R], images: Sequence[S], pairs: Mapping[Pair, T]) -> Iterator[R]:
        """See `Workers`. Of the images, a machine gets those of its tasks."""
        for results in self._results(self._pair_tasks(self._send(work), images, iter(pairs.items()))):
            yield from results

    def _pair_tasks(self, sent: list[Any], images: Sequence[S], pairs: Iterator[tuple[Pair, T]]) -> Iterator[Any]:
        put = dict[int, Any]()
        while batch := list(islice(pairs, _PAIRS_PER_TASK)):
            numbers = sorted({number for pair, _ in batch for number in pair})
            for number in numbers:
                if number not in put:
                    put[number] = self._ray.put(images[number])
            place = {number: k for k, number in enumerate(numbers)}
            rows = [(place[i], place[j], more) for (i, j), more in batch]
            yield self._on_pairs.remote(self._code, sent, rows, *(put[number] for number in numbers))

    def _send(self, work: Callable[..., Any]) -> list[Any]:
        """The work where all workers can get it. In a list, Ray does not fetch it anew for every task."""
        return [self._ray.put(work)]

    def _results(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """The results in order; only so many tasks are there at a time, and none is left when the consumer stops."""
        most = _TASKS_PER_PROCESSOR * self._processors()
        waiting = deque[Any]()
        try:
            for task in tasks:
                waiting.append(task)
                if len(waiting) >= most:
                    yield self._result(waiting.popleft())
            while waiting:
                yield self._result(waiting.popleft())
        finally:
            for task in waiting:
                self._ray.cancel(task)

    def _result(self, task: Any) -> Any:
        try:
            # Ray's arrays lie in its store, which would stay full
            return deepcopy(self._ray.get(task))
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, VlocError):
                raise error.cause from None
            if _NOT_IMPORTED in str(error.cause):
                last_line = str(error.cause).strip().splitlines()[-1]
                raise ClusterError(f"a worker lacks vloc_ros, or has another one ({last_line}); {_INSTALL}") from None
            raise
        except self._ray.exceptions.RayError as error:
            raise ClusterError(
                f"a task failed on the Ray cluster, {_RETRIES + 1} times where workers died ({_first_line(error)}); "
                "look at their memory and at Ray's logs"
            ) from error

    def _processors(self) -> int:
        found = int(self._ray.cluster_resources().get("CPU", 0))
        if not found:
            raise ClusterError(f"the Ray cluster has no processors, expected at least one for its workers; {_START}")
        return found


def work_on_item(code: str, sent: list[Any], item: Any) -> Any:
    """Runs in a worker: the result of an item."""
    _prepare(code)
    return _fetch(sent[0])(item)


def work_on_pairs(code: str, sent: list[Any], rows: Sequence[tuple[int, int, Any]], *images: Any) -> list[Any]:
    """Runs in a worker: the results of pairs of these images."""
    _prepare(code)
    work = _fetch(sent[0])
    return [work(images[i], images[j], more) for i, j, more in rows]


@lru_cache(maxsize=1)
def _prepare(code: str) -> None:
    """Once in a worker: it runs the code that the others run, in one thread."""
    if (found := describe_code()) != code:
        raise ClusterError(f"a worker on {socket.gethostname()} runs {found}, expected {code} as here; {_INSTALL}")
    cv2.setNumThreads(1)
    threadpool_limits(1)


@lru_cache(maxsize=1)
def _fetch(work: Any) -> Callable[..., Any]:
    """Once in a worker: the work, such as an extractor, which takes a while to build."""
    import ray

    fetched: Callable[..., Any] = ray.get(work)
    return fetched


@lru_cache(maxsize=1)
def describe_code() -> str:
    """What results depend on: the package's source, by a hash, and the versions of the libraries that calculate."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        digest.update(f"{path.relative_to(_PACKAGE)}\0".encode() + path.read_bytes())
    versions = {"NumPy": np.__version__, "OpenCV": cv2.__version__, "PoseLib": metadata.version("poselib")}
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    return f"vloc_ros with the source {digest.hexdigest()[:12]}, {listed}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
