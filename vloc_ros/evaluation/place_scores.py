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

"""Scores of retrieved places: recall and precision among the first N, with intervals and chance, and confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import Ranking

RECALLS = (1, 5, 10, 20)
PRECISIONS = (1, 5, 20, 50, 100, 150, 200)
_Z_95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """A share of queries.

    Attributes:
        hits: number of queries.
        of: out of so many.
    """

    hits: int
    of: int

    @property
    def value(self) -> float | None:
        """The share; None of no queries."""
        return self.hits / self.of if self.of else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of Wilson 1927."""
        if not self.of:
            return None
        p, n, z2 = self.hits / self.of, self.of, _Z_95**2
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = _Z_95 / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"hits": self.hits, "of": self.of, "share": self.value, "interval_95": self.interval}


@dataclass(frozen=True, slots=True, eq=False)
class PlaceScores:
    """Scores of a ranking.

    Attributes:
        queries: number of queries.
        with_positive: of these, how many have a positive: a ceiling for the recall over all.
        database: number of database images.
        recall: share of all queries with a positive among the first N, by N.
        recall_with_positive: the same of the queries that have one.
        chance: expected recall over all queries of a random order, by N.
        precision: mean over the queries with a positive of positives among the first K over min(K, positives), by K.
        recall_at_precision_1: largest share of the queries with a positive whose first result is right, where only
            queries whose similarity is above every wrong first result are answered; None without such queries, or
            where similarities are not known.
        aupr: area under the curve of precision over recall of first results, by their similarity; None likewise.
    """

    queries: int
    with_positive: int
    database: int
    recall: dict[int, Share]
    recall_with_positive: dict[int, Share]
    chance: dict[int, float]
    precision: dict[int, float]
    recall_at_precision_1: float | None
    aupr: float | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "queries": self.queries,
            "with_positive": self.with_positive,
            "database": self.database,
            "recall": {f"R@{n}": share.as_dict() for n, share in self.recall.items()},
            "recall_with_positive": {f"R@{n}": share.as_dict() for n, share in self.recall_with_positive.items()},
            "chance": {f"R@{n}": value for n, value in self.chance.items()},
            "precision": {f"P@{k}": value for k, value in self.precision.items()},
            "recall_at_precision_1": self.recall_at_precision_1,
            "aupr": self.aupr,
        }


def score_ranking(ranking: Ranking, positives: Sequence[Array], database: int) -> PlaceScores:
    """Score a ranking of at least 20 results, or of the whole database.

    Args:
        ranking: of Q queries.
        positives: of each query the database images that show its place; may be none.
        database: N, number of database images.

    Raises:
        InputError: there are no queries.
    """
    if not len(positives):
        raise InputError("there are no queries to score, expected at least one")
    counts = np.array([len(one) for one in positives])
    hits = hits_of(ranking, positives)
    found, has = np.cumsum(hits, axis=1), counts > 0
    recalls = [n for n in RECALLS if n <= database]
    at = {n: found[:, min(n, found.shape[1]) - 1] > 0 for n in recalls}
    precisions = [k for k in PRECISIONS if k <= found.shape[1]] if has.any() else []
    certain, aupr = _confidence(ranking.similarities[:, 0], hits[:, 0], has)
    return PlaceScores(
        len(counts),
        int(has.sum()),
        database,
        {n: Share(int(right.sum()), len(counts)) for n, right in at.items()},
        {n: Share(int(right.sum()), int(has.sum())) for n, right in at.items()},
        {n: float(np.mean([chance_of_recall(int(count), database, n) for count in counts])) for n in recalls},
        {k: float((found[has, k - 1] / np.minimum(k, counts[has])).mean()) for k in precisions},
        certain,
        aupr,
    )


def hits_of(ranking: Ranking, positives: Sequence[Array]) -> Array:
    """(Q, C) bool whether each result is a positive."""
    pairs = zip(ranking.rows, positives, strict=True)
    return np.array([np.isin(rows, right) for rows, right in pairs], bool).reshape(ranking.rows.shape)


def chance_of_recall(positives: int, database: int, n: int) -> float:
    """Probability that n of the database, drawn at random, hold one of the positives."""
    missed = 1.0
    for k in range(min(n, database)):
        missed *= max(0, database - positives - k) / (database - k)
    return 1.0 - missed


def _confidence(similarity: Array, right: Array, has_positive: Array) -> tuple[float | None, float | None]:
    """Recall at precision 1 and the area under precision over recall, by a threshold on the first similarity."""
    total = int(has_positive.sum())
    if not total or not np.isfinite(similarity).all():
        return None, None
    wrong = similarity[~right]
    certain = int((similarity[right] > wrong.max(initial=-np.inf)).sum())
    order = np.argsort(-similarity, kind="stable")
    true, answered = np.cumsum(right[order]), np.arange(1, len(order) + 1)
    # equal similarities fall below a threshold together
    last = np.append(np.flatnonzero(np.diff(similarity[order])), len(order) - 1)
    precision, recall = true[last] / answered[last], true[last] / total
    steps = np.diff(np.concatenate([[0.0], recall]))
    return certain / total, float((steps * precision).sum())
