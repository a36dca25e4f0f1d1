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

"""The overlap of images, by what they see or by their distance."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

from hypothesis import given, settings
from hypothesis import strategies as st
from place_world import make_random_views, make_utm_images

from training.data.covisible_images import CovisibleImages, join_images
from training.data.overlap import DISTANCE, compute_overlap
from training.data.posed_images import join_posed_images
from vloc_ros.core.geometry.pose import Array


def table(seed: int, views: int = 12, points: int = 40, density: float = 0.2) -> Array:
    return np.random.default_rng(seed).uniform(size=(views, points)) < density


@given(seed=st.integers(0, 10**6), density=st.floats(0.0, 0.6))
@settings(max_examples=25)
def test_the_share_is_the_jaccard_index(seed: int, density: float) -> None:
    visible = table(seed, density=density)
    overlap = compute_overlap(make_random_views(visible), min_shared=3)
    for i, a in enumerate(visible):
        for j, b in enumerate(visible):
            assert overlap.linked[i, j] == ((a & b).sum() > 0)
            assert overlap.positive[i, j] == ((a & b).sum() >= 3)
            either = (a | b).sum()
            expected = 1.0 if i == j else (a & b).sum() / max(either, 1)
            assert overlap.share[i, j] == pytest.approx(expected, abs=1e-6)


def test_boxes_overlap_by_volume() -> None:
    views = make_random_views(np.array([[1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]], bool))
    views.visibility.points[:] = [[0, 0, 0], [2, 2, 2], [1, 1, 1], [3, 3, 3]]
    share = compute_overlap(views, kind="boxes").share.toarray()
    assert share[0, 1] == pytest.approx(1 / 15)
    assert share.diagonal().tolist() == [1, 1, 1]
    assert share[0, 2] == 0


@pytest.mark.parametrize("kind", ["points", "boxes"])
def test_maps_share_nothing(kind: str) -> None:
    parts = [make_random_views(table(0)), make_random_views(table(1))]
    together = join_images(parts)
    share = compute_overlap(together, kind=kind).share.toarray()
    assert not share[:12, 12:].any()
    for part, block in zip(parts, (share[:12, :12], share[12:, 12:]), strict=True):
        assert np.allclose(block, compute_overlap(part, kind=kind).share.toarray())
    second = together.select(np.arange(12, 24))
    seen, expected = second.visibility, parts[1].visibility
    assert np.array_equal(seen.points[seen.indices], expected.points[expected.indices])
    assert set(together.posed.scenes) == {0, 1}


def test_selected_views_keep_their_points() -> None:
    views = make_random_views(table(3))
    kept = np.array([7, 2, 2])
    assert np.array_equal(views.select(kept).visibility.matrix().toarray(), views.visibility.matrix().toarray()[kept])


def test_images_without_points_overlap_by_their_distance() -> None:
    views = CovisibleImages.without_points(join_posed_images([make_utm_images(0, 5, 20, 100), make_utm_images(0, 0)]))
    overlap = compute_overlap(views, kind=DISTANCE, positive_radius_m=10, negative_radius_m=25)
    assert overlap.share[0].toarray()[0] == pytest.approx([1, 0.8, 0.2, 0, 0, 0])
    assert overlap.positive[0].toarray()[0].tolist() == [True, True, False, False, False, False]
    assert overlap.linked[0].toarray()[0].tolist() == [True, True, True, False, False, False]
    assert overlap.share[4].toarray()[0].tolist() == [0, 0, 0, 0, 1, 1], "of another scene"
