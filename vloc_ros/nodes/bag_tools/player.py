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

"""Plays a bag through DDS at its own rate, with unchanged bytes.

All topics are published reliably, otherwise large raw images are lost. Static transforms are sent first, the rest once
the topic `wait_for` has a subscriber.
"""

from __future__ import annotations

import importlib
import json
import struct
import threading
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.task import Future
from rosgraph_msgs.msg import Clock as ClockMessage

from vloc_ros.bags.reading import Bag, BagMessage, BagTopic
from vloc_ros.core.errors import InputError
from vloc_ros.node_config import PlayerConfig
from vloc_ros.nodes.localizer.diagnostics import values_of
from vloc_ros.nodes.rclpy_support.conversion import time_message
from vloc_ros.nodes.rclpy_support.parameters import config_of, declare_parameters
from vloc_ros.nodes.rclpy_support.process import run_node
from vloc_ros.storage.atomic import write_bytes_atomically

_NS_PER_S = 1_000_000_000
_DEPTH = 100
_POLL_S = 0.02
_ACKNOWLEDGED_WITHIN = Duration(seconds=5)


class PlayerNode(Node):
    """Plays its bag once, in a thread, then ends the process."""

    def __init__(self, **options: Any) -> None:
        super().__init__("vloc_player", automatically_declare_parameters_from_overrides=True, **options)
        declare_parameters(self, PlayerConfig())
        self._config = config_of(self, PlayerConfig)
        self._interrupted = threading.Event()
        self.done = Future()
        self.error: Exception | None = None
        self._log: list[str] = []
        self._ready = threading.Event()
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self._thread = threading.Thread(target=self._run, name="player", daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """Stop playing."""
        self._interrupted.set()
        self._thread.join()
        super().destroy_node()
        if self.error is not None:
            raise self.error

    def _run(self) -> None:
        try:
            try:
                with Bag(Path(self._config.bag)) as bag:
                    self._play(bag)
            finally:
                if self._config.log:
                    write_bytes_atomically(Path(self._config.log), "".join(self._log).encode())
        except Exception as error:  # ends the process, which reports it
            self.error = error
        finally:
            self.done.set_result(True)

    def _play(self, bag: Bag) -> None:
        skipped = {name.strip() for name in self._config.skip.split(",")}
        topics = [topic for topic in bag.topics if topic.name not in skipped]
        publishers = {topic.name: self._publisher(topic) for topic in topics if _message_class(topic.msgtype)}
        for name in sorted({topic.name for topic in topics} - set(publishers)):
            self.get_logger().warning(f"{name} is not played: its message type is not installed")
        latched = [topic.name for topic in topics if topic.latched and topic.name in publishers]
        for message in bag.messages(latched):
            publishers[message.topic].publish(message.cdr)
        self._wait(publishers)
        clock = self.create_publisher(ClockMessage, "/clock", 10) if self._config.clock else None
        moving = [name for name in publishers if name not in latched]
        self._play_moving(bag, publishers, moving, clock)
        for publisher in publishers.values():
            publisher.wait_for_all_acked(_ACKNOWLEDGED_WITHIN)

    def _play_moving(
        self, bag: Bag, publishers: dict[str, Publisher], moving: list[str], clock: Publisher | None
    ) -> None:
        start_ns, sent = time.monotonic_ns(), 0
        for message in bag.messages(moving):
            due_ns = start_ns + int((message.recorded_ns - bag.start_ns) / self._config.rate)
            if self._interrupted.wait(max(0.0, (due_ns - time.monotonic_ns()) / _NS_PER_S)):
                return
            if clock is not None:
                clock.publish(ClockMessage(clock=time_message(message.recorded_ns)))
            self._note(message)
            publishers[message.topic].publish(message.cdr)
            sent += message.topic == self._config.wait_for
            if self._config.limit and sent >= self._config.limit:
                return

    def _publisher(self, topic: BagTopic) -> Publisher:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if topic.latched else DurabilityPolicy.VOLATILE
        return self.create_publisher(
            _message_class(topic.msgtype), topic.name, QoSProfile(depth=_DEPTH, durability=durability)
        )

    def _wait(self, publishers: dict[str, Publisher]) -> None:
        """Wait until the subscribers are there; rclpy has no event for discovery."""
        topic, localizer = self._config.wait_for, self._config.wait_for_localizer
        if topic and topic not in publishers:
            raise InputError(f"the bag has no topic {topic}; topics there: {', '.join(publishers)}")
        deadline = time.monotonic() + self._config.wait_timeout_s
        while not self._interrupted.wait(_POLL_S):
            subscribed = not topic or publishers[topic].get_subscription_count() > 0
            if subscribed and (not localizer or self._ready.is_set()):
                return
            if time.monotonic() > deadline:
                missing = f"no subscriber of {topic}" if not subscribed else f"{localizer} was not ready"
                raise InputError(f"{missing} within {self._config.wait_timeout_s:g} s; is the localizer active?")

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = values_of(message, self._config.wait_for_localizer)
        if values.get("map", "none") != "none" and values.get("listeners", "0") != "0":
            self._ready.set()

    def _note(self, message: BagMessage) -> None:
        if self._config.log:
            row = {"topic": message.topic, "stamp_ns": _stamp_ns(message.cdr), "published_ns": time.monotonic_ns()}
            self._log.append(json.dumps(row) + "\n")


def _message_class(msgtype: str) -> Any:
    """Return the class of a message type such as `sensor_msgs/msg/Image`; None if it is not installed."""
    package, _, name = msgtype.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name, None)
    except ImportError:
        return None


def _stamp_ns(cdr: bytes) -> int:
    """Return the stamp of a serialised message with a header; meaningless for messages without one."""
    order = "<" if cdr[1] & 1 else ">"
    seconds, nanoseconds = struct.unpack_from(f"{order}iI", cdr, 4) if len(cdr) >= 12 else (0, 0)
    return int(seconds * _NS_PER_S + nanoseconds)


def main() -> None:
    """Entry point `player`."""
    run_node(PlayerNode, PlayerConfig())


if __name__ == "__main__":
    main()
