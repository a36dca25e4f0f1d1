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

"""Ranking by the benchmark's ways of handling queries, views of an image, re-ranking by descriptors and positions."""

from __future__ import annotations

from collections.abc import Sequence

import faiss
import numpy as np
import pytest

from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.descriptor_reranking import (
    augment_database,
    check_images_per_place,
    expand_queries,
    rerank_by_clusters,
    rerank_k_reciprocal,
)
from vloc_ros.core.retrieval.query_views import check_views, describe_views, make_views
from vloc_ros.core.retrieval.ranking import Ranking, normalize, rank, rank_views
from vloc_ros.core.retrieval.vlad_encoder import VladEncoder


def unit(shape: Sequence[int], seed: int = 0) -> Array:
    return normalize(np.random.default_rng(seed).standard_normal(shape))


def places(count: int, images: int, spread: float = 0.3) -> tuple[Array, Array]:
    """(count, D) queries and (count * images, D) database images of the same places."""
    centres = unit((count, 16), 1)
    noise = np.random.default_rng(2).standard_normal((count, images + 1, 16)) * spread
    shown = normalize(centres[:, None] + noise)
    return shown[:, 0], shown[:, 1:].reshape(-1, 16)


def hits(ranking: Ranking, images: int) -> float:
    return float((ranking.rows[:, 0] // images == np.arange(len(ranking.rows))).mean())


@pytest.mark.parametrize("seed", range(3))
def test_the_ranking_is_that_of_faiss_query_by_query(seed: int) -> None:
    queries, database = unit((20, 24), seed), unit((300, 24), seed + 10)
    index = faiss.IndexFlatL2(24)
    index.add(database)
    found = rank(queries, database, 20)
    for query, rows in zip(queries, found.rows, strict=True):
        assert index.search(query[None], 20)[1][0].tolist() == rows.tolist()
    assert (np.diff(found.similarities, axis=1) <= 0).all()


def test_equal_images_come_in_the_order_of_their_numbers() -> None:
    same = np.tile(unit((1, 4)), (5, 1))
    assert rank(same[:1], same, 3).rows.tolist() == [[0, 1, 2]]


def test_more_than_the_database_has_is_all_of_it() -> None:
    assert rank(unit((2, 4)), unit((3, 4)), 20).rows.shape == (2, 3)


def test_the_nearest_crop_wins_and_the_mean_may_not() -> None:
    database = np.eye(3, dtype=np.float32)
    crops = normalize(np.array([[[1.0, 0, 0.9], [0, 1, 0.9], [0.05, 0, 1]]]))
    views = np.concatenate([crops, normalize(np.array([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]))], axis=1)
    assert rank_views(views, database, "nearest_crop", 1).rows[0, 0] == 0
    assert rank_views(crops, database, "nearest_crop", 1).rows[0, 0] == 2
    assert rank_views(crops, database, "five_crops", 1).rows[0, 0] == 2


def test_votes_overrule_a_slightly_nearer_image() -> None:
    database = unit((30, 8), 3)
    lonely, common = database[0], database[1]
    crops = normalize(
        np.stack([lonely + 0.14 * unit((8,), 9)] + [common + 0.15 * unit((8,), 20 + k) for k in range(4)])
    )
    nearest = rank_views(crops[None], database, "nearest_crop", 5)
    voted = rank_views(crops[None], database, "maj_voting", 5)
    assert voted.rows[0, 0] == 1
    # the weight of the benchmark: 0.01 for all of the first, and as much of the first 5 and 10
    gain = voted.similarities[0, 0] - nearest.similarities[0][nearest.rows[0] == 1][0]
    assert 0.0 < gain <= 0.01 * (5 / 1 + 5 / 5 + 5 / 10) / 2 + 1e-6


def vote_directly(crops: Array, database: Array) -> list[int]:
    """The first 20 by votes, entry by entry: of each crop its first 20, of which the first 1, 5 and 10 vote."""
    index = faiss.IndexFlatL2(database.shape[1])
    index.add(database)
    distances, rows = index.search(crops, 20)
    lowered = distances.copy()
    for n in (1, 5, 10):
        for c in range(len(rows)):
            for k in range(n):
                count = sum(int((other[:n] == rows[c, k]).sum()) for other in rows)
                if count > 1:
                    lowered[c, k] -= 0.01 * count / n
    best: dict[int, float] = {}
    for row, distance in zip(rows.ravel().tolist(), lowered.ravel().tolist(), strict=True):
        best[row] = min(distance, best.get(row, np.inf))
    return sorted(best, key=lambda row: best[row])[:20]


@pytest.mark.parametrize("seed", range(5))
def test_votes_are_those_of_a_direct_count(seed: int) -> None:
    centre = unit((6,), seed)
    crops, database = normalize(centre + 0.5 * unit((5, 6), seed + 10)), unit((400, 6), seed + 20)
    found = rank_views(crops[None], database, "maj_voting", 200)
    assert found.rows[0, :20].tolist() == vote_directly(crops, database)
    assert len(set(found.rows[0].tolist())) == 200
    assert (np.diff(found.similarities[0]) <= 0).all()


@pytest.mark.parametrize(
    ("method", "shapes"),
    [
        ("hard_resize", [(48, 64, 3)]),
        ("single_query", [(48, 96, 3)]),
        ("central_crop", [(48, 64, 3)]),
        ("five_crops", [(48, 48, 3)] * 5),
        ("nearest_crop", [(48, 48, 3)] * 5),
    ],
)
def test_views_have_the_sizes_of_the_benchmark(method: str, shapes: list[tuple[int, ...]]) -> None:
    image = np.zeros((100, 200, 3), np.uint8)
    assert [view.shape for view in make_views(image, method, (48, 64))] == shapes


def test_crops_are_the_corners_and_the_middle() -> None:
    image = np.zeros((40, 80), np.uint8)
    image[:, 40:] = 200
    means = [view.mean() for view in make_views(image, "five_crops", (40, 60))]
    assert means == [0, 200, 0, 200, 100]


class MeanColour:
    """An encoder of a fixed size."""

    hash, modality, dimension, batch_size, takes_any_size = "0", "image", 2, 1, False

    def encode(self, images: Sequence[Array]) -> Array:
        return normalize(np.array([[1.0, image.mean()] for image in images]))

    def encode_at_own_size(self, images: Sequence[Array]) -> Array:
        raise AssertionError

    def encode_query(self, query: object) -> Array:
        raise AssertionError


def test_what_a_fixed_size_cannot_do_is_refused() -> None:
    for method, scales in (("single_query", (1.0,)), ("hard_resize", (0.71, 1.0))):
        with pytest.raises(ConfigError, match="any size"):
            check_views(MeanColour(), method, scales)
    with pytest.raises(ConfigError, match="above 0"):
        check_views(MeanColour(), "hard_resize", (0.0,))
    with pytest.raises(ConfigError, match="--resize"):
        check_views(MeanColour(), "hard_resize", (1.0,), (480, 640))
    check_views(MeanColour(), "five_crops", (1.0,))
    assert describe_views(MeanColour(), np.zeros((9, 9), np.uint8), method="five_crops", size=(32, 32)).shape == (5, 2)


def test_an_encoder_of_a_fixed_size_gets_the_image_as_it_is() -> None:
    sizes = list[tuple[int, ...]]()

    class Sizes(MeanColour):
        def encode(self, images: Sequence[Array]) -> Array:
            sizes.extend(image.shape for image in images)
            return super().encode(images)

    describe_views(Sizes(), np.zeros((90, 70), np.uint8), method="hard_resize")
    assert sizes == [(90, 70)]


def test_vlad_of_keypoints_finds_the_image_of_its_place_at_several_scales() -> None:
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 256, (24, 32), dtype=np.uint8) for _ in range(4)]
    images = [np.kron(one, np.ones((8, 8), np.uint8)) for one in small]
    encoder = VladEncoder.fit(RootSift(RootSiftConfig(max_keypoints=200)), images, words=8)
    given = {"method": "hard_resize", "size": (192, 256), "scales": (0.71, 1.0, 1.41)}
    known, asked = (
        np.stack([describe_views(encoder, i, **given)[0] for i in shown]) for shown in (images, images[::-1])
    )
    assert rank(asked, known, 1).rows[:, 0].tolist() == [3, 2, 1, 0]
    assert known.shape == (4, encoder.dimension)


def test_a_vocabulary_of_blank_images_is_refused() -> None:
    with pytest.raises(InputError, match="keypoints"):
        VladEncoder.fit(RootSift(RootSiftConfig()), [np.zeros((64, 64), np.uint8)])


def test_expansion_and_augmentation_help_where_a_place_has_many_images() -> None:
    images = 8
    queries, database = places(30, images, spread=0.22)
    before = rank(queries, database, 50)
    assert hits(before, images) < 1.0
    assert hits(expand_queries(queries, database, before, count=5), images) > hits(before, images)
    assert hits(expand_queries(queries, database, before, count=5, alpha=3.0), images) > hits(before, images)
    assert hits(rank(queries, augment_database(database, count=5), 50), images) > hits(before, images)
    assert hits(rerank_k_reciprocal(queries, database, before, k1=8, k2=4), images) > hits(before, images)


def test_an_expanded_query_is_nearer_to_what_its_first_results_have_in_common() -> None:
    """By hand: the mean of 0 and 20 degrees is at 10, so that 25 degrees comes before -21."""
    turned = np.radians([20.0, -21.0, 25.0])
    database = np.column_stack([np.cos(turned), np.sin(turned)]).astype(np.float32)
    query = np.array([[1.0, 0.0]], np.float32)
    before = rank(query, database, 3)
    assert before.rows.tolist() == [[0, 1, 2]]
    expanded = expand_queries(query, database, before, count=1)
    assert expanded.rows.tolist() == [[0, 2, 1]]
    assert expanded.similarities[0] == pytest.approx(np.cos(np.radians([10.0, 15.0, 31.0])), abs=1e-6)
    # weighted by cos(20 degrees) to the power of 100, 0.002: hardly expanded
    assert expand_queries(query, database, before, count=1, alpha=100.0).rows.tolist() == [[0, 1, 2]]


def test_an_expansion_of_nothing_is_the_same_ranking() -> None:
    queries, database = places(5, 3)
    before = rank(queries, database, 15)
    assert (rerank_k_reciprocal(queries, database, before, weight=1.0).rows == before.rows).all()
    assert np.allclose(augment_database(database, count=0), database, atol=1e-6)


def test_few_images_of_a_place_refuse_an_expansion() -> None:
    check_images_per_place(5)
    with pytest.raises(InputError, match="at least 5"):
        check_images_per_place(2)


def test_a_cluster_of_positions_comes_before_a_lonely_image() -> None:
    positions = np.array([[0.0, 0], [500, 0], [505, 0], [510, 0], [900, 0]])
    ranking = Ranking(np.array([[0, 1, 2, 3, 4]]), np.array([[0.90, 0.89, 0.89, 0.88, 0.5]], np.float32))
    assert rerank_by_clusters(ranking, positions, count=4).rows.tolist() == [[1, 2, 3, 0, 4]]
    assert np.isnan(rerank_by_clusters(ranking, positions, count=4).similarities).all()
    # what is clearly more similar stays first
    certain = Ranking(ranking.rows, np.array([[0.99, 0.7, 0.7, 0.7, 0.5]], np.float32))
    assert rerank_by_clusters(certain, positions, count=4).rows[0, 0] == 0
