"""Synchronizes images of several cameras into sets. Needs neither ROS nor a clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# more open sets than this are caused by invalid stamps
_MOST_OPEN = 8
# how many released sets are remembered to detect late images: two seconds of a rig at 30 Hz
_REMEMBERED = 64


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
    """Groups images whose stamps lie within a window.

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
