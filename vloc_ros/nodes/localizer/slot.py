"""A slot of depth one between a callback and a worker; the latest item replaces the previous one."""

from __future__ import annotations

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class LatestSlot(Generic[T]):
    """Holds at most one item. `put` never blocks; `take` waits."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._item: T | None = None
        self._closed = False

    def put(self, item: T) -> T | None:
        """Store an item; return the one that it replaces."""
        with self._changed:
            displaced, self._item = self._item, item
            self._changed.notify()
        return displaced

    def take(self) -> T | None:
        """Wait for an item and return it; None after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._closed)
            item, self._item = self._item, None
            return None if self._closed else item

    def wait(self, timeout_s: float) -> bool:
        """Wait for an item and leave it in the slot; return False at the timeout. Return at once after `close`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)

    def close(self) -> None:
        """Release a waiting worker; discard the item."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
