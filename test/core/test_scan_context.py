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

"""Scan Context: a turn of the sensor shifts its columns and leaves its row for retrieval."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vloc_ros.core.clouds.place_clouds import decode_points, encode_points, keep_heading, level
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.clouds.scan_context import RANGES_M, ScanContext
from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.scan_context_encoder import ScanContextEncoder

CONTEXT = ScanContext(40.0)


def _posts(seed: int, count: int = 40) -> Array:
    """Points on posts of different height around a sensor, and level ground."""
    rng = np.random.default_rng(seed)
    foot = rng.uniform(-35.0, 35.0, (count, 2))
    posts = [np.column_stack([np.tile(xy, (20, 1)), np.linspace(-1.7, top, 20)]) for xy, top in
             zip(foot, rng.uniform(0.0, 6.0, count), strict=True)]  # fmt: skip
    ground = np.column_stack([rng.uniform(-38.0, 38.0, (2000, 2)), np.full(2000, -1.7)])
    return np.concatenate([*posts, ground]).astype(np.float32)


@given(sectors=st.integers(0, 59), seed=st.integers(0, 20))
def test_a_turn_shifts_the_columns_and_keeps_the_row(sectors: int, seed: int) -> None:
    points, yaw = _posts(seed), 2 * np.pi * sectors / 60
    place_from_query = Pose.from_rotation_vector([0.0, 0.0, yaw], np.zeros(3))
    place = CONTEXT.describe(points)
    # turned by whole sectors; the points stay in the middle of theirs
    query = np.roll(place, -sectors, axis=1)
    similarity, found = CONTEXT.align(query, place)
    assert similarity > 0.99
    assert abs((found - yaw + np.pi) % (2 * np.pi) - np.pi) < 1e-6
    np.testing.assert_allclose(CONTEXT.invariant(query), CONTEXT.invariant(place), atol=1e-5)
    turned = CONTEXT.describe(place_from_query.inverse().apply(points).astype(np.float32))
    assert CONTEXT.invariant(turned) @ CONTEXT.invariant(place) > 0.97


def test_another_place_is_less_similar() -> None:
    encoder = ScanContextEncoder(CONTEXT)
    rows = encoder.encode([_posts(seed) for seed in range(8)])
    assert rows.shape == (8, encoder.dimension)
    turned = Pose.from_rotation_vector([0.0, 0.0, 2.0], np.zeros(3)).apply(_posts(3)).astype(np.float32)
    found = encoder.encode_query(Query((), cloud=PointCloud(turned))) @ rows.T
    assert int(found.max(axis=0).argmax()) == 3


def test_a_tilted_sensor_is_levelled_by_its_extrinsics() -> None:
    tilt = Pose.from_rotation_vector([0.0, 0.4, 0.0], [0.1, 0.0, 1.2])
    points = _posts(1)
    cloud = PointCloud((points @ tilt.rotation).astype(np.float32), rig_from_sensor=tilt)
    levelled, rig_from_levelled = level(cloud)
    np.testing.assert_allclose(levelled, points, atol=1e-4)
    np.testing.assert_array_equal(rig_from_levelled.translation, tilt.translation)


def test_the_range_follows_the_points() -> None:
    assert ScanContext.of_clouds([_posts(0) / 10]).range_m == RANGES_M[0]
    assert ScanContext.of_clouds([_posts(0)]).range_m in RANGES_M[2:]
    with pytest.raises(MapError, match="no Scan Context"):
        ScanContext.from_arrays({})
    assert ScanContext.from_arrays(CONTEXT.to_arrays()) == CONTEXT


def test_points_keep_centimetres() -> None:
    points = np.array([[1.234, -7.0, 0.5], [400.0, 0.0, 0.0]], np.float32)
    np.testing.assert_allclose(decode_points(encode_points(points)), [[1.23, -7.0, 0.5]], atol=1e-6)


@pytest.mark.parametrize("axis", [[0.0, 0.0, 0.7], [0.2, -0.1, 2.9]])
def test_a_heading_is_a_turn_about_z(axis: list[float]) -> None:
    heading = keep_heading(Pose.from_rotation_vector(axis, np.zeros(3)).rotation)
    np.testing.assert_allclose(heading[2], [0.0, 0.0, 1.0])
    np.testing.assert_allclose(heading @ heading.T, np.eye(3), atol=1e-12)
