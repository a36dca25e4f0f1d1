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

"""What was made of one query: its keypoints at one image size, computed once and shared by all stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TypeVar

from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.guided_matching import KeypointGrid
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query

T = TypeVar("T")


class StageClock:
    """Milliseconds by stage on the monotonic clock. A stage within another one is not counted to the outer one."""

    def __init__(self) -> None:
        self.times_ms: dict[str, float] = {}
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body as a part of `name`."""
        self._lap()
        self._running.append(name)
        self.times_ms.setdefault(name, 0.0)
        yield
        self._lap()
        self._running.pop()

    def iterate(self, name: str, items: Iterator[T]) -> Iterator[T]:
        """The items of a lazy iterator, whose own time is a part of `name`."""
        while True:
            with self.stage(name):
                item = next(items, None)
            if item is None:
                return
            yield item

    def _lap(self) -> None:
        now = time.perf_counter()
        if self._running:
            self.times_ms[self._running[-1]] += (now - self._since) * 1e3
        self._since = now


class Observation:
    """The keypoints of a query's views at one image size. A point cloud is the query's own."""

    def __init__(
        self, query: Query, landmark_map: LandmarkMap, clock: StageClock, extract: Callable[[], Sequence[Features]]
    ) -> None:
        """`extract` gives the features of every view; it is called when they are first needed."""
        self.query, self.clock = query, clock
        self._map, self._extract = landmark_map, extract

    @cached_property
    def features(self) -> tuple[Features, ...]:
        """Of every view."""
        return tuple(self._extract())

    @property
    def keypoint_count(self) -> int:
        """Of all views."""
        return sum(len(found) for found in self.features)

    @cached_property
    def descriptors(self) -> tuple[Array, ...]:
        """Of every view (K, d) float32 descriptors in the space of the map's codec."""
        return tuple(self._map.codec.project(found.descriptors) for found in self.features)

    @cached_property
    def grids(self) -> tuple[KeypointGrid, ...]:
        """Of every view its keypoints by where they lie, for guided matching."""
        return tuple(
            KeypointGrid(found.xy, descriptors, view.camera)
            for found, descriptors, view in zip(self.features, self.descriptors, self.query.views, strict=True)
        )

    def of_view(self, number: int) -> Observation:
        """The same of one view, as of a single camera where it is on the rig."""
        return Observation(Query((self.query.views[number],)), self._map, self.clock, lambda: (self.features[number],))
