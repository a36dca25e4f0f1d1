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

"""Hand-over from callbacks to a worker: the latest item replaces the previous one.

LatestSlot holds one item. LatestImageSet holds one set of images of several cameras, which ImageSynchronizer groups.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# more open sets than this are caused by invalid stamps
_MOST_OPEN = 8
# how many released sets are remembered to detect late images: two seconds of a rig at 30 Hz
_REMEMBERED = 64
_DISPLACED = "a newer image arrived before this one was processed"
_LATE = "it arrived after its image set was handed over; raise rig_wait_s if this happens often"


class LatestSlot(Generic[T]):
    """Holds at most one item. `put` never blocks; `take` waits."""

    def __init__(self, changed: threading.Condition | None = None) -> None:
        """`changed` is notified of every item; one condition of several slots lets a worker wait for all of them."""
        self._changed = changed or threading.Condition()
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

    @property
    def is_filled(self) -> bool:
        """Whether there is an item."""
        return self._item is not None

    def poll(self) -> T | None:
        """Return the item if there is one, without waiting."""
        with self._changed:
            item, self._item = self._item, None
        return item

    def wait(self, timeout_s: float) -> bool:
        """Wait for an item and leave it in the slot; return False at the timeout. Return at once after `close`."""
        with self._changed:
            return self._changed.wait_for(lambda: self._item is not None or self._closed, timeout_s)

    def close(self) -> None:
        """Release a waiting worker; discard the item."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class LatestImageSet(Generic[T]):
    """Holds at most one complete set. `put` never blocks; `take` waits."""

    def __init__(
        self,
        synchronizer: ImageSynchronizer[T],
        *,
        on_dropped: Callable[[list[T], str], None],
        changed: threading.Condition | None = None,
    ) -> None:
        """A slot without a set.

        Args:
            synchronizer: groups the images.
            on_dropped: called from `put`, `take` and `report_displaced` with dropped images and the reason.
            changed: notified of every image; one condition of several slots lets a worker wait for all of them.
        """
        self._synchronizer, self._on_dropped = synchronizer, on_dropped
        self._changed = changed or threading.Condition()
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
        self.report_displaced(displaced)

    def take(self) -> list[T] | None:
        """Wait for a set and return its images in the order of the cameras; None after `close`."""
        while True:
            taken, displaced = self.poll()
            self.report_displaced(displaced)
            with self._changed:
                if self._closed:
                    return None
                if taken is not None:
                    return taken
                if self._ready is None:
                    self._changed.wait(self.patience_s())

    def poll(self) -> tuple[list[T] | None, list[list[T]]]:
        """Return the images of a set that is complete or due, None if there is none, and displaced sets; do not wait.

        Displaced sets are for `report_displaced`, once the caller has released the lock of `changed`.
        """
        with self._changed:
            displaced = self._keep_newest(self._synchronizer.pop_due(time.monotonic_ns()))
            taken, self._ready = self._ready, None
        return taken, displaced

    def report_displaced(self, displaced: list[list[T]]) -> None:
        """Report sets that newer ones displaced."""
        for items in displaced:
            self._on_dropped(items, _DISPLACED)

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

    def patience_s(self) -> float | None:
        """Return the time until the next deadline, None without one."""
        deadline_ns = self._synchronizer.deadline_ns
        return None if deadline_ns is None else max(deadline_ns - time.monotonic_ns(), 0) * 1e-9


@dataclass(slots=True, eq=False)
class ImageSet(Generic[T]):
    """Images taken at about the same time, at most one of each camera.

    Attributes:
        first_ns: oldest stamp.
        last_ns: newest stamp.
        deadline_ns: arrival time until which the set waits for other images.
        items: images by camera number.
    """

    first_ns: int
    last_ns: int
    deadline_ns: int
    items: dict[int, T] = field(default_factory=dict)

    def accepts(self, camera: int, stamp_ns: int, window_ns: int) -> bool:
        """Return whether an image of that camera and time belongs to the set."""
        span_ns = max(self.last_ns, stamp_ns) - min(self.first_ns, stamp_ns)
        return camera not in self.items and span_ns <= window_ns

    def add(self, camera: int, stamp_ns: int, item: T) -> None:
        """Add an image."""
        self.first_ns, self.last_ns = min(self.first_ns, stamp_ns), max(self.last_ns, stamp_ns)
        self.items[camera] = item


class ImageSynchronizer(Generic[T]):
    """Groups images of several cameras whose stamps lie within a window. Needs neither ROS nor a clock.

    A set is handed over when it has an image of every camera, at its deadline, or when a later set that was begun
    after it is handed over. Each image is part of exactly one set. An image that arrives after its set was handed over
    is late, and refused. A second image of one camera within the window begins a set of its own. With a single camera
    every image is a set, handed over at once.
    """

    def __init__(self, cameras: int, *, window_ns: int, wait_ns: int) -> None:
        self._cameras, self._window_ns, self._wait_ns = cameras, window_ns, wait_ns
        self._open: list[ImageSet[T]] = []  # in the order in which they were begun
        self._handed_over: deque[tuple[int, int, frozenset[int]]] = deque(maxlen=_REMEMBERED)

    @property
    def deadline_ns(self) -> int | None:
        """Earliest deadline of the open sets, None if there are none."""
        return min((one.deadline_ns for one in self._open), default=None)

    def put(self, camera: int, item: T, *, stamp_ns: int, arrival_ns: int) -> list[ImageSet[T]]:
        """Add an image; return the sets that are complete or due, those begun earlier first.

        Args:
            camera: number of the camera, from zero.
            item: the image.
            stamp_ns: capture time, by the clock of the cameras.
            arrival_ns: current time, by a monotonic clock.
        """
        image_set = self._find_set(camera, stamp_ns)
        if image_set is not None:  # before an overdue set is handed over without it
            image_set.add(camera, stamp_ns, item)
        ready = self.pop_due(arrival_ns)
        if image_set is None:
            image_set = ImageSet(stamp_ns, stamp_ns, arrival_ns + self._wait_ns, {camera: item})
            self._open.append(image_set)
        if image_set in self._open and len(image_set.items) == self._cameras:
            ready += self._hand_over(image_set)
        elif len(self._open) > _MOST_OPEN:
            ready += self._hand_over(self._open[0])
        return ready

    def is_late(self, camera: int, stamp_ns: int) -> bool:
        """Return whether the set that an image belongs to was handed over without it."""
        if self._find_set(camera, stamp_ns) is not None:
            return False
        return any(
            camera not in cameras and max(last_ns, stamp_ns) - min(first_ns, stamp_ns) <= self._window_ns
            for first_ns, last_ns, cameras in self._handed_over
        )

    def pop_due(self, now_ns: int) -> list[ImageSet[T]]:
        """Remove and return the sets whose deadline has passed."""
        ready = []
        for one in list(self._open):
            if one in self._open and one.deadline_ns <= now_ns:
                ready += self._hand_over(one)
        return ready

    def _find_set(self, camera: int, stamp_ns: int) -> ImageSet[T] | None:
        """Return the nearest set in time that an image belongs to, None if there is none."""
        accepting = [one for one in self._open if one.accepts(camera, stamp_ns, self._window_ns)]
        return min(accepting, key=lambda one: abs(one.first_ns - stamp_ns), default=None)

    def _hand_over(self, newest: ImageSet[T]) -> list[ImageSet[T]]:
        """Remove and return a set, after the older sets that were begun before it."""
        before = self._open[: self._open.index(newest)]
        ready = [*(one for one in before if one.first_ns <= newest.first_ns), newest]
        self._open = [one for one in self._open if one not in ready]
        self._handed_over.extend((one.first_ns, one.last_ns, frozenset(one.items)) for one in ready)
        return ready
