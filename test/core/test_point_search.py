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

"""The points of a map that look most like a keypoint, against all of them."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import SyntheticScene, looking

from vloc_ros.core.map import point_search
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.map.point_search import PointSearch
from vloc_ros.mapping.maps.compress import keep_points

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def _descriptors(scene: SyntheticScene) -> np.ndarray:
    return MapIndex(scene.landmark_map).descriptors


def _exact(scene: SyntheticScene, projected: np.ndarray) -> np.ndarray:
    described = _descriptors(scene).astype(float)
    return ((projected[:, None].astype(float) - described) ** 2).sum(axis=2)


def test_all_lists_hold_all_points(scene: SyntheticScene) -> None:
    projected = scene.landmark_map.codec.project(scene.features(VIEWPOINT).descriptors)
    expected = _exact(scene, projected)
    squared, points = PointSearch(scene.landmark_map).nearest(projected, 4, breadth=4096)
    assert (points[:, 0] == expected.argmin(axis=1)).mean() > 0.99
    assert (np.diff(squared, axis=1) >= 0).all()
    assert np.allclose(np.take_along_axis(expected, points, axis=1), squared, rtol=1e-3, atol=1e-5)


def test_descriptors_beyond_the_codes_are_as_far_as_these_reach(scene: SyntheticScene) -> None:
    """A value that no code holds must not wrap around to the other end."""
    codec = scene.landmark_map.codec
    far = _descriptors(scene)[:20].copy()
    far[:, 0] += 300 * codec.step
    squared, points = PointSearch(scene.landmark_map).nearest(far, 1, breadth=4096)
    expected = _exact(scene, far)
    assert np.allclose(expected[np.arange(20), points[:, 0]], expected.min(axis=1), rtol=0.1)
    assert squared.min() > (50 * codec.step) ** 2


def test_a_few_lists_hold_what_matters(scene: SyntheticScene) -> None:
    projected = scene.landmark_map.codec.project(scene.features(VIEWPOINT).descriptors)
    _, points = PointSearch(scene.landmark_map).nearest(projected, 1, breadth=1)
    assert (points[:, 0] == _exact(scene, projected).argmin(axis=1)).mean() > 0.8


def test_lists_found_by_groups_hold_what_matters_too(scene: SyntheticScene, monkeypatch: pytest.MonkeyPatch) -> None:
    projected = scene.landmark_map.codec.project(scene.features(VIEWPOINT).descriptors)
    by_products = PointSearch(scene.landmark_map).nearest(projected, 4, breadth=2)[1]
    for name, value in {"_GROUPED_FROM": 1, "_GROUPS": 4, "_GROUPS_SEARCHED": 4}.items():
        monkeypatch.setattr(point_search, name, value)
    assert np.array_equal(PointSearch(scene.landmark_map).nearest(projected, 4, breadth=2)[1], by_products)
    monkeypatch.setattr(point_search, "_GROUPS_SEARCHED", 1)
    search = PointSearch(scene.landmark_map)
    assert (search.nearest(projected, 4, breadth=2)[1] == by_products)[:, 0].mean() > 0.5  # of a quarter of all lists
    squared, points = search.nearest(projected, 4, breadth=16)  # more lists than some groups have
    assert (points[:, 0] >= 0).all()
    assert np.isinf(squared[points < 0]).all()
    monkeypatch.setattr(point_search, "_MAX_BY_GROUPS", 8)
    all_lists = search.nearest(projected, 1, breadth=4096)[1]
    assert (all_lists[:, 0] == _exact(scene, projected).argmin(axis=1)).mean() > 0.99


def test_the_same_map_is_searched_in_the_same_way(scene: SyntheticScene) -> None:
    projected = scene.landmark_map.codec.project(scene.features(VIEWPOINT).descriptors)
    some, other = (PointSearch(scene.landmark_map).nearest(projected, 4, breadth=2) for _ in range(2))
    assert np.array_equal(some[1], other[1])
    assert np.array_equal(some[0], other[0])


def test_where_there_are_no_more_points(scene: SyntheticScene) -> None:
    whole = scene.landmark_map
    three = keep_points(whole, np.arange(3))
    squared, points = PointSearch(three).nearest(_descriptors(scene)[:2], 4, breadth=16)
    assert set(points[0].tolist()) == {-1, 0, 1, 2}
    assert np.isinf(squared[points < 0]).all()
