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

"""Nodes of the test process, and a node of the test to communicate with them."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from typing import Any

from rclpy.lifecycle import LifecycleNode
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.task import Future

from vloc_ros.nodes.rclpy_support.process import NodeExecutor, spin

WAIT_S = 30.0
RETRY_S = 0.5
POLL_S = 0.02


class Ros:
    """Nodes of this process on an executor, and a node of the test to communicate with them."""

    def __init__(self) -> None:
        gc.collect()  # a lifecycle node of an earlier test stays in the graph until its state machine is freed
        self._done = Future()
        self._executor = NodeExecutor()
        self.node = Node("test")
        self._nodes: list[Node] = []
        self._clients: dict[str, Any] = {}
        self._never = threading.Event()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor, self._done), daemon=True)
        self._thread.start()

    def add(self, make: Callable[..., Node], **parameters: Any) -> Any:
        """Start a node with parameters."""
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        node = make(parameter_overrides=overrides)
        self._nodes.append(node)
        self._executor.add_node(node)
        return node

    def collect(self, kind: Any, topic: str, qos: QoSProfile | int = 100) -> Inbox:
        """Collect the messages of a topic from now on."""
        inbox = Inbox()
        self.node.create_subscription(kind, topic, inbox.put, qos)
        return inbox

    def _client(self, kind: Any, service: str) -> Any:
        if service not in self._clients:
            self._clients[service] = self.node.create_client(kind, service)
        return self._clients[service]

    def call(self, kind: Any, service: str, request: Any) -> Any:
        """Call a service and wait for the response."""
        return self.send(kind, service, request).wait()

    def send(self, kind: Any, service: str, request: Any) -> Response:
        """Call a service without waiting for the response."""
        client = self._client(kind, service)
        assert client.wait_for_service(WAIT_S), f"no service {service}"
        return Response(client.call_async(request), service)

    def call_while(self, kind: Any, service: str, request: Any, act: Callable[[], Any]) -> Any:
        """Call a service, and do something again and again until it responds."""
        response = self.send(kind, service, request)
        for _ in range(round(WAIT_S / RETRY_S)):
            act()
            if response.arrived.wait(RETRY_S):
                return response.wait()
        raise AssertionError(f"{service} did not respond")

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition for which ROS has no event, such as discovery."""
        deadline = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < deadline, "the condition never came true"
            self._never.wait(POLL_S)

    def close(self) -> None:
        for node in self._nodes:
            if isinstance(node, LifecycleNode) and getattr(node, "state", "") != "finalized":
                node.trigger_shutdown()
        self._done.set_result(True)
        self._thread.join(WAIT_S)
        self._executor.shutdown(timeout_sec=WAIT_S)
        for node in [*self._nodes, self.node]:
            node.destroy_node()


class Response:
    """What a service will respond."""

    def __init__(self, future: Future, service: str) -> None:
        self._future, self._service = future, service
        self.arrived = threading.Event()
        future.add_done_callback(lambda _: self.arrived.set())

    def wait(self) -> Any:
        """Wait for the response and return it."""
        assert self.arrived.wait(WAIT_S), f"{self._service} did not respond"
        return self._future.result()


class Inbox:
    """Received messages; a test can wait until they satisfy a condition."""

    def __init__(self) -> None:
        self._received = threading.Condition()
        self.messages: list[Any] = []

    def put(self, message: Any) -> None:
        with self._received:
            self.messages.append(message)
            self._received.notify_all()

    def wait(self, satisfied: Callable[[list[Any]], bool], what: str = "") -> list[Any]:
        with self._received:
            assert self._received.wait_for(lambda: satisfied(self.messages), WAIT_S), f"not received: {what}"
            return list(self.messages)
