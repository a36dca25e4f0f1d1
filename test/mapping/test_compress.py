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

"""Fewer points that still localize."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query
from vloc_ros.core.sources import silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps import compress
from vloc_ros.mapping.maps.compress import MIN_POINTS_PER_SCENE, PointRanking, keep_points, rank_points
from vloc_ros.mapping.maps.merge import merge_maps

FEW = 400


@pytest.fixture(scope="module")
def wall() -> PlaneScene:
    return make_plane_scene()


@pytest.fixture(scope="module")
def order(wall: PlaneScene) -> Array:
    return rank_points(wall.landmark_map)


def _seen(landmark_map: LandmarkMap) -> Array:
    return np.diff(landmark_map.keyframes.point_offsets)


def test_every_point_has_its_place_in_the_order(wall: PlaneScene, order: Array) -> None:
    np.testing.assert_array_equal(np.sort(order), np.arange(len(wall.landmark_map.points)))
    np.testing.assert_array_equal(rank_points(wall.landmark_map), order)


def test_what_is_left_is_as_it_was(wall: PlaneScene, order: Array) -> None:
    before = wall.landmark_map
    small = keep_points(before, order[:FEW])
    kept = np.sort(order[:FEW])
    np.testing.assert_array_equal(small.points, before.points[kept])
    np.testing.assert_array_equal(small.codes, before.codes[kept])
    np.testing.assert_array_equal(small.landmark_ids, before.landmark_ids[kept])
    assert small.scene().points == range(FEW)
    for k in range(len(before.keyframes)):
        seen = before.keyframes.visible(k)
        expected = before.points[seen[np.isin(seen, kept)]]
        np.testing.assert_array_equal(small.points[small.keyframes.visible(k)], expected)


def test_every_keyframe_keeps_more_than_chance_would_leave_it(wall: PlaneScene, order: Array) -> None:
    chance = [
        _seen(keep_points(wall.landmark_map, np.random.default_rng(seed).permutation(len(order))[:FEW])).min()
        for seed in range(5)
    ]
    assert _seen(keep_points(wall.landmark_map, order[:FEW])).min() > 1.2 * max(chance)


def test_a_tenth_of_the_points_still_localizes(wall: PlaneScene, order: Array) -> None:
    localizer = build_localizer(LocalizerConfig(), keep_points(wall.landmark_map, order[:FEW]))
    for view in poses(6, seed=1):
        result = localizer.localize(Query.single(wall.image(view), CAMERA))
        assert result.ok, result.reason
        assert result.map_from_rig.distance_to(view)[0] < 0.03


def test_all_scenes_keep_points(wall: PlaneScene) -> None:
    maps = [
        replace(m, scenes=(replace(m.scene(), frame_id=frame),))
        for frame, m in (("hall", wall.landmark_map), ("kitchen", make_plane_scene(seed=5).landmark_map))
    ]
    both = merge_maps(maps, name="both", config=MappingConfig())
    small = keep_points(both, rank_points(both)[: 2 * FEW])
    assert small.frame_ids == ("hall", "kitchen")
    for frame in small.frame_ids:
        part, whole = small.part(frame), both.part(frame)
        assert len(part.points) > 0.7 * FEW
        assert set(map(tuple, part.points)) <= set(map(tuple, whole.points))
        assert _seen(part).min() > 0


def test_a_small_scene_is_not_lost_among_large_ones(wall: PlaneScene, order: Array) -> None:
    few = keep_points(make_plane_scene(seed=5).landmark_map, np.arange(300))
    maps = [
        replace(m, scenes=(replace(m.scene(), frame_id=frame),))
        for frame, m in (("hall", wall.landmark_map), ("cupboard", few))
    ]
    both = merge_maps(maps, name="both", config=MappingConfig())
    small = keep_points(both, rank_points(both)[: 2 * MIN_POINTS_PER_SCENE])
    assert [len(scene.points) for scene in small.scenes] == [MIN_POINTS_PER_SCENE] * 2


def test_points_that_resemble_another_come_later(wall: PlaneScene, order: Array) -> None:
    similar = np.unique(wall.landmark_map.keyframes.point_indices)[:200]
    codes = wall.landmark_map.codes.copy()
    codes[similar[1::2]] = codes[similar[::2]]
    later = rank_points(replace(wall.landmark_map, codes=codes))
    rank_before, rank_after = np.argsort(order), np.argsort(later)
    assert (rank_after > rank_before)[similar].mean() > 0.9


def test_the_first_points_are_the_same_however_many_are_requested(wall: PlaneScene, order: Array) -> None:
    kitchen = make_plane_scene(seed=5).landmark_map
    kitchen = keep_points(replace(kitchen, scenes=(replace(kitchen.scene(), frame_id="kitchen"),)), order[-60:])
    both = merge_maps([wall.landmark_map, kitchen], name="both", config=MappingConfig())
    for landmark_map, whole in ((wall.landmark_map, order), (both, rank_points(both))):
        ranking = PointRanking(landmark_map)
        for count in (300, 20, 1000, len(whole)):
            np.testing.assert_array_equal(ranking.best(count), whole[:count])


def test_of_many_points_the_nearest_descriptors_are_found_approximately(
    wall: PlaneScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = MapIndex(wall.landmark_map)
    exact = compress._distinctness(index, silent)
    monkeypatch.setattr(compress, "_MAX_COMPARED_EXACTLY", 100)
    monkeypatch.setattr(compress, "_BLOCK", 300)
    approximate = compress._distinctness(index, silent)
    assert np.mean(np.abs(approximate - exact) < 0.01) > 0.95
