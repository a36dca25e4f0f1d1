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

"""The process of a node: start, spin, shut down. An expected error ends it with one line and exit code 1."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import rclpy
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.task import Future, Task
from rclpy.utilities import remove_ros_args

from vloc_ros.core.config import Checked, parameters_of
from vloc_ros.core.errors import VlocError
from vloc_ros.footprint import limit_blas_threads, restart_on_one_heap


class WaitingGroup(MutuallyExclusiveCallbackGroup):
    """Group of callbacks that wait for other callbacks, one at a time."""


class ConcurrentGroup(ReentrantCallbackGroup):
    """Group of callbacks that take long, each call at once. They bound how many there are themselves."""


class NodeExecutor(SingleThreadedExecutor):
    """Runs callbacks one after the other on the spinning thread; those of the groups above on threads of their own.

    The multi-threaded executor of rclpy 7 returns a callback again and again until a thread has started it. That
    keeps the interpreter busy, at the cost of that thread and of the one that localizes.
    """

    def wait_for_ready_callbacks(self, *args: Any, **kwargs: Any) -> Any:
        """Return the next task for the spinning thread, with its entity and node."""
        while True:
            task, entity, node = super().wait_for_ready_callbacks(*args, **kwargs)
            if not isinstance(getattr(entity, "callback_group", None), WaitingGroup | ConcurrentGroup):
                return task, entity, node
            _begin(task)


def _begin(task: Task) -> None:
    """Run a task on a thread, and wait until it has started, so that the executor does not return it again."""
    begun = threading.Event()

    def run() -> None:
        begun.set()
        task()
        try:
            if task.done():
                task.result()
        except InvalidHandle as error:  # the node may be destroyed meanwhile, and with it the service
            get_logger("vloc_ros").info(f"a response was lost: {error}")
        except Exception:  # a bug: whoever asked waits in vain, but the node goes on, and its log says why
            get_logger("vloc_ros").fatal(f"a request has no response: {traceback.format_exc()}")

    threading.Thread(target=run, name="waiting", daemon=True).start()
    begun.wait()


def run_node(make: Callable[[], Node], *configurations: Checked) -> None:
    """Run one node until it is interrupted, or until its future `done` is, and exit the process.

    Args:
        make: makes the node.
        configurations: its parameters, for `--help`.
    """
    _read_arguments(configurations)
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


def _read_arguments(configurations: Sequence[Checked]) -> None:
    """Print the usage of a node on request; refuse arguments that are not those of ROS, which would be ignored."""
    try:
        program, *given = remove_ros_args(sys.argv)
    except RuntimeError as error:  # such as a parameter file that is missing
        print(f"vloc: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    if not given:
        return
    usage = f"usage: ros2 run vloc_ros {Path(program).stem} --ros-args [-p NAME:=VALUE]... [-r NAME:=NAME]..."
    if {"-h", "--help"} & set(given):
        leaves = [leaf for configuration in configurations for leaf in parameters_of(configuration)]
        print(usage, *(f"  {leaf.name}: {leaf.description} (default {leaf.value!r})" for leaf in leaves), sep="\n")
        sys.exit(0)
    print(f"vloc: unknown argument {given[0]}; parameters follow --ros-args; {usage}", file=sys.stderr)
    sys.exit(2)


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
