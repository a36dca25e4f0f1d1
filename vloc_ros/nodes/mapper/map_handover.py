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

"""Has the map server load a map that was built."""

from __future__ import annotations

import threading
import time

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node

from vloc_msgs.srv import LoadMap

_SERVICE_TIMEOUT_S, _RESPONSE_TIMEOUT_S, _POLL_S = 5.0, 60.0, 0.1


class MapHandover:
    """Calls `load_map` of a map server, on a thread other than the executor's."""

    def __init__(self, node: Node, map_server: str) -> None:
        """`map_server` is its name; empty for none."""
        self._node, self._service = node, f"{map_server}/load_map"
        self._closed, self._woken = threading.Event(), threading.Event()
        self._client = None
        if map_server:
            self._client = node.create_client(LoadMap, self._service, callback_group=ReentrantCallbackGroup())

    def hand_over(self, name: str) -> str:
        """Have a map loaded by its name, and wait; returns why it was not, or an empty text."""
        if self._client is None:
            return "the parameter map_server is empty, so that no map server loads the map"
        deadline = time.monotonic() + _SERVICE_TIMEOUT_S
        while not self._client.service_is_ready():  # for which rclpy has no event
            if self._closed.wait(_POLL_S) or time.monotonic() > deadline:
                return f"nobody serves {self._service}, so that no map server loads the map; start it and call load_map"
        future = self._client.call_async(LoadMap.Request(name=name))
        future.add_done_callback(lambda _: self._woken.set())
        self._woken.wait(_RESPONSE_TIMEOUT_S)
        self._woken.clear()
        if not future.done():
            self._client.remove_pending_request(future)
            return f"{self._service} did not respond within {_RESPONSE_TIMEOUT_S:g} s"
        response = future.result()
        if response.result != LoadMap.Response.SUCCESS:
            return f"the map server does not load the map: {response.message}; its maps_folder must be the mapper's"
        return ""

    def abort(self) -> None:
        """Release whoever waits."""
        self._closed.set()
        self._woken.set()

    def close(self) -> None:
        """Destroy the client, which nobody waits for any more."""
        if self._client is not None:
            self._node.destroy_client(self._client)
