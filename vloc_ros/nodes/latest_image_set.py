"""Between the callbacks of several cameras and a worker: images are gathered, and of the sets the newest wins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from vloc_ros.nodes.image_synchronizer import ImageSet, ImageSynchronizer

T = TypeVar("T")

_DISPLACED = "a newer image came before this one's turn"
_LATE = "it came after the other images of its moment were handed over; raise rig_wait_s when this happens often"


class LatestImageSet(Generic[T]):
    """Holds at most one set that is ready. `put` never blocks; `take` waits."""

    def __init__(self, gathering: ImageSynchronizer[T], *, on_dropped: Callable[[list[T], str], None]) -> None:
        """`on_dropped` is called, from either side, with the images that had to make way and the reason."""
        self._gathering, self._on_dropped = gathering, on_dropped
        self._changed = threading.Condition()
        self._ready: list[T] | None = None
        self._closed = False

    def put(self, camera: int, item: T, *, stamp_ns: int) -> None:
        """Put an image of a camera in."""
        with self._changed:
            late = self._gathering.is_late(camera, stamp_ns)
            displaced = [] if late else self._gathered(camera, item, stamp_ns)
            self._changed.notify()
        if late:
            self._on_dropped([item], _LATE)
        self._drop(displaced)

    def take(self) -> list[T] | None:
        """Wait for a set and take it, its images in the order of the cameras; None when the slot is closed."""
        displaced: list[list[T]] = []
        with self._changed:
            while not self._closed:
                displaced = self._newest_wins(self._gathering.due(time.monotonic_ns()))
                if self._ready is not None:
                    break
                self._changed.wait(self._patience_s())
            taken, self._ready = self._ready, None
            closed = self._closed
        self._drop(displaced)
        return None if closed else taken

    def close(self) -> None:
        """Let the one who waits go; what is inside is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _gathered(self, camera: int, item: T, stamp_ns: int) -> list[list[T]]:
        ready = self._gathering.put(camera, item, stamp_ns=stamp_ns, arrival_ns=time.monotonic_ns())
        return self._newest_wins(ready)

    def _newest_wins(self, sets: list[ImageSet[T]]) -> list[list[T]]:
        """Keep the last one; the others, with the one that was there."""
        if not sets:
            return []
        *passed, self._ready = [
            *([] if self._ready is None else [self._ready]),
            *([one.items[camera] for camera in sorted(one.items)] for one in sets),
        ]
        return passed

    def _patience_s(self) -> float | None:
        """Until the next set is due, None for ever."""
        deadline_ns = self._gathering.deadline_ns
        return None if deadline_ns is None else max(deadline_ns - time.monotonic_ns(), 0) * 1e-9

    def _drop(self, displaced: list[list[T]]) -> None:
        for items in displaced:
            self._on_dropped(items, _DISPLACED)
