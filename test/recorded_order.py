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

"""Bags in which messages are recorded in the order of writing, whatever their stamps say."""

from __future__ import annotations

from typing import Any

from vloc_ros.bags.writing import BagWriter

_STEP_NS = 1_000_000


class OrderedWriter(BagWriter):
    """Records each message a millisecond after the one before."""

    def __enter__(self) -> OrderedWriter:
        super().__enter__()
        write, self._written = self._writer.write, 0

        def write_next(connection: Any, _: int, data: Any) -> None:
            self._written += 1
            write(connection, self._written * _STEP_NS, data)

        self._writer.write = write_next  # type: ignore[method-assign]
        return self
