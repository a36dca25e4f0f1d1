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

"""Nearest neighbours against all distances, one by one."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.features import nearest_neighbours as module
from vloc_ros.core.features.nearest_neighbours import nearest_neighbours
from vloc_ros.core.geometry.pose import Array


def _all_distances(queries: Array, candidates: Array) -> Array:
    return np.asarray(((queries[:, None].astype(float) - candidates.astype(float)) ** 2).sum(axis=2))


@pytest.mark.parametrize("at_once", [1, 1000, 1 << 19])
def test_the_nearest_of_all(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(module, "_DISTANCES_AT_ONCE", at_once)
    rng = np.random.default_rng(3)
    queries, candidates = (rng.normal(size=(n, 16)).astype(np.float32) for n in (70, 150))
    expected = _all_distances(queries, candidates)
    distances, found = nearest_neighbours(queries, candidates, 4)
    assert np.array_equal(found, np.argsort(expected, axis=1)[:, :4])
    assert np.allclose(distances, np.sort(expected, axis=1)[:, :4], rtol=1e-4)


def test_what_is_excluded_is_infinitely_far(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_DISTANCES_AT_ONCE", 200)
    rng = np.random.default_rng(4)
    queries, candidates = (rng.normal(size=(n, 8)).astype(np.float32) for n in (30, 40))
    off = rng.random((30, 40)) < 0.7
    off[7] = True
    expected = np.where(off, np.inf, _all_distances(queries, candidates))
    distances, found = nearest_neighbours(queries, candidates, 2, exclude=lambda some: off[some])
    assert np.allclose(distances, np.sort(expected, axis=1)[:, :2], rtol=1e-4)
    assert np.isinf(distances[7]).all()
    known = np.isfinite(distances)
    assert not off[np.arange(30).repeat(2).reshape(30, 2)[known], found[known]].any()


def test_itself_is_at_no_distance() -> None:
    """Lengths cancel up to rounding, and no square is negative."""
    some = np.random.default_rng(5).normal(size=(50, 64)).astype(np.float32)
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    distances, found = nearest_neighbours(some, some, 1)
    assert np.array_equal(found[:, 0], np.arange(50))
    assert (distances >= 0).all()
    assert distances.max() < 1e-5
