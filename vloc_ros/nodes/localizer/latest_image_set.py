"""Hand-over of images from the callbacks of several cameras to a worker: only the latest image set is kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from vloc_ros.nodes.localizer.image_synchronizer import ImageSet, ImageSynchronizer

T = TypeVar("T")

_DISPLACED = "a newer image arrived before this one was processed"
_LATE = "it arrived after its image set was handed over; raise rig_wait_s if this happens often"


class LatestImageSet(Generic[T]):
    """Holds at most one complete set. `put` never blocks; `take` waits."""

    def __init__(self, synchronizer: ImageSynchronizer[T], *, on_dropped: Callable[[list[T], str], None]) -> None:
        """`on_dropped` is called from `put` and `take` with dropped images and the reason."""
        self._synchronizer, self._on_dropped = synchronizer, on_dropped
        self._changed = threading.Condition()
        self._ready: list[T] | None = None
        self._closed = False

    def put(self, camera: int, item: T, *, stamp_ns: int) -> None:
        """Add an image of a camera."""
        with self._changed:
            late = self._synchronizer.is_late(camera, stamp_ns)
            displaced = [] if late else self._add_image(camera, item, stamp_ns)
            self._changed.notify()
        if late:
            self._on_dropped([item], _LATE)
        self._drop(displaced)

    def take(self) -> list[T] | None:
        """Wait for a set and return its images in the order of the cameras; None after `close`."""
        displaced: list[list[T]] = []
        with self._changed:
            while not self._closed:
                displaced = self._keep_newest(self._synchronizer.pop_due(time.monotonic_ns()))
                if self._ready is not None:
                    break
                self._changed.wait(self._patience_s())
            taken, self._ready = self._ready, None
            closed = self._closed
        self._drop(displaced)
        return None if closed else taken

    def close(self) -> None:
        """Release the waiting worker; discard all images."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _add_image(self, camera: int, item: T, stamp_ns: int) -> list[list[T]]:
        ready = self._synchronizer.put(camera, item, stamp_ns=stamp_ns, arrival_ns=time.monotonic_ns())
        return self._keep_newest(ready)

    def _keep_newest(self, sets: list[ImageSet[T]]) -> list[list[T]]:
        """Keep the last set; return the others and the one that it replaces."""
        if not sets:
            return []
        *passed, self._ready = [
            *([] if self._ready is None else [self._ready]),
            *([one.items[camera] for camera in sorted(one.items)] for one in sets),
        ]
        return passed

    def _patience_s(self) -> float | None:
        """Return the time until the next deadline, None without one."""
        deadline_ns = self._synchronizer.deadline_ns
        return None if deadline_ns is None else max(deadline_ns - time.monotonic_ns(), 0) * 1e-9

    def _drop(self, displaced: list[list[T]]) -> None:
        for items in displaced:
            self._on_dropped(items, _DISPLACED)
