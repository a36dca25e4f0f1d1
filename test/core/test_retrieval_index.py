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

"""Retrieval indices: several rows an item, or none; appended to, merged, renumbered."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.retrieval_index import IMAGE, RetrievalIndex, merge_retrieval_indices


def _unit(seed: int, count: int, dimension: int = 6) -> Array:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def _index(items: list[int], seed: int = 0, **changes: str) -> RetrievalIndex:
    fields = {"name": "model", "encoder": "a" * 64, "modality": IMAGE, **changes}
    return RetrievalIndex(descriptors=_unit(seed, len(items)), items=np.array(items, np.int64), **fields)


def _ranked(index: RetrievalIndex, queries: Array) -> list[int]:
    """All items with rows by the highest similarity of any row to any query."""
    similarity = (index.descriptors @ queries.T).max(axis=1)
    best = {int(item): similarity[index.items == item].max() for item in index.items}
    return sorted(best, key=lambda item: -best[item])


@settings(max_examples=60)
@given(
    st.lists(st.integers(0, 12), min_size=1, max_size=40), st.integers(1, 3), st.integers(1, 15), st.integers(0, 100)
)
def test_the_nearest_items_are_those_with_the_most_similar_row(
    items: list[int], views: int, count: int, seed: int
) -> None:
    index, queries = _index(items, seed), _unit(seed + 1000, views)
    assert index.nearest_items(queries, count).tolist() == _ranked(index, queries)[:count]


def test_an_index_without_rows_retrieves_nothing() -> None:
    assert len(_index([]).nearest_items(_unit(1, 2), 5)) == 0


def test_appended_rows_are_found() -> None:
    index, more = _index([0, 0, 2]), _unit(5, 2)
    grown = index.append(more.astype(np.float64), np.array([3, 2], np.int32))
    assert grown.items.tolist() == [0, 0, 2, 3, 2]
    assert (grown.descriptors.dtype, grown.items.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(grown.descriptors[3:], more)
    assert grown.nearest_items(more[:1], 1).tolist() == [3]
    assert index.items.tolist() == [0, 0, 2]  # as it was


def test_merged_indices_number_their_items_one_after_the_other() -> None:
    first, second = _index([1, 0, 1]), _index([2, 0], seed=1)
    merged = merge_retrieval_indices([first, second], [0, 4])
    assert merged.items.tolist() == [1, 0, 1, 6, 4]
    np.testing.assert_array_equal(merged.descriptors, np.concatenate([first.descriptors, second.descriptors]))
    assert merged.nearest_items(second.descriptors[:1], 1).tolist() == [6]


@pytest.mark.parametrize("changes", [{"encoder": "b" * 64}, {"modality": "lidar"}])
def test_indices_of_other_encoders_and_modalities_are_not_compatible(changes: dict[str, str]) -> None:
    index = _index([0, 1])
    assert index.is_compatible(_index([3], seed=2, name="other"))
    assert not index.is_compatible(_index([0, 1], **changes))
    assert not index.is_compatible(RetrievalIndex("model", index.encoder, _unit(0, 2, 7), index.items))
    with pytest.raises(AssertionError):
        merge_retrieval_indices([index, _index([0, 1], **changes)], [0, 2])


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), max_size=30), st.lists(st.integers(-1, 20), min_size=10, max_size=10))
def test_renumbering_moves_rows_with_their_items_and_removes_others(items: list[int], numbers: list[int]) -> None:
    index = _index(items)
    renumbered = index.renumber(np.array(numbers))
    expected = [(numbers[item], row) for row, item in enumerate(items) if numbers[item] >= 0]
    assert renumbered.items.tolist() == [number for number, _ in expected]
    np.testing.assert_array_equal(renumbered.descriptors, index.descriptors[[row for _, row in expected]])
    assert renumbered.items.dtype == np.int64


@settings(max_examples=40)
@given(st.lists(st.integers(0, 9), max_size=30), st.integers(0, 9), st.integers(0, 10))
def test_cutting_is_renumbering_a_range_from_zero(items: list[int], first: int, count: int) -> None:
    index, kept = _index(items), range(first, min(first + count, 10))
    numbers = np.full(10, -1)
    numbers[kept] = np.arange(len(kept))
    cut, expected = index.cut(kept), index.renumber(numbers)
    np.testing.assert_array_equal(cut.items, expected.items)
    np.testing.assert_array_equal(cut.descriptors, expected.descriptors)


@pytest.mark.parametrize("items", [[0, 1], [0, 1, 2, 3], [0, -1, 2]])
def test_rows_and_items_that_do_not_fit_are_refused(items: list[int]) -> None:
    with pytest.raises(MapError, match=r"one row each|negative items"):
        RetrievalIndex("model", "a" * 64, _unit(0, 3), np.array(items))
