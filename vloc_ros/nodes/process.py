"""The process of a node: start, spin, end; an expected failure ends it with one line and exit code 1."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import FrameType

import rclpy
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.node import Node

from vloc_ros.core.errors import VlocError

# one for messages, one for a service that waits for an image, one for what it waits for
_THREADS = 3


def run_node(make: Callable[[], Node]) -> None:
    """Run one node until it is interrupted or done, and exit the process."""
    rclpy.init()
    code = 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        node = make()
        executor = MultiThreadedExecutor(num_threads=_THREADS)
        executor.add_node(node)
        try:
            executor.spin()
        finally:
            executor.shutdown(timeout_sec=1.0)
            node.destroy_node()
    except VlocError as error:
        print(f"vloc: {error}", file=sys.stderr)
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        rclpy.try_shutdown()
    sys.exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
