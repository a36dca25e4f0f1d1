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

"""Re-ranking of retrieved images by global descriptors and by where the images were taken.

Average query expansion (Chum et al. 2007), alpha query expansion (Radenović et al. 2019), database-side augmentation
(Turcot and Lowe 2009; Gordo et al. 2017), k-reciprocal encoding (Zhong et al. 2017), clusters of positions.
"""

from __future__ import annotations

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import Ranking, normalize, rank

# fewer images of a place: the expanded query is of other places
LEAST_IMAGES_PER_PLACE = 5


def check_images_per_place(images_per_place: float) -> None:
    """Refuse query expansion and augmentation where a place has few images: they blend in other places.

    Raises:
        InputError: there are fewer than five.
    """
    if images_per_place < LEAST_IMAGES_PER_PLACE:
        raise InputError(
            f"the database has {images_per_place:g} images of a place (median), expected at least "
            f"{LEAST_IMAGES_PER_PLACE} for query expansion and database augmentation: with fewer, other places are "
            "blended in; use kreciprocal, cluster or pose"
        )


def expand_queries(queries: Array, database: Array, ranking: Ranking, *, count: int, alpha: float = 0.0) -> Ranking:
    """Rank again by the mean of each query and its first results, weighted by similarity to the power of alpha.

    Args:
        queries: (Q, D) L2-normalised.
        database: (N, D) L2-normalised.
        ranking: of the queries.
        count: results that are taken in.
        alpha: 0 weighs all the same (average query expansion).
    """
    first, similar = ranking.rows[:, :count], ranking.similarities[:, :count]
    weights = np.maximum(similar, 0.0) ** alpha
    expanded = queries + np.einsum("qk,qkd->qd", weights, database[first])
    return rank(normalize(expanded), database, ranking.rows.shape[1])


def augment_database(database: Array, *, count: int) -> Array:
    """(N, D) descriptors: each the mean of its own and its nearest ones, which weigh less the later they come."""
    found = rank(database, database, count + 1)
    weights = np.linspace(1.0, 0.0, count + 1, endpoint=False)[: found.rows.shape[1]]
    return normalize(np.einsum("k,nkd->nd", weights, database[found.rows]))


def rerank_k_reciprocal(
    queries: Array, database: Array, ranking: Ranking, *, k1: int = 20, k2: int = 6, weight: float = 0.3
) -> Ranking:
    """Rank the results of each query again by which neighbours they share with it.

    The neighbourhoods are those among the query and its results, not in the whole database.

    Args:
        queries: (Q, D) L2-normalised.
        database: (N, D) L2-normalised.
        ranking: of the queries.
        k1: size of the neighbourhoods.
        k2: neighbours whose encodings are averaged.
        weight: of the original distance; the rest is that of the Jaccard distance.
    """
    rows = np.empty_like(ranking.rows)
    similarities = np.empty_like(ranking.similarities)
    for q, found in enumerate(ranking.rows):
        distances = _k_reciprocal_distances(np.vstack([queries[q : q + 1], database[found]]), k1, k2, weight)
        order = np.argsort(distances, kind="stable")
        rows[q], similarities[q] = found[order], 1.0 - distances[order]
    return Ranking(rows, similarities)


def rerank_by_clusters(
    ranking: Ranking, positions: Array, *, count: int = 20, radius_m: float = 25.0, temperature: float = 0.05
) -> Ranking:
    """Put first those results whose surroundings have many similar images: a place, not a single image, is retrieved.

    The first results are put into clusters, greedily: the best that is in none, and all within the radius of it. A
    cluster scores the sum of exp(-d / temperature) over its members, d the squared distance of descriptors in excess
    of the first result's. Clusters come in the order of their score, members in the order of their rank; the results
    after the first `count` stay. Similarities are NaN: no number says how certain such an order is.
    """
    rows = ranking.rows.copy()
    for q, found in enumerate(ranking.rows[:, :count]):
        excess = 2.0 * (ranking.similarities[q, 0] - ranking.similarities[q, : len(found)])
        weights = np.exp(-excess / temperature)
        clusters, free = list[Array](), np.ones(len(found), bool)
        while free.any():
            first = int(np.argmax(free))
            near = np.linalg.norm(positions[found] - positions[found[first]], axis=1) <= radius_m
            clusters.append(np.flatnonzero(near & free))
            free &= ~near
        clusters.sort(key=lambda members: -float(weights[members].sum()))
        rows[q, : len(found)] = found[np.concatenate(clusters)]
    return Ranking(rows, np.full_like(ranking.similarities, np.nan))


def _k_reciprocal_distances(descriptors: Array, k1: int, k2: int, weight: float) -> Array:
    """(M - 1,) distances of the first of (M, D) descriptors to the others."""
    original = np.maximum(2.0 - 2.0 * descriptors @ descriptors.T, 0.0)
    original = original / max(float(original.max()), 1e-12)
    order = np.argsort(original, axis=1, kind="stable")
    encodings = np.zeros_like(original)
    for i in range(len(original)):
        members = _reciprocal_neighbours(order, i, k1)
        expanded = [members]
        for member in members:
            more = _reciprocal_neighbours(order, int(member), round(k1 / 2))
            if len(np.intersect1d(more, members)) > 2 / 3 * len(more):
                expanded.append(more)
        members = np.unique(np.concatenate(expanded))
        weights = np.exp(-original[i, members])
        encodings[i, members] = weights / weights.sum()
    if k2 > 1:
        encodings = encodings[order[:, :k2]].mean(axis=1)
    shared = np.minimum(encodings[:1], encodings[1:]).sum(axis=1)
    jaccard = 1.0 - shared / np.maximum(2.0 - shared, 1e-12)
    return np.asarray((1.0 - weight) * jaccard + weight * original[0, 1:])


def _reciprocal_neighbours(order: Array, i: int, k: int) -> Array:
    """Those of the first k + 1 neighbours of i that have i among theirs; i itself is one."""
    forward = order[i, : k + 1]
    return np.asarray(forward[(order[forward, : k + 1] == i).any(axis=1)])
