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

"""The last result of each sensor, and the wait of a service for a new one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from vloc_msgs.msg import LocalizationStatus


class LastResults:
    """The worker writes, a service waits. Results are numbered by the messages received when theirs arrived."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._sensors: tuple[str, ...] = ()
        self._results: dict[str, tuple[int, LocalizationStatus]] = {}

    @property
    def open(self) -> bool:
        """Whether results may come."""
        return bool(self._sensors)

    def begin(self, sensors: Sequence[str]) -> None:
        """Discard all results; those of these sensors will come."""
        with self._changed:
            self._sensors, self._results = tuple(sensors), {}

    def put(self, number: int, status: LocalizationStatus) -> None:
        """Store the result of the message with that number."""
        with self._changed:
            self._results[status.sensor] = (number, status)
            self._changed.notify_all()

    def close(self) -> None:
        """No more results will come."""
        with self._changed:
            self._sensors = ()
            self._changed.notify_all()

    def wait_after(self, number: int, timeout_s: float) -> LocalizationStatus | None:
        """Wait for a fix of a message after that number, and return it; at the timeout the newest refusal, if any.

        A refusal ends nothing before: the next images may be better, and a held fix is confirmed by them.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self.open or self._find_fix(number) is not None, timeout_s)
            newer = self._newer_than(number)
            return self._find_fix(number) or (newer[-1] if newer else None)

    def _find_fix(self, number: int) -> LocalizationStatus | None:
        return next((one for one in self._newer_than(number) if one.status == LocalizationStatus.OK), None)

    def _newer_than(self, number: int) -> list[LocalizationStatus]:
        """Return the results of messages after that number, the newest last."""
        newer = sorted((one for one in self._results.values() if one[0] > number), key=lambda one: one[0])
        return [status for _, status in newer]
