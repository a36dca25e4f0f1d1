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

"""What two maps of one place both hold, and the memory that comparing large maps takes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from vloc_ros.core.features.descriptor_codec import DescriptorCodec
from vloc_ros.core.features.descriptor_statistics import DescriptorLimit
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap, LandmarkTable
from vloc_ros.core.map.scene import Scene
from vloc_ros.mapping.landmarks.definition import viewing_distances
from vloc_ros.mapping.maps import duplicate_points as duplicates_module
from vloc_ros.mapping.maps import overlap_consistency as module
from vloc_ros.mapping.maps.duplicate_points import DescribedPoints, find_duplicate_points
from vloc_ros.mapping.maps.overlap_consistency import overlap_consistency
from vloc_ros.mapping.maps.point_registration import RegistrationSide

_POINTS, _KEYFRAMES, _SEEN = 3000, 60, 600
_MB = 1e6


def _corridor(*, seed: int, held: float = 1.0, points_count: int = _POINTS, seen_count: int = _SEEN) -> LandmarkMap:
    """One wall along a way of twelve metres, mapped with noise; of what is held, the descriptors are those of all."""
    world, rng = np.random.default_rng(0), np.random.default_rng(seed)
    points = np.column_stack(
        [world.uniform(-2, 14, points_count), *world.uniform([[-2.0], [3.0]], [[2.0], [5.0]], (2, points_count))]
    )
    points = points[np.argsort(points[:, 0])]
    described = world.normal(0, 0.125, (points_count, 64))
    other = rng.random(points_count) > held
    described[other] = rng.normal(0, 0.125, (other.sum(), 64))
    codec = DescriptorCodec(np.zeros(128, np.float32), np.eye(128, 64, dtype=np.float32), 1.0 / 255)
    ahead = [np.searchsorted(points[:, 0], [0.2 * k - 2.0, 0.2 * k + 2.0]) for k in range(_KEYFRAMES)]
    seen = [np.sort(rng.choice(np.arange(a, b), min(seen_count, b - a), replace=False)) for a, b in ahead]
    keyframes = Keyframes(
        tuple(map(str, range(_KEYFRAMES))),
        np.repeat(np.eye(3)[None], _KEYFRAMES, axis=0),
        np.column_stack([0.2 * np.arange(_KEYFRAMES), np.zeros((_KEYFRAMES, 2))]),
        np.cumsum([0, *map(len, seen)]),
        np.concatenate(seen).astype(np.int32),
    )
    return LandmarkMap(
        name="corridor",
        scenes=(Scene("corridor", range(points_count), range(_KEYFRAMES)),),
        points=(points + rng.normal(0, 0.002, points.shape)).astype(np.float32),
        landmark_ids=np.zeros(points_count, np.int32),
        landmarks=LandmarkTable.numbered(1),
        codes=np.clip(np.rint(described / codec.step + 127.5), 0, 255).astype(np.uint8),
        codec=codec,
        keyframes=keyframes,
        extractor=RootSiftConfig(),
        descriptor_statistics=RootSiftConfig.recorded_statistics,
    )


@pytest.fixture(scope="module")
def first() -> LandmarkMap:
    return _corridor(seed=1)


@pytest.mark.parametrize("held", [1.0, 0.7])
def test_the_part_that_is_held_is_counted(first: LandmarkMap, held: float) -> None:
    expected, found = overlap_consistency(RegistrationSide.of(first), RegistrationSide.of(_corridor(seed=2, held=held)))
    assert expected > 0.5 * _POINTS
    assert found / expected == pytest.approx(held, abs=0.02)


def test_where_the_other_observed_nothing_nothing_is_expected(first: LandmarkMap) -> None:
    side = RegistrationSide.of(first)
    assert overlap_consistency(replace(side, points=side.points + np.array([0.0, 100.0, 0.0])), side) == (0, 0)


@pytest.mark.parametrize(("back_m", "expected"), [(0.5, True), (5.0, False)])
def test_only_what_was_seen_from_about_as_far_is_expected(first: LandmarkMap, back_m: float, expected: bool) -> None:
    """Points at three to five metres, and keyframes of the other map behind: the limit is a ratio of 1.35."""
    behind = replace(first.keyframes, translations=first.keyframes.translations - np.array([0.0, 0.0, back_m]))
    other = RegistrationSide.of(replace(first, keyframes=behind))
    number, _ = overlap_consistency(RegistrationSide.of(first), other)
    assert (number > 0.1 * _POINTS) if expected else (number == 0)


def test_blocks_do_not_change_what_is_found(first: LandmarkMap, monkeypatch: pytest.MonkeyPatch) -> None:
    some, other = RegistrationSide.of(first), RegistrationSide.of(_corridor(seed=2, held=0.7))
    in_one, duplicates_in_one = overlap_consistency(some, other), _duplicates(some, other)
    monkeypatch.setattr(module, "_BLOCK", 100)
    monkeypatch.setattr(duplicates_module, "_BLOCK", 100)
    assert overlap_consistency(some, other) == in_one
    np.testing.assert_array_equal(_duplicates(some, other), duplicates_in_one)


def _duplicates(some: RegistrationSide, other: RegistrationSide) -> np.ndarray:
    described = (DescribedPoints(side.points, side.descriptors_of) for side in (some, other))
    max_distance = some.scene.descriptor_limit(DescriptorLimit.STRICT)
    return find_duplicate_points(*described, radius_m=some.radius_m, max_distance=max_distance)


def _peak_mb(call: Callable[[], object]) -> float:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1] / _MB
    finally:
        tracemalloc.stop()


def test_memory_is_that_of_a_block_and_not_of_all_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    """All at once, descriptors and rays of observations would take 1.5 MB each, what is compared 65 and 75."""
    monkeypatch.setattr(module, "_BLOCK", 256)
    monkeypatch.setattr(duplicates_module, "_BLOCK", 256)
    large = _corridor(seed=1, points_count=6000, seen_count=1200)
    side = RegistrationSide.of(large)
    assert _peak_mb(lambda: RegistrationSide.of(large)) < 1.4
    assert _peak_mb(lambda: viewing_distances(large.points, large.keyframes)) < 0.6
    assert _peak_mb(lambda: overlap_consistency(side, side)) < 8.0
    assert _peak_mb(lambda: _duplicates(side, side)) < 6.0
