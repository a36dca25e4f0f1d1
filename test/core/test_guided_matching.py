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

"""Keypoints near the projections of points, against all pairs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import CAMERA, make_scene

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.guided_matching import (
    MAX_ERROR_PX,
    GuidedPairs,
    KeypointGrid,
    pair_at_projections,
)

SIZE = (CAMERA.width, CAMERA.height)
MAP = make_scene().landmark_map


@pytest.fixture(scope="module")
def pairs() -> GuidedPairs:
    rng, points = np.random.default_rng(0), np.arange(400)
    descriptors = MAP.descriptors_of(rng.integers(0, 400, 300))
    grid = KeypointGrid(_pixels(rng, 300), descriptors, CAMERA)
    return pair_at_projections(MAP, points, _pixels(rng, 400), grid)


def _pixels(rng: np.random.Generator, count: int) -> Array:
    """Pixels in a corner of the image, a few of them on its border."""
    return np.clip(rng.uniform(-5, 120, (count, 2)), 0, 119).astype(np.float32)


@settings(max_examples=30)
@given(st.integers(0, 1000), st.integers(0, 60), st.integers(0, 60), st.sampled_from([1.0, 5.0, MAX_ERROR_PX]))
def test_all_pairs_within_the_radius_are_found(seed: int, keypoints: int, points: int, max_error_px: float) -> None:
    rng = np.random.default_rng(seed)
    xy, pixels = (rng.uniform((0, 0), SIZE, (n, 2)) / rng.choice([1, 8]) for n in (keypoints, points))
    descriptors = rng.normal(size=(keypoints, MAP.codec.dimension)).astype(np.float32)
    numbers = rng.integers(0, len(MAP.points), points)
    found = pair_at_projections(MAP, numbers, pixels, KeypointGrid(xy, descriptors, CAMERA), max_error_px=max_error_px)
    errors = np.linalg.norm(pixels[:, None] - xy, axis=2)
    assert {*zip(found.rows.tolist(), found.keypoints.tolist(), strict=True)} == {
        *map(tuple, np.argwhere(errors < max_error_px).tolist())
    }
    np.testing.assert_allclose(found.errors_px, errors[found.rows, found.keypoints], atol=1e-9)
    away = MAP.descriptors_of(numbers[found.rows]) - descriptors[found.keypoints]
    np.testing.assert_allclose(found.distances, np.linalg.norm(away, axis=1), rtol=1e-4)


def test_the_nearest_pairs_come_first(pairs: GuidedPairs) -> None:
    limit = float(np.median(pairs.distances))
    near = pairs.within(limit)
    assert len(near.rows) == (pairs.distances < limit).sum() > 50
    assert (np.diff(near.distances) >= 0).all()


def test_mutual_pairs_are_the_best_of_both_sides(pairs: GuidedPairs) -> None:
    ordered = pairs.within(np.inf)
    mutual = ordered.mutual()
    expected = [
        i
        for i, (row, keypoint) in enumerate(zip(ordered.rows, ordered.keypoints, strict=True))
        if row not in ordered.rows[:i] and keypoint not in ordered.keypoints[:i]
    ]
    assert len(expected) > 50
    np.testing.assert_array_equal(mutual.rows, ordered.rows[expected])
    np.testing.assert_array_equal(mutual.keypoints, ordered.keypoints[expected])
