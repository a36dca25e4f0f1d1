"""The process of a node: start, spin, shut down. An expected error ends it with one line and exit code 1."""

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
from vloc_ros.footprint import limit_blas_threads, restart_on_one_heap


class WaitingGroup(MutuallyExclusiveCallbackGroup):
    """Group of callbacks that wait for other callbacks."""


class NodeExecutor(SingleThreadedExecutor):
    """Runs callbacks one after the other on the spinning thread; those of a WaitingGroup on threads of their own.

    The multi-threaded executor of rclpy 7 returns a callback again and again until a thread has started it. That
    keeps the interpreter busy, at the cost of that thread and of the one that localizes.
    """

    def wait_for_ready_callbacks(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next task for the spinning thread, with its entity and node."""
        while True:
            task, entity, node = super().wait_for_ready_callbacks(*args, **kwargs)
            if not isinstance(getattr(entity, "callback_group", None), WaitingGroup):
                return task, entity, node
            _begin(task)


def _begin(task: Task) -> None:
    """Run a task on a thread, and wait until it has started, so that the executor does not return it again."""
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
    limit_blas_threads()
    gc.freeze()  # imported objects are never garbage; scanning them took 35 ms, in which nothing else runs
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
        # on SIGTERM and SIGINT rclpy shuts down under the executor, which may then find an invalid context
        if rclpy.ok():
            raise
    finally:
        executor.shutdown(timeout_sec=1.0)


class _Until:
    """A future for the executor that accepts no callbacks; the future itself already wakes the executor.

    rclpy 7 adds a callback to the future with every message and keeps them all: four megabytes a minute at 30 Hz.
    """

    def __init__(self, future: Future) -> None:
        self.done = future.done

    def add_done_callback(self, callback: Any) -> None:
        """Ignore the callback."""


def spin(executor: Executor, done: Future) -> None:
    """Spin until a future is done; tolerate entities that a transition on another thread destroys meanwhile."""
    done.add_done_callback(lambda _: executor.wake())
    until: Any = _Until(done)
    while not done.done() and rclpy.ok():
        try:
            executor.spin_once_until_future_complete(until)
        except InvalidHandle:
            # rclpy 7 reads the events of a publisher while another thread destroys it
            continue
