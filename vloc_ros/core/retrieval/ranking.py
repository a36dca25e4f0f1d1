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

"""Exact ranking of a database by global descriptors, for scores; a robot searches with `DescriptorSearch`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array

# similarities that are computed at once
_AT_ONCE = 1 << 25
HARD_RESIZE, SINGLE_QUERY, CENTRAL_CROP = "hard_resize", "single_query", "central_crop"
FIVE_CROPS, NEAREST_CROP, MAJORITY_VOTING = "five_crops", "nearest_crop", "maj_voting"
# how the views of a query become a ranking, by the names of the benchmark
METHODS = (HARD_RESIZE, SINGLE_QUERY, CENTRAL_CROP, FIVE_CROPS, NEAREST_CROP, MAJORITY_VOTING)
# of the benchmark: the first 1, 5 and 10 of each crop vote, with this weight in squared distances, and the first 20 of
# each are merged
_VOTING, _VOTE_WEIGHT, _MERGED = (1, 5, 10), 0.01, 20


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The database images most similar to each query, best first.

    Attributes:
        rows: (Q, C) int64 database images.
        similarities: (Q, C) float32, in descending order: cosines, or what stands for them; NaN where the order has
            other reasons.
    """

    rows: Array
    similarities: Array


def rank(queries: Array, database: Array, count: int) -> Ranking:
    """The most similar of a database by cosine; equal ones in the order of their numbers.

    Args:
        queries: (Q, D) float32 L2-normalised.
        database: (N, D) float32 L2-normalised, N >= 1.
        count: how many of each query; at most N.
    """
    count = min(count, len(database))
    rows = np.empty((len(queries), count), np.int64)
    similarities = np.empty((len(queries), count), np.float32)
    step = max(1, _AT_ONCE // len(database))
    for start in range(0, len(queries), step):
        some = slice(start, start + step)
        rows[some], similarities[some] = _best(queries[some] @ database.T, count)
    return Ranking(rows, similarities)


def rank_views(views: Array, database: Array, method: str, count: int) -> Ranking:
    """The ranking of queries of several views, by a method of the benchmark.

    Args:
        views: (Q, V, D) float32 L2-normalised descriptors; V is 5 for crops, 1 else.
        database: (N, D) float32 L2-normalised.
        method: `nearest_crop` takes the highest similarity of any view; `maj_voting` first raises, in each view, those
            of its first 1, 5 and 10 that are among those of another view too, and merges the first 20 of each view;
            what is in none of these comes after them, with similarities no higher. All others take the mean descriptor.
        count: how many of each query; at most N.
    """
    if method not in (NEAREST_CROP, MAJORITY_VOTING):
        mean = views.mean(axis=1)
        return rank(normalize(mean), database, count)
    count = min(count, len(database))
    found = [_rank_crops(one, database, count, votes=method == MAJORITY_VOTING) for one in views]
    empty = np.zeros((0, count))
    return Ranking(
        np.stack([rows for rows, _ in found]) if found else empty.astype(np.int64),
        np.stack([values for _, values in found]) if found else empty.astype(np.float32),
    )


def normalize(descriptors: Array) -> Array:
    """(..., D) float32 of length 1; one of zeros stays."""
    lengths = np.linalg.norm(descriptors, axis=-1, keepdims=True)
    return np.asarray(descriptors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _rank_crops(crops: Array, database: Array, count: int, *, votes: bool) -> tuple[Array, Array]:
    """(C,) rows and (C,) similarities of one query of (V, D) views."""
    squared = 2.0 - 2.0 * crops @ database.T
    if votes:
        return _merge_votes(squared, count)
    rows, similarities = _best(1.0 - squared.min(axis=0, keepdims=True) / 2.0, count)
    return rows[0], similarities[0]


def _merge_votes(squared: Array, count: int) -> tuple[Array, Array]:
    """(C,) rows and (C,) similarities by votes of (V, N) squared distances; a view votes with its first only."""
    first = np.argsort(squared, axis=1, kind="stable")[:, :_MERGED]
    voted = np.take_along_axis(squared, first, axis=1)
    for n in _VOTING:
        counts = np.bincount(first[:, :n].ravel(), minlength=squared.shape[1])[first[:, :n]]
        voted[:, :n] -= np.where(counts > 1, _VOTE_WEIGHT * counts / n, 0.0)
    merged = np.full(squared.shape[1], np.inf)
    np.minimum.at(merged, first.ravel(), voted.ravel())
    others = np.isinf(merged)
    distances = np.where(others, squared.min(axis=0), merged)
    # the first key that is compared is the last
    rows = np.lexsort((distances, others))[:count]
    similarities = np.minimum.accumulate(1.0 - distances[rows] / 2.0)
    return rows, similarities.astype(np.float32)


def _best(similarities: Array, count: int) -> tuple[Array, Array]:
    """(Q, count) rows and similarities of (Q, N) ones, descending."""
    if count < similarities.shape[1]:
        least = -np.partition(-similarities, count - 1, axis=1)[:, count - 1 : count]
        similarities = np.where(similarities >= least, similarities, -np.inf)
    rows = np.argsort(-similarities, axis=1, kind="stable")[:, :count]
    return rows, np.take_along_axis(similarities, rows, axis=1)
