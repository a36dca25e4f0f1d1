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

"""Who does the work of building a map does not matter: order, laziness, and work that another process can do."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import cv2
import numpy as np
import pytest
from posed_points import extracting, make_posed_points

from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.mapping.sfm.pairs import Pair
from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, ScaleSource
from vloc_ros.mapping.workers import THIS_PROCESS

_CONFIG = MappingConfig(landmark_max_points=50, vocabulary_words=8, pairs_per_image=6, calibration_gap_m=1.0)


class SentBackwards:
    """Does all work in copies, as other processes would, and the last of it first."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def map(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        return self._do("map", work, [(item,) for item in items])

    def map_pairs(
        self, work: Callable[[Any, Any, Any], Any], images: Sequence[Any], pairs: Mapping[Pair, Any]
    ) -> Iterator[Any]:
        return self._do("map_pairs", work, [(images[i], images[j], more) for (i, j), more in pairs.items()])

    def _do(self, name: str, work: Callable[..., Any], calls: list[tuple[Any, ...]]) -> Iterator[Any]:
        self.done.append(name)
        sent = [pickle.dumps((work, call)) for call in calls]
        results = []
        for one in reversed(sent):
            copied, call = pickle.loads(one)
            results.append(pickle.loads(pickle.dumps(copied(*call))))
        return reversed(results)


def assert_same_map(first: LandmarkMap, second: LandmarkMap) -> None:
    """Equal bit for bit in what a localizer uses."""
    for name in ("points", "codes", "landmark_ids"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
    for name in ("rotations", "translations", "point_offsets", "point_indices"):
        np.testing.assert_array_equal(getattr(first.keyframes, name), getattr(second.keyframes, name))
    for calibrated in ("calibration", "self_similarity"):
        one, other = (getattr(built.scene(), calibrated) for built in (first, second))
        for field in fields(one):
            np.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    assert first.provenance == second.provenance


@pytest.mark.parametrize(
    "scale",
    [pytest.param(None, marks=pytest.mark.slow), GivenPoses(), pytest.param(UNKNOWN_SCALE, marks=pytest.mark.slow)],
)
def test_work_in_other_processes_and_in_another_order_builds_the_same_map(scale: ScaleSource | None) -> None:
    scene, others = make_posed_points(images=10, points=300), SentBackwards()
    config = replace(_CONFIG, calibration_gap_m=0.5)
    images = scene.images(posed=scale is not UNKNOWN_SCALE)
    with extracting(scene.features):
        here, there = (
            build_map(images, name="row", config=config, scale=scale, workers=workers)
            for workers in (THIS_PROCESS, others)
        )
    assert_same_map(here, there)
    assert here.scene().calibration.samples > 0
    matching = ["map_pairs"] if scale is None else ["map_pairs", "map_pairs"]
    assert others.done[: 1 + len(matching)] == ["map", *matching]
    assert others.done[-1] == "map"


def test_items_are_taken_when_they_are_worked_on() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for k in range(9):
            taken.append(k)
            yield k

    results = THIS_PROCESS.map(lambda k: 10 * k, items())
    assert (next(results), next(results)) == (0, 10)
    assert len(taken) <= 4  # of two threads, and one that waits
    assert list(results) == [20, 30, 40, 50, 60, 70, 80]


def test_work_has_one_thread_of_opencv_and_the_others_come_back() -> None:
    before = cv2.getNumThreads()
    cv2.setNumThreads(2)
    try:
        assert list(THIS_PROCESS.map(lambda _: cv2.getNumThreads(), range(3))) == [1, 1, 1]
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_pairs_get_their_images_and_what_else_they_have_in_order() -> None:
    pairs = {(2, 0): "a", (0, 1): "b", (1, 2): "c"}
    found = THIS_PROCESS.map_pairs(lambda i, j, more: f"{i}{j}{more}", "xyz", pairs)
    assert list(found) == ["zxa", "xyb", "yzc"]


def test_work_on_pairs_ends_when_its_consumer_stops() -> None:
    done: list[int] = []

    def work(i: int, *_: object) -> None:
        done.append(i)
        time.sleep(0.01)  # without it all may be done before the first result is looked at

    found = THIS_PROCESS.map_pairs(work, range(2000), {(k, k): 0 for k in range(2000)})
    assert isinstance(found, Iterator)
    next(found)
    found.close()  # type: ignore[attr-defined]
    assert len(done) < 2000
