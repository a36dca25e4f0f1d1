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

"""The process of a node: its memory and threads, and the thread of each callback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest

pytest.importorskip("rclpy", reason="rclpy is not installed; `make setup` installs it")

from rclpy.callback_groups import ReentrantCallbackGroup
from ros_session import WAIT_S, Ros
from std_srvs.srv import Trigger

from vloc_ros.footprint import ONE_HEAP
from vloc_ros.nodes.rclpy_support import process
from vloc_ros.nodes.rclpy_support.process import WaitingGroup

NODE = """
import gc, json, os
from threadpoolctl import threadpool_info
import vloc_ros.nodes.localizer.node
from vloc_ros.core.errors import VlocError
from vloc_ros.footprint import ONE_HEAP
from vloc_ros.nodes.rclpy_support.process import run_node
def make():
    blas = [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
    print(json.dumps([blas, {name: os.environ.get(name) for name in ONE_HEAP}, gc.get_freeze_count()]))
    raise VlocError("expected error")
run_node(make)
"""


def test_a_node_runs_on_one_heap_with_one_thread_for_algebra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ONE_HEAP:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    command = [sys.executable, "-c", NODE]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=2 * WAIT_S, check=False)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.strip() == "vloc: expected error"
    blas, heap, frozen = json.loads(ended.stdout)
    assert blas
    assert set(blas) == {1}
    assert heap == ONE_HEAP
    assert frozen > 10_000, "each full collection would scan all that was imported"


def test_a_callback_may_wait_for_another_one(ros: Ros) -> None:
    threads: list[int] = []
    received = threading.Event()

    def wait(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        threads.append(threading.get_ident())
        response.success = received.wait(WAIT_S)
        return response

    def bring(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        threads.append(threading.get_ident())
        received.set()
        return response

    ros.node.create_service(Trigger, "wait", wait, callback_group=WaitingGroup())
    ros.node.create_service(Trigger, "bring", bring)
    waited = ros.call_while(Trigger, "wait", Trigger.Request(), lambda: ros.call(Trigger, "bring", Trigger.Request()))
    assert waited.success
    assert len(set(threads)) == 2


def test_a_callback_that_fails_on_its_own_thread_is_in_the_log(ros: Ros, monkeypatch: pytest.MonkeyPatch) -> None:
    logged, is_logged = list[str](), threading.Event()

    class Log:
        def fatal(self, message: str) -> None:
            logged.append(message)
            is_logged.set()

    def fail(_: Trigger.Request, __: Trigger.Response) -> Trigger.Response:
        raise ValueError("a bug")

    monkeypatch.setattr(process, "get_logger", lambda _: Log())
    ros.node.create_service(Trigger, "fail", fail, callback_group=WaitingGroup())
    client = ros.node.create_client(Trigger, "fail")
    assert client.wait_for_service(WAIT_S)
    client.call_async(Trigger.Request())
    assert is_logged.wait(WAIT_S)
    assert "ValueError: a bug" in logged[0]
    ros.node.destroy_client(client)


def test_callbacks_run_on_the_thread_that_spins(ros: Ros) -> None:
    threads: list[int] = []
    enough = threading.Event()

    def tick() -> None:
        threads.append(threading.get_ident())
        if len(threads) >= 40:
            enough.set()

    timers = [ros.node.create_timer(0.001, tick, callback_group=ReentrantCallbackGroup()) for _ in range(2)]
    assert enough.wait(WAIT_S)
    for timer in timers:
        ros.node.destroy_timer(timer)
    assert len(set(threads)) == 1
