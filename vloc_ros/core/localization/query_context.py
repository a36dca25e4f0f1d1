"""One query on its way: its features, and how long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.localization.scoring import KeypointGrid
from vloc_ros.core.query import Query


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
class QueryContext:
    """What everything that answers a query needs of it.

    Attributes:
        query: the images,
        features: of each of its views,
        lookout: and their keypoints by where they lie.
        clock: what has been taken so far.
    """

    query: Query
    features: Sequence[Features]
    lookout: KeypointGrid
    clock: StageClock

    @property
    def keypoints(self) -> int:
        """Of all views."""
        return sum(len(found) for found in self.features)
