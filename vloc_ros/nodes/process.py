"""The process of a node: start, spin, end; an expected failure ends it with one line and exit code 1."""

from __future__ import annotations

import gc
import sys
import threading
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future, Task

from vloc_ros.core.errors import VlocError
from vloc_ros.footprint import one_blas_thread, restart_on_one_heap


class WaitingGroup(MutuallyExclusiveCallbackGroup):
    """For callbacks that wait for what other callbacks bring."""


class NodeExecutor(SingleThreadedExecutor):
    """Runs callbacks one after the other on the thread that spins; those of a WaitingGroup on threads of their own.

    rclpy 7's executor with many threads hands a callback out again and again until a thread has begun with it, and
    keeps the interpreter from that thread, and from the one that localizes, meanwhile.
    """

    def wait_for_ready_callbacks(self, *args: Any, **kwargs: Any) -> Any:
        """The next task for the thread that spins, with its entity and node."""
        while True:
            task, entity, node = super().wait_for_ready_callbacks(*args, **kwargs)
            if not isinstance(getattr(entity, "callback_group", None), WaitingGroup):
                return task, entity, node
            _begin(task)


def _begin(task: Task) -> None:
    """Run a task on a thread; what is handed out once more before the thread is that far finds it locked, or done."""
    begun = threading.Event()

    def run() -> None:
        begun.set()
        task()
        if task.done():
            task.result()

    threading.Thread(target=run, name="waiting", daemon=True).start()
    begun.wait()


def run_node(make: Callable[[], Node]) -> None:
    """Run one node until it is interrupted, or until its future `done` is, and exit the process."""
    restart_on_one_heap()
    one_blas_thread()
    gc.freeze()  # what was imported is no garbage; to look through it took 35 ms, in which nothing else runs
    rclpy.init()
    code = 0
    try:
        node = make()
        try:
            _spin(node, getattr(node, "done", None) or Future())
        finally:
            node.destroy_node()
    except VlocError as error:
        print(f"vloc: {error}", file=sys.stderr)
        code = 1
    except KeyboardInterrupt:
        pass
    finally:
        rclpy.try_shutdown()
    sys.exit(code)


def _spin(node: Node, done: Future) -> None:
    executor = NodeExecutor()
    executor.add_node(node)
    try:
        spin(executor, done)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # rclpy answers SIGTERM and SIGINT by shutting down under the executor, which may then find an invalid context
        if rclpy.ok():
            raise
    finally:
        executor.shutdown(timeout_sec=1.0)


class _Until:
    """A future as the executor sees it, which wakes the executor already.

    rclpy 7 adds a callback to the future with every message, and keeps them all: four megabytes a minute at 30 Hz.
    """

    def __init__(self, future: Future) -> None:
        self.done = future.done

    def add_done_callback(self, callback: Any) -> None:
        """Nothing to add."""


def spin(executor: Executor, done: Future) -> None:
    """Spin until a future is done, over what a lifecycle transition on another thread takes away meanwhile."""
    done.add_done_callback(lambda _: executor.wake())
    until: Any = _Until(done)
    while not done.done() and rclpy.ok():
        try:
            executor.spin_once_until_future_complete(until)
        except InvalidHandle:
            # rclpy 7 looks at the events of a publisher while another thread destroys it
            continue
