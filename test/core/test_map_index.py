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

"""What is derived from a map, against counting by hand; built once."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from synthetic import SyntheticScene, looking

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig, MatcherConfig
from vloc_ros.core.map import map_index
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.point_search import PointSearch
from vloc_ros.mapping.maps.compress import keep_points

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


@pytest.fixture(params=[1500, 40])
def landmark_map(scene: SyntheticScene, request: pytest.FixtureRequest) -> LandmarkMap:
    """The room, or a few of its points, of which not every keyframe observes one."""
    return keep_points(scene.landmark_map, np.arange(request.param))


def _observers(landmark_map: LandmarkMap) -> list[list[int]]:
    keyframes = landmark_map.keyframes
    visible = [set(keyframes.visible(k).tolist()) for k in range(len(keyframes))]
    return [[k for k, mine in enumerate(visible) if point in mine] for point in range(len(landmark_map.points))]


def test_the_observers_of_every_point(landmark_map: LandmarkMap) -> None:
    index, expected = MapIndex(landmark_map), _observers(landmark_map)
    offsets, observers = index.point_offsets, index.observers
    assert [observers[a:b].tolist() for a, b in pairwise(offsets)] == expected
    keyframes = landmark_map.keyframes
    np.testing.assert_array_equal(keyframes.keyframe_of_observation[index.observation_order], observers)


def test_counts_of_observations(landmark_map: LandmarkMap) -> None:
    index, expected = MapIndex(landmark_map), _observers(landmark_map)
    some = np.array([3, 17, 3, 39, 0])  # a repeated point counts repeatedly
    assert index.observation_counts(some).tolist() == [len(expected[p]) for p in some]
    counts = [sum(k in expected[p] for p in some) for k in range(len(landmark_map.keyframes))]
    assert index.count_observed(some).tolist() == counts
    assert index.count_observed(some[:0]).tolist() == [0] * len(landmark_map.keyframes)


def test_keyframes_that_share_no_point_are_not_covisible(scene: SyntheticScene) -> None:
    index, keyframes = MapIndex(scene.landmark_map), scene.landmark_map.keyframes
    some = keyframes.visible(0)[:5]
    sharing = np.flatnonzero(index.count_observed(some))
    assert len(sharing) < len(keyframes)
    covisible = index.covisible_points(some, keyframes=len(keyframes))
    assert covisible.tolist() == sorted({int(point) for k in sharing for point in keyframes.visible(int(k))})


def test_the_most_covisible_keyframes_come_first(scene: SyntheticScene) -> None:
    index, keyframes = MapIndex(scene.landmark_map), scene.landmark_map.keyframes
    some = keyframes.visible(3)[::2]
    counts = index.count_observed(some)
    best = sorted(range(len(keyframes)), key=lambda k: -counts[k])[:3]
    expected = np.unique(np.concatenate([keyframes.visible(k) for k in best]))
    np.testing.assert_array_equal(index.covisible_points(some, keyframes=3), expected)


def test_descriptors_are_those_of_the_points(landmark_map: LandmarkMap) -> None:
    some = np.array([5, 2, 39])
    np.testing.assert_array_equal(MapIndex(landmark_map).descriptors[some], landmark_map.descriptors_of(some))


def test_localizers_share_one_search(scene: SyntheticScene, monkeypatch: pytest.MonkeyPatch) -> None:
    built = list[LandmarkMap]()

    def build(landmark_map: LandmarkMap) -> PointSearch:
        built.append(landmark_map)
        return PointSearch(landmark_map)

    monkeypatch.setattr(map_index, "PointSearch", build)
    index = MapIndex(scene.landmark_map)
    configs = (LocalizerConfig(), replace(LocalizerConfig(), matcher=MatcherConfig(search_breadth=4)))
    localizers = [build_localizer(config, index) for config in configs]
    assert not built  # only when it is needed
    results = [one.localize_features((scene.features(VIEWPOINT),), scene.query()) for one in localizers]
    assert [result.candidate for result in results] == ["whole_map", "whole_map"]
    assert built == [scene.landmark_map]
    assert all(one.map_index is index and one.map is scene.landmark_map for one in localizers)
