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

"""What a process takes of the machine. Each test in interpreters of their own: none of it can be taken back."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import threading
from typing import Any

import pytest

from vloc_ros import footprint
from vloc_ros.footprint import ONE_HEAP

BLAS = "[p['num_threads'] for p in threadpool_info() if p['user_api'] == 'blas']"
HEAPS = """
import ctypes, json, os, pathlib, resource, sys, tempfile, threading
from vloc_ros.footprint import restart_on_one_heap
if sys.argv[1] == "restart":
    restart_on_one_heap()
def allocate(barrier):
    barrier.wait()
    block = bytearray(100_000)
    barrier.wait()
def heaps():
    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=allocate, args=[barrier]) for _ in range(3)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    libc = ctypes.CDLL(None)
    libc.fopen.restype = ctypes.c_void_p
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, 'info.xml')
        file = ctypes.c_void_p(libc.fopen(str(path).encode(), b'w'))
        libc.malloc_info(0, file)
        libc.fclose(file)
        return path.read_text().count('<heap nr=')
def page_faults(size):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b'x' * size
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
"""
glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the variables are glibc's")


def printed_by(program: str, *arguments: str, **variables: str) -> Any:
    """Return what a fresh interpreter prints as JSON."""
    left = {*ONE_HEAP, "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"}  # as the tests may be run
    environment = {name: value for name, value in os.environ.items() if name not in left} | variables
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_every_blas_that_is_loaded_calculates_in_one_thread() -> None:
    program = f"""
import json, cv2, faiss, numpy
from threadpoolctl import threadpool_info
from vloc_ros.footprint import limit_blas_threads
before = {BLAS}
limit_blas_threads()
print(json.dumps([before, {BLAS}, cv2.getNumThreads()]))
"""
    before, after, opencv = printed_by(program, OPENBLAS_NUM_THREADS="2")
    assert before
    assert max(before) == 2, "importing the package changes nothing"
    assert set(after) == {1}
    assert opencv == len(os.sched_getaffinity(0))


def test_a_thread_that_calculates_limits_itself() -> None:
    """FAISS's BLAS has a limit for each thread: that of the main one is not heeded by a node's worker."""
    program = f"""
import json, threading, cv2, faiss, numpy
from threadpoolctl import threadpool_info
from vloc_ros.footprint import limit_blas_threads
found = []
def work():
    found.append({BLAS})
    limit_blas_threads()
    found.append({BLAS})
limit_blas_threads()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(json.dumps(found))
"""
    before, after = printed_by(program, OMP_NUM_THREADS="2")
    assert set(before) <= {1, 2}, "FAISS before 1.9 has one limit for all threads"
    assert set(after) == {1}


def test_a_thread_does_not_look_for_libraries_while_another_may_load_one(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[threading.Thread] = []

    class Pools:
        def __init__(self) -> None:
            found.append(threading.current_thread())

        def limit(self, **_: object) -> None:
            pass

    monkeypatch.setattr(footprint, "ThreadpoolController", Pools)
    monkeypatch.setattr(footprint, "_pools", None)
    for _ in range(2):
        footprint.limit_blas_threads()
        worker = threading.Thread(target=footprint.limit_blas_threads)
        worker.start()
        worker.join()
    assert found == [threading.main_thread()] * 2


@glibc
def test_threads_share_one_heap() -> None:
    program = HEAPS + "print(json.dumps([heaps(), sys.argv[1:]]))"
    assert printed_by(program, "stay")[0] > 1
    assert printed_by(program, "restart", "--ros-args") == [1, ["restart", "--ros-args"]]


@glibc
def test_what_an_image_needs_is_taken_once_and_what_is_larger_goes_back() -> None:
    program = HEAPS + "print(json.dumps([page_faults(size) for size in 2 * [20_000_000] + 2 * [40_000_000]]))"
    first, again, *larger = printed_by(program, "restart")
    assert first > 10 * again
    assert min(larger) > 10 * again


@glibc
def test_what_the_user_has_set_for_malloc_stays() -> None:
    program = HEAPS + f"print(json.dumps([os.environ[name] for name in {list(ONE_HEAP)}]))"
    assert printed_by(program, "restart", MALLOC_ARENA_MAX="7") == ["7", *list(ONE_HEAP.values())[1:]]
