"""One query on its way: its features, and how long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vloc_ros.core.features import Features
from vloc_ros.core.query import Query
from vloc_ros.core.sight import Lookout


class StageClock:
    """Adds up milliseconds by stage on the monotonic clock."""

    def __init__(self) -> None:
        self.times_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as a part of `name`."""
        start = time.perf_counter()
        yield
        self.times_ms[name] = self.times_ms.get(name, 0.0) + (time.perf_counter() - start) * 1e3


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What everything that answers a query needs of it.

    Attributes:
        query: the images,
        features: of each of its views,
        lookout: and their keypoints by where they lie.
        clock: what has been taken so far.
    """

    query: Query
    features: Sequence[Features]
    lookout: Lookout
    clock: StageClock

    @property
    def keypoints(self) -> int:
        """Of all views."""
        return sum(len(found) for found in self.features)
