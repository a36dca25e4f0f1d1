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

"""The most similar global descriptors: by exact search, and by lists of FAISS that find the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.descriptor_search import MOST_VALUES_EXACT, DescriptorSearch


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _walk(count: int, seed: int = 0, dimension: int = 32) -> Array:
    """Descriptors along a trajectory, where neighbours are similar."""
    rng = np.random.default_rng(seed)
    knots = rng.normal(size=(count // 25 + 2, dimension))
    at = np.linspace(0, len(knots) - 1.001, count)
    part = (at % 1)[:, None]
    return _unit(
        knots[at.astype(int)] * (1 - part) + knots[at.astype(int) + 1] * part + rng.normal(0, 0.1, (count, dimension))
    )


@settings(max_examples=30)
@given(st.integers(1, 60), st.integers(1, 4), st.integers(1, 70), st.integers(0, 1000))
def test_the_exact_search_ranks_by_the_best_of_all_queries(count: int, views: int, wanted: int, seed: int) -> None:
    descriptors = _unit(np.random.default_rng(seed).normal(size=(count, 8)))
    queries = _unit(np.random.default_rng(seed + 1).normal(size=(views, 8)))
    found = DescriptorSearch(descriptors).best(queries, wanted)
    similarity = (descriptors @ queries.T).max(axis=1)
    assert len(found) == len(set(found.tolist())) == min(wanted, count)
    assert (np.diff(similarity[found]) <= 0).all()
    assert similarity[found].min() >= np.delete(similarity, found).max(initial=-2.0)


@pytest.mark.parametrize("views", [1, 3])
def test_lists_find_what_the_exact_search_finds(views: int) -> None:
    descriptors = _walk(12000)
    exact, lists = DescriptorSearch(descriptors), DescriptorSearch(descriptors, most_values_exact=0)
    rng, shared = np.random.default_rng(3), []
    for _ in range(40):
        chosen = descriptors[rng.integers(0, len(descriptors), views)]
        queries = _unit(chosen + rng.normal(0, 0.05, chosen.shape))
        expected, found = exact.best(queries, 20), lists.best(queries, 20)
        assert found[0] == expected[0]
        assert len(found) == len(set(found.tolist())) == 20
        shared.append(len(np.intersect1d(expected, found)) / 20)
    assert np.mean(shared) > 0.97


def test_equal_input_gives_equal_lists() -> None:
    descriptors = _walk(3000)
    once, again = (DescriptorSearch(descriptors, most_values_exact=0) for _ in range(2))
    for query in descriptors[::300]:
        np.testing.assert_array_equal(once.best(query[None], 9), again.best(query[None], 9))


def test_of_equal_rows_the_first_comes_first() -> None:
    descriptors = np.repeat(np.eye(3, dtype=np.float32), 4, axis=0)
    assert DescriptorSearch(descriptors).best(descriptors[5:6], 3).tolist() == [4, 5, 6]


@pytest.mark.parametrize("most_values_exact", [MOST_VALUES_EXACT, 0])
def test_few_rows_are_all_found_and_none_for_a_query_that_is_not_finite(most_values_exact: int) -> None:
    search = DescriptorSearch(np.eye(3, 8, dtype=np.float32), most_values_exact=most_values_exact)
    assert search.best(np.eye(1, 8, k=1, dtype=np.float32), 20)[0] == 1
    assert len(search.best(np.eye(1, 8, dtype=np.float32), 20)) == 3
    for count in (2, 20):
        assert len(search.best(np.full((2, 8), np.nan, np.float32), count)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("most_values_exact", [MOST_VALUES_EXACT, 0])
def test_a_view_that_is_not_finite_does_not_affect_the_others(most_values_exact: int, bad: float) -> None:
    descriptors = _walk(400)
    search = DescriptorSearch(descriptors, most_values_exact=most_values_exact)
    views = descriptors[[30, 200, 310]].copy()
    expected = search.best(views[[0, 2]], 5)
    views[1, 3] = bad
    np.testing.assert_array_equal(search.best(views, 5), expected)
    np.testing.assert_array_equal(search.best(views, 400), search.best(views[[0, 2]], 400))
