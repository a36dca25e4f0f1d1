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

"""Scores of University-1652's test against its own formulas, worked out by hand."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cross_view_world import write_dataset

from training.cross_view.evaluate import Retrieval, compare, draw_north_turns
from training.cross_view.headings import turn_image
from training.cross_view.layout import ViewImages, read_views
from training.cross_view.scores import average_precision, recall_curve, score_retrieval
from vloc_ros.core.errors import InputError


def test_average_precision_is_by_trapezoids() -> None:
    # ranks 0 and 2: (1 + 1) / 2 and (1 / 2 + 2 / 3) / 2
    assert average_precision(np.array([True, False, True])) == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert average_precision(np.zeros(3, bool)) == 0.0


def test_a_query_without_a_right_view_stays_in_the_denominator() -> None:
    similarity = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0]])
    right = np.array([[True, False, False], [False, False, False]])
    scores = score_retrieval(similarity, right)
    assert (scores["R@1"], scores["AP"], scores["chance"]) == (0.5, 0.5, pytest.approx(1 / 6))


def test_queries_without_a_right_view_are_left_out() -> None:
    def views(*places: str) -> ViewImages:
        names, count = np.array(places), len(places)
        unknown = np.full(count, "")
        return ViewImages(tuple(map(Path, places)), names, np.full((count, 3), np.nan), unknown, unknown, unknown)

    retrieval = Retrieval(views("a", "b", "c"), views("c", "a"), np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    kept = retrieval.select_answerable()
    assert kept.queries.places.tolist() == ["a", "c"]
    assert (kept.score()["queries"], kept.score()["R@1"]) == (2, 0.5)
    with pytest.raises(InputError):
        replace(retrieval, gallery=views("d", "e")).select_answerable()


def test_the_most_similar_headings_count() -> None:
    queries = np.array([[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [0.6, 0.8]]])
    gallery = np.array([[[1.0, 0.0]], [[0.0, -1.0]]])
    assert compare(queries, gallery) == pytest.approx(np.array([[1.0, 0.0], [0.6, 0.0]]))


def test_a_compass_turns_images_north(tmp_path: Path) -> None:
    images = read_views(write_dataset(tmp_path, positions=True, headings=True), "test", "drone", is_query=True)
    off = draw_north_turns(images, 5.0) + images.headings_deg
    assert 2.0 < off.std() < 8.0
    assert draw_north_turns(images, 0.0) == pytest.approx(-images.headings_deg)
    with pytest.raises(InputError, match="heading"):
        draw_north_turns(replace(images, headings_deg=np.full(len(images), np.nan)), 5.0)


def test_an_image_is_turned_counter_clockwise_about_its_middle() -> None:
    image = np.zeros((61, 61), np.uint8)
    image[5:11, 28:33] = 255  # at the top
    assert (turn_image(image, 90.0) == np.rot90(image)).all()
    assert (turn_image(image, -360.0) == image).all()
    turned = turn_image(turn_image(image, 30.0), 60.0)
    assert abs(turned.astype(int) - np.rot90(image)).mean() < 2.0
    wide = image[:, 10:]
    assert turn_image(wide, 90.0).shape == wide.shape


def test_one_percent_takes_one_rank_more() -> None:
    similarity = -np.arange(200.0)[None]
    right = np.zeros((1, 200), bool)
    right[0, 2] = True
    assert score_retrieval(similarity, right)["R@1%"] == 1.0
    assert score_retrieval(similarity, np.roll(right, 1, axis=1))["R@1%"] == 0.0
    assert recall_curve(similarity, right, 4).tolist() == [0, 0, 1, 1]


def test_metres_are_of_the_first() -> None:
    similarity, right = np.array([[2.0, 1.0]]), np.array([[True, False]])
    scores = score_retrieval(similarity, right, distance_m=np.array([[12.0, 900.0]]))
    assert (scores["median_m"], scores["within_10_m"], scores["within_25_m"]) == (12.0, 0.0, 1.0)
    assert scores["SDM@1"] == pytest.approx(np.exp(-12.0 * 5000 / 111320))


def test_a_near_view_counts_more_at_an_earlier_rank() -> None:
    similarity, right = np.array([[2.0, 1.0]]), np.array([[True, False]])
    first, second = (
        score_retrieval(similarity, right, distance_m=np.array([metres]))["SDM@5"] for metres in ([0, 1e6], [1e6, 0])
    )
    assert (first, second) == (pytest.approx(1.0 / 1.8), pytest.approx(0.8 / 1.8))
