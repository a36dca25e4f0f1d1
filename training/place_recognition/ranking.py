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

"""Scores of a ranking of images: precision and recall among the first K."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import rank
from vloc_ros.evaluation.place_scores import score_ranking

AT = (1, 5, 20)


@dataclass(frozen=True, slots=True)
class RankingScores:
    """Means over the queries that have a positive.

    Attributes:
        queries: number of queries with a positive.
        precision: P@K, hits among the first K over min(K, number of positives), by K.
        recall: R@K, share of queries with a hit among the first K, by K.
    """

    queries: int
    precision: dict[int, float]
    recall: dict[int, float]

    def as_dict(self) -> dict[str, float]:
        """Flat and rounded, for people and manifests."""
        shares = {f"{letter}@{k}": by_k[k] for letter, by_k in (("P", self.precision), ("R", self.recall)) for k in AT}
        return {"queries": self.queries, **{name: round(value, 4) for name, value in shares.items()}}


def ranking_scores(queries: Array, database: Array, positive: Array) -> RankingScores:
    """Score descriptors.

    Args:
        queries: (Q, D) L2-normalised.
        database: (N, D) L2-normalised.
        positive: (Q, N) bool, which images of the database show the place of each query.
    """
    scored = positive.any(axis=1)
    if not scored.any():
        return RankingScores(0, dict.fromkeys(AT, float("nan")), dict.fromkeys(AT, float("nan")))
    rows = [np.flatnonzero(row) for row in positive[scored]]
    found = score_ranking(rank(queries[scored], database, max(AT)), rows, len(database))
    # among as many as the whole database holds, every positive is found
    return RankingScores(
        len(rows),
        {k: found.precision.get(k, 1.0) for k in AT},
        {k: found.recall[k].hits / len(rows) if k in found.recall else 1.0 for k in AT},
    )
