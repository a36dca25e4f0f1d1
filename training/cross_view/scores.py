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

"""Scores of cross-view retrieval, as University-1652's test has them, and in metres."""

from __future__ import annotations

from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Array

AT = (1, 5, 10)
# DenseUAV has exp(-5000 d) of degrees, which are shorter from east to west; here a degree of latitude
SPATIAL_DECAY_PER_M = 5000.0 / 111_320.0
_WITHIN_M = (10, 25, 50)


def score_retrieval(similarity: Array, right: Array, *, distance_m: Array | None = None) -> dict[str, Any]:
    """Scores of all queries.

    Args:
        similarity: (Q, G) of each query to each view of the gallery.
        right: (Q, G) bool whether a view of the gallery shows the query's place.
        distance_m: (Q, G) metres between them; None where not known.

    Returns:
        `R@K` is the share of queries with a right view among the first K, and `R@1%` among 1 % of the gallery, rounded,
        and one more, as University-1652's test has it. `AP` is the mean over the queries of the area under
        precision and recall by trapezoids. Queries without a right view count as 0 in all of them, see
        `Retrieval.select_answerable`. `chance` is R@1 of
        a random order. With distances also `SDM@K` (Dai et al. 2023), the median distance of the first, and shares of
        queries whose first is near.
    """
    order = np.argsort(-similarity, axis=1, kind="stable")
    hits = np.take_along_axis(right, order, axis=1)
    found = np.cumsum(hits, axis=1) > 0
    gallery = right.shape[1]
    scores: dict[str, Any] = {"queries": len(right), "gallery": gallery}
    scores |= {f"R@{k}": float(found[:, min(k, gallery) - 1].mean()) for k in AT}
    scores["R@1%"] = float(found[:, min(round(gallery * 0.01), gallery - 1)].mean())
    scores["AP"] = float(np.mean([average_precision(row) for row in hits]))
    scores["chance"] = float(right.mean())
    if distance_m is not None:
        scores |= _score_distances(np.take_along_axis(distance_m, order, axis=1))
    return scores


def average_precision(hits: Array) -> float:
    """Area under precision over recall, by trapezoids; 0 without a hit.

    Args:
        hits: (G,) bool by rank. Precision before the first rank is 1 where that is a hit.
    """
    ranks = np.flatnonzero(hits)
    if not len(ranks):
        return 0.0
    before = np.arange(len(ranks))
    earlier = np.where(ranks > 0, before / np.maximum(ranks, 1), 1.0)
    return float(np.mean((earlier + (before + 1) / (ranks + 1)) / 2))


def recall_curve(similarity: Array, right: Array, most: int = 100) -> Array:
    """(K,) share of queries with a right view among the first 1 to K of the gallery."""
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :most]
    return np.asarray((np.cumsum(np.take_along_axis(right, order, axis=1), axis=1) > 0).mean(axis=0))


def _score_distances(ranked_m: Array) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for k in AT:
        near = np.exp(-SPATIAL_DECAY_PER_M * ranked_m[:, :k])
        weights = 1.0 - np.arange(near.shape[1]) / k
        found[f"SDM@{k}"] = float((near * weights).sum(axis=1).mean() / weights.sum())
    found["median_m"] = float(np.median(ranked_m[:, 0]))
    return found | {f"within_{m}_m": float((ranked_m[:, 0] <= m).mean()) for m in _WITHIN_M}
