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

"""VLAD over a vocabulary."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import MapError
from vloc_ros.core.retrieval import vlad
from vloc_ros.core.retrieval.vlad import Vocabulary, sample_descriptors


@pytest.fixture(scope="module")
def descriptors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2000, 16)).astype(np.float32)


def test_a_vlad_is_the_normalised_sum_of_residuals() -> None:
    vocabulary = Vocabulary(np.float32([[0, 0], [10, 10]]))
    encoded = vocabulary.encode(np.float32([[1, 0], [1, 0], [10, 12]]))
    assert encoded == pytest.approx(np.array([1, 0, 0, 1]) / np.sqrt(2))


def test_similar_sets_are_nearer_than_others(descriptors: np.ndarray) -> None:
    vocabulary = Vocabulary.fit(descriptors, 8)
    rng = np.random.default_rng(1)
    place, other_place = descriptors[:100], descriptors[1000:1100]
    again = vocabulary.encode(place[:70] + rng.normal(0, 0.1, (70, 16)).astype(np.float32))
    assert again @ vocabulary.encode(place) > again @ vocabulary.encode(other_place) + 0.2


def test_fitting_is_deterministic_and_the_hash_names_the_words(descriptors: np.ndarray) -> None:
    first, second = Vocabulary.fit(descriptors, 8), Vocabulary.fit(descriptors, 8)
    assert first.hash == second.hash == Vocabulary.from_arrays(first.arrays).hash
    assert first.hash != Vocabulary.fit(descriptors, 9).hash


@pytest.mark.parametrize("ends", [(700, 701, 1300), (0, 3, 1999), ()])
def test_descriptors_in_parts_are_drawn_as_those_in_one_array(
    descriptors: np.ndarray, ends: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vlad, "MAX_SAMPLES", 300)
    drawn = sample_descriptors(np.split(descriptors, ends), len(descriptors))
    np.testing.assert_array_equal(drawn, descriptors[::6])
    assert Vocabulary.fit(drawn, 8).hash == Vocabulary.fit(descriptors, 8).hash


def test_nothing_is_encoded_as_zero(descriptors: np.ndarray) -> None:
    encoded = Vocabulary.fit(descriptors, 8).encode(np.zeros((0, 16), np.float32))
    assert encoded.shape == (128,)
    assert not encoded.any()


def test_an_index_without_words_is_refused() -> None:
    with pytest.raises(MapError, match="expected words"):
        Vocabulary.from_arrays({"centroids": np.zeros((2, 2))})
