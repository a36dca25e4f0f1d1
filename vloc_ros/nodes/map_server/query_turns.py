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

"""Whose turn it is: queries are computed one at a time, a bounded number waits, and none does when the node stops."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from vloc_msgs.srv import QueryPlaces
from vloc_ros.nodes.map_server.refusal import QueryRefused

_CODES = QueryPlaces.Response


class QueryTurns:
    """Threads take turns in the order of arrival, between `open` and `close`. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._is_open = self._is_taken = False

    def open(self) -> None:
        """Admit queries."""
        with self._changed:
            self._is_open = True

    def close(self) -> None:
        """Refuse the queries that wait, and further ones; one that is computed goes on."""
        with self._changed:
            self._is_open = False
            self._waiting.clear()
            self._changed.notify_all()

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait for the query that is computed; return whether there is none."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._is_taken, timeout_s)

    @contextmanager
    def take(self, *, most_waiting: int) -> Iterator[None]:
        """Wait for the turn of this thread, which ends with the context.

        Args:
            most_waiting: queries that may wait while one is computed.

        Raises:
            QueryRefused: the node is not active (NOT_ACTIVE), or too many queries wait (BUSY).
        """
        self._wait(most_waiting)
        try:
            yield
        finally:
            with self._changed:
                self._is_taken = False
                self._changed.notify_all()

    def _wait(self, most_waiting: int) -> None:
        with self._changed:
            if not self._is_open:
                raise QueryRefused(_CODES.NOT_ACTIVE, "the node is not active; activate it")
            ahead = len(self._waiting) + self._is_taken
            if ahead > most_waiting:
                raise QueryRefused(
                    _CODES.BUSY,
                    f"one query is computed and {ahead - 1} wait, as many as may (query.max_waiting {most_waiting}); "
                    "wait for responses before you send more",
                )
            ticket = object()
            self._waiting.append(ticket)
            self._changed.wait_for(lambda: self._is_next(ticket) or ticket not in self._waiting)
            if ticket not in self._waiting:
                raise QueryRefused(_CODES.NOT_ACTIVE, "the node was deactivated while the query waited; activate it")
            self._waiting.popleft()
            self._is_taken = True

    def _is_next(self, ticket: object) -> bool:
        return bool(self._waiting) and self._waiting[0] is ticket and not self._is_taken
