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

"""Search for the most similar global descriptors: exact, and by FAISS where there are very many."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.integer_arrays import first_occurrences

# 64 MiB of descriptors, 65536 of 256 values: exact search takes one core 3 to 6 ms
MOST_VALUES_EXACT = 1 << 24
# inverted lists searched of about √R; at 100000 rows 99 of 100 results are those of the exact search
_LISTS_SEARCHED = 32
_ITERATIONS = 10
_TRAINED_ON_PER_LIST = 64


class DescriptorSearch:
    """The rows most similar to a query, by the cosine of global descriptors.

    The inverted lists of FAISS (Jégou et al. 2011) rather than a graph, since the search is built whenever a map is
    loaded: for 100000 descriptors of 256 values they took one core a second, and 0.6 ms a query; an HNSW graph 8 to
    12 s and 0.2 ms; the exact search none and 4 to 9 ms.
    """

    def __init__(self, descriptors: Array, *, most_values_exact: int = MOST_VALUES_EXACT) -> None:
        """Search (R, D) float32 L2-normalised descriptors; exactly up to `most_values_exact` values R · D."""
        self._search: _Search
        descriptors = np.ascontiguousarray(descriptors, dtype=np.float32)
        self._search = _Exact(descriptors) if descriptors.size <= most_values_exact else _Lists(descriptors)

    def best(self, queries: Array, count: int) -> Array:
        """(min(count, R),) int64 rows, best first; the search by lists may find fewer.

        Args:
            queries: (V, D) float32 L2-normalised, V >= 1: the score of a row is its highest similarity to any of them.
                A query with a value that is not finite is left out; where none is left, no row is found.
            count: how many at most.
        """
        queries = np.asarray(queries, dtype=np.float32)
        queries = np.ascontiguousarray(queries[np.isfinite(queries).all(axis=1)])
        if not len(queries):
            return np.zeros(0, np.int64)
        rows, similarities = self._search.candidates(queries, count)
        # equal rows in the order of their numbers, so that equal input gives equal output
        ranked = rows[np.lexsort((rows, -similarities))]
        return np.asarray(ranked[first_occurrences(ranked)][:count], dtype=np.int64)


class _Search(Protocol):
    def candidates(self, queries: Array, count: int) -> tuple[Array, Array]:
        """(N,) rows, among them the best `count` of all queries, and (N,) their similarities to a query."""
        ...


class _Exact:
    def __init__(self, descriptors: Array) -> None:
        self._descriptors = descriptors

    def candidates(self, queries: Array, count: int) -> tuple[Array, Array]:
        similarity = (self._descriptors @ queries.T).max(axis=1)
        if count >= len(similarity):
            return np.arange(len(similarity)), similarity
        least = np.partition(similarity, len(similarity) - count)[len(similarity) - count]
        rows = np.flatnonzero(similarity >= least)
        return rows, similarity[rows]


class _Lists:
    def __init__(self, descriptors: Array) -> None:
        import faiss  # not with the map: a command that only reads one is not to wait for it

        count, dimension = descriptors.shape
        self._centres = faiss.IndexFlatIP(dimension)  # kept: the index does not own it
        self._index = faiss.IndexIVFFlat(
            self._centres, dimension, max(1, int(np.sqrt(count))), faiss.METRIC_INNER_PRODUCT
        )
        self._index.cp.niter, self._index.cp.max_points_per_centroid = _ITERATIONS, _TRAINED_ON_PER_LIST
        self._index.cp.min_points_per_centroid = 1
        self._index.nprobe = _LISTS_SEARCHED
        self._index.train(descriptors)
        self._index.add(descriptors)

    def candidates(self, queries: Array, count: int) -> tuple[Array, Array]:
        similarities, rows = self._index.search(queries, min(count, self._index.ntotal))
        found = rows >= 0
        return rows[found], similarities[found]
