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
