"""The process of a node: start, spin, end; an expected failure ends it with one line and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future

from vloc_ros.core.errors import VlocError

# one for messages, one for a service that waits for an image, one for what it waits for
_THREADS = 3


def run_node(make: Callable[[], Node]) -> None:
    """Run one node until it is interrupted, or until its future `done` is, and exit the process."""
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
    executor = MultiThreadedExecutor(num_threads=_THREADS)
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
