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

"""Scores of place recognition: six images with known scores, FAISS query by query, intervals, chance, confidence."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import Ranking, normalize, rank
from vloc_ros.evaluation.place_retrieval import Reranking
from vloc_ros.evaluation.place_scores import Share, score_ranking


def angles(*degrees: float) -> Array:
    turned = np.radians(degrees)
    return np.column_stack([np.cos(turned), np.sin(turned)]).astype(np.float32)


def test_six_images_have_known_scores() -> None:
    """Three queries of three database images: right at once; right at the second; without a positive."""
    queries, database = angles(1, 44, 90), angles(0, 40, 60)
    positives = [np.array([0]), np.array([2]), np.zeros(0, np.int64)]
    scores = score_ranking(rank(queries, database, 3), positives, 3)
    assert (scores.queries, scores.with_positive, scores.database) == (3, 2, 3)
    assert scores.recall[1] == Share(1, 3)
    assert scores.recall_with_positive[1] == Share(1, 2)
    assert list(scores.recall) == [1]  # R@5 of a database of three is no measure
    assert scores.precision == {1: 0.5}
    assert scores.chance[1] == pytest.approx(2 / 9)
    # the right first result, at 1 degree, is more similar than the wrong ones, at 4 and 30
    assert scores.recall_at_precision_1 == 0.5
    assert scores.aupr == pytest.approx(0.5)


def test_recall_at_five_counts_all_queries() -> None:
    database = angles(0, 10, 20, 30, 40, 50, 60)
    positives = [np.array([4]), np.array([6]), np.zeros(0, np.int64)]
    scores = score_ranking(rank(angles(0, 0, 0), database, 7), positives, 7)
    assert scores.recall[5] == Share(1, 3)
    assert scores.recall_with_positive[5] == Share(1, 2)


@pytest.mark.parametrize("seed", range(3))
def test_recall_is_that_of_faiss_query_by_query(seed: int) -> None:
    rng = np.random.default_rng(seed)
    database, at = normalize(rng.standard_normal((80, 12))), rng.uniform(0, 100, (80, 2))
    chosen = rng.integers(0, 80, 25)
    queries, asked = normalize(database[chosen] + 0.4 * rng.standard_normal((25, 12))), at[chosen]
    positives = [np.flatnonzero(np.linalg.norm(at - one, axis=1) <= 12) for one in asked + 8]
    index = faiss.IndexFlatL2(12)
    index.add(database)
    scores = score_ranking(rank(queries, database, 80), positives, 80)
    for n in (1, 5, 10, 20):
        right = sum(
            bool(set(index.search(query[None], n)[1][0].tolist()) & set(positive.tolist()))
            for query, positive in zip(queries, positives, strict=True)
        )
        assert scores.recall[n] == Share(right, 25)


def test_precision_is_over_what_could_be_found() -> None:
    positives = [np.arange(3)]
    ranking = Ranking(np.arange(60)[None], np.linspace(1, 0, 60, dtype=np.float32)[None])
    assert score_ranking(ranking, positives, 60).precision == {1: 1.0, 5: 1.0, 20: 1.0, 50: 1.0}


def test_the_interval_is_wilsons() -> None:
    low, high = Share(8, 10).interval or (0, 0)
    assert (round(low, 3), round(high, 3)) == (0.490, 0.943)
    assert Share(0, 0).interval is None
    assert Share(0, 5).interval == pytest.approx((0.0, 0.4345), abs=1e-3)


def test_chance_is_that_of_a_random_order() -> None:
    rng, positives = np.random.default_rng(0), [np.arange(4)]
    drawn = np.mean([(rng.permutation(40)[:5] < 4).any() for _ in range(20000)])
    ranking = Ranking(np.arange(40)[None], np.zeros((1, 40), np.float32))
    assert score_ranking(ranking, positives, 40).chance[5] == pytest.approx(drawn, abs=0.02)


def test_a_wrong_answer_that_is_certain_leaves_no_recall_at_precision_1() -> None:
    ranking = Ranking(np.array([[0], [1]]), np.array([[0.9], [0.8]], np.float32))
    scores = score_ranking(ranking, [np.array([1]), np.array([1])], 2)
    assert scores.recall_at_precision_1 == 0.0
    assert scores.aupr == pytest.approx(0.25)


def test_an_order_without_similarities_has_no_confidence() -> None:
    ranking = Ranking(np.array([[0], [1]]), np.full((2, 1), np.nan, np.float32))
    scores = score_ranking(ranking, [np.array([0]), np.array([1])], 2)
    assert scores.recall[1].value == 1.0
    assert (scores.recall_at_precision_1, scores.aupr) == (None, None)


def test_no_queries_are_refused() -> None:
    with pytest.raises(InputError):
        score_ranking(Ranking(np.zeros((0, 1), np.int64), np.zeros((0, 1), np.float32)), [], 1)


def test_a_reranking_is_read() -> None:
    assert str(Reranking.parse("kreciprocal:10")) == "kreciprocal:10,6,0.3"
    assert Reranking.parse("aqe").values == {"count": 5, "alpha": 3}


@pytest.mark.parametrize("text", ["spatial", "qe:x", "qe:0", "qe:1,2", "qe:1.5", "aqe:nan", "kreciprocal:20,6,1.1"])
def test_a_reranking_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Reranking.parse(text)
