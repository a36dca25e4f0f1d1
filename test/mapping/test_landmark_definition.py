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

import numpy as np
import pytest

from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkTable
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.landmarks.definition import define_landmarks

_CONFIG = MappingConfig()


def _seen_from(points: np.ndarray, *positions: tuple[float, float, float]) -> Keyframes:
    """Keyframes at these positions, each of which saw all points."""
    k, p = len(positions), len(points)
    return Keyframes(
        tuple(map(str, range(k))),
        np.tile(np.eye(3), (k, 1, 1)),
        np.array(positions, np.float64),
        np.arange(k + 1) * p,
        np.tile(np.arange(p, dtype=np.int32), k),
    )


def _wall(count: int = 2000, *, size_m: float = 6.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.column_stack([rng.uniform(0, size_m, count), rng.uniform(0, size_m / 3, count), np.zeros(count)])


def _defined(points: np.ndarray, distance_m: float, **changes: float) -> tuple[np.ndarray, LandmarkTable]:
    centre = points.mean(axis=0)
    keyframes = _seen_from(points, (centre[0], centre[1], -distance_m))
    return define_landmarks(points, keyframes, MappingConfig(**changes))


def test_landmarks_are_numbered_without_gaps_and_the_same_every_time() -> None:
    (ids, table), (ids_again, table_again) = _defined(_wall(), 2.0), _defined(_wall(), 2.0)
    assert ids.dtype == np.int32
    assert np.array_equal(np.unique(ids), np.arange(len(table)))
    assert np.array_equal(ids, ids_again)
    assert np.array_equal(table.keys, table_again.keys)
    assert np.array_equal(table.parents, table_again.parents)


def test_what_is_seen_from_nearby_is_divided_more_finely() -> None:
    near, far = (len(_defined(_wall(), d, landmark_max_points=100000)[1]) for d in (1.0, 8.0))
    assert near >= 4 * far


def test_a_landmark_fills_no_more_of_a_view_than_it_may() -> None:
    points = _wall()
    ids, table = _defined(points, 2.0)
    distances = np.linalg.norm(points - (*points.mean(axis=0)[:2], -2.0), axis=1)
    for landmark in range(len(table)):
        mine = points[ids == landmark]
        radius = np.percentile(np.linalg.norm(mine - np.median(mine, axis=0), axis=1), 90)
        rich = len(mine) >= 2 * _CONFIG.landmark_min_points
        assert not rich or 2 * radius / np.median(distances[ids == landmark]) <= _CONFIG.landmark_extent_rad
        assert _CONFIG.landmark_min_points <= len(mine) <= _CONFIG.landmark_max_points


def test_the_scale_of_the_map_does_not_matter() -> None:
    ids, table = _defined(_wall(), 2.0)
    scaled_ids, scaled = _defined(10 * _wall(), 20.0)
    assert np.array_equal(ids, scaled_ids)
    assert np.array_equal(table.parents, scaled.parents)


def test_coarse_landmarks_hold_neighbours() -> None:
    points = _wall(4000, size_m=12.0)
    ids, table = _defined(points, 2.0)
    coarse = table.parents[ids]
    assert 1 < table.coarse_count < len(table)
    assert np.array_equal(np.unique(table.parents), np.arange(table.coarse_count))
    widths = [np.ptp(points[coarse == c], axis=0).max() for c in range(table.coarse_count)]
    assert max(widths) < 0.6 * np.ptp(points, axis=0).max()


def test_distant_clouds_share_no_landmark() -> None:
    clouds = [np.random.default_rng(k).normal([20.0 * k, 0.0, 0.0], 0.3, (256, 3)) for k in range(4)]
    owners = [set(row.tolist()) for row in _defined(np.concatenate(clouds), 2.0)[0].reshape(4, 256)]
    assert all(not a & b for k, a in enumerate(owners) for b in owners[k + 1 :])


def test_a_stray_point_gets_no_landmark_of_its_own() -> None:
    points = np.concatenate([_wall(600), [[500.0, 500.0, 500.0]]])
    ids, _ = _defined(points, 2.0)
    assert (ids == ids[-1]).sum() >= _CONFIG.landmark_min_points


def test_keys_are_of_the_points() -> None:
    _, table = _defined(_wall(), 2.0)
    _, other = _defined(_wall(seed=1), 2.0)
    assert len(set(table.keys.tolist())) == len(table)
    assert not set(table.keys.tolist()) & set(other.keys.tolist())


@pytest.mark.parametrize("points", [np.zeros((1, 3)), np.zeros((400, 3)), np.eye(3)])
def test_few_or_equal_points_make_at_least_one_landmark(points: np.ndarray) -> None:
    ids, table = _defined(points, 2.0)
    assert ids.shape == (len(points),)
    assert len(table) >= 1
