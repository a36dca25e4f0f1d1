"""Images of several cameras, gathered into sets of one moment. Knows neither ROS nor a clock."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")

# more moments than these at once come from stamps that make no sense
_MOST_OPEN = 8
# how many sets are remembered for the images that come too late for them: two seconds of a rig at 30 Hz
_REMEMBERED = 64


@dataclass(slots=True, eq=False)
class ImageSet(Generic[T]):
    """Images of one moment, at most one of each camera.

    Attributes:
        first_ns, last_ns: the oldest and the newest stamp.
        deadline_ns: arrival time until which others are waited for.
        items: what came, by the number of its camera.
    """

    first_ns: int
    last_ns: int
    deadline_ns: int
    items: dict[int, T] = field(default_factory=dict)

    def lacks(self, camera: int, stamp_ns: int, window_ns: int) -> bool:
        """Whether an image of that camera and time belongs to it."""
        span_ns = max(self.last_ns, stamp_ns) - min(self.first_ns, stamp_ns)
        return camera not in self.items and span_ns <= window_ns

    def add(self, camera: int, stamp_ns: int, item: T) -> None:
        """Take an image in."""
        self.first_ns, self.last_ns = min(self.first_ns, stamp_ns), max(self.last_ns, stamp_ns)
        self.items[camera] = item


class ImageSynchronizer(Generic[T]):
    """Images whose stamps lie within a window are one set.

    A set is handed over when every camera has delivered, when it has waited long enough, or when a later one that was
    begun after it is handed over. Each image is part of exactly one set; one that comes after its set was handed over
    is late, and refused. A second image of one camera within the window begins a set of its own. Of a single camera
    every image is a set, at once.
    """

    def __init__(self, cameras: int, *, window_ns: int, wait_ns: int) -> None:
        self._cameras, self._window_ns, self._wait_ns = cameras, window_ns, wait_ns
        self._open: list[ImageSet[T]] = []  # in the order in which they were begun
        self._handed_over: deque[tuple[int, int, frozenset[int]]] = deque(maxlen=_REMEMBERED)

    @property
    def deadline_ns(self) -> int | None:
        """When the next set is due, None while there is none."""
        return min((one.deadline_ns for one in self._open), default=None)

    def put(self, camera: int, item: T, *, stamp_ns: int, arrival_ns: int) -> list[ImageSet[T]]:
        """Take an image in; the sets that are ready now, those begun earlier first.

        Args:
            camera: its number, from zero.
            item: the image.
            stamp_ns: when it was taken, in the time of the cameras.
            arrival_ns: now, in a time that never goes back.
        """
        home = self._home(camera, stamp_ns)
        if home is not None:  # before it is handed over for being overdue
            home.add(camera, stamp_ns, item)
        ready = self.due(arrival_ns)
        if home is None:
            home = ImageSet(stamp_ns, stamp_ns, arrival_ns + self._wait_ns, {camera: item})
            self._open.append(home)
        if home in self._open and len(home.items) == self._cameras:
            ready += self._hand_over(home)
        elif len(self._open) > _MOST_OPEN:
            ready += self._hand_over(self._open[0])
        return ready

    def is_late(self, camera: int, stamp_ns: int) -> bool:
        """Whether the set that an image belongs to was handed over without it."""
        if self._home(camera, stamp_ns) is not None:
            return False
        return any(
            camera not in cameras and max(last_ns, stamp_ns) - min(first_ns, stamp_ns) <= self._window_ns
            for first_ns, last_ns, cameras in self._handed_over
        )

    def due(self, now_ns: int) -> list[ImageSet[T]]:
        """Sets that have waited long enough."""
        ready = []
        for one in list(self._open):
            if one in self._open and one.deadline_ns <= now_ns:
                ready += self._hand_over(one)
        return ready

    def _home(self, camera: int, stamp_ns: int) -> ImageSet[T] | None:
        """The set nearest in time that an image belongs to."""
        lacking = [one for one in self._open if one.lacks(camera, stamp_ns, self._window_ns)]
        return min(lacking, key=lambda one: abs(one.first_ns - stamp_ns), default=None)

    def _hand_over(self, newest: ImageSet[T]) -> list[ImageSet[T]]:
        """A set, after those that were begun before it and are older."""
        before = self._open[: self._open.index(newest)]
        ready = [*(one for one in before if one.first_ns <= newest.first_ns), newest]
        self._open = [one for one in self._open if one not in ready]
        self._handed_over.extend((one.first_ns, one.last_ns, frozenset(one.items)) for one in ready)
        return ready
