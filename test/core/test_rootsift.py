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

"""RootSIFT: pixel convention, normalisation, emptiness."""

from __future__ import annotations

import pickle

import cv2
import numpy as np
import pytest

from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.rootsift import RootSift


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    noise = np.random.default_rng(0).random((240, 320)).astype(np.float32)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def test_mirroring_the_image_mirrors_the_keypoints(texture: np.ndarray) -> None:
    """Only true in COLMAP's convention, where an image of width W spans 0 to W: a shifted one shows twice here."""
    extractor = RootSift(RootSiftConfig())
    plain = extractor.extract(texture).xy
    for axis, size in ((1, 320), (0, 240)):
        mirrored = extractor.extract(cv2.flip(texture, axis)).xy.copy()
        column = 1 - axis
        mirrored[:, column] = size - mirrored[:, column]
        distance = np.linalg.norm(plain[:, None] - mirrored[None], axis=2)
        same = distance.min(axis=1) < 1.5
        shift = plain[same] - mirrored[distance.argmin(axis=1)[same]]
        assert same.mean() > 0.8
        assert np.median(shift, axis=0) == pytest.approx([0, 0], abs=0.03)


def test_descriptors_have_unit_length_and_scores_descend(texture: np.ndarray) -> None:
    features = RootSift(RootSiftConfig(max_keypoints=60)).extract(texture)
    assert len(features) == 60
    assert np.linalg.norm(features.descriptors, axis=1) == pytest.approx(1.0, abs=1e-4)
    assert (np.diff(features.scores) <= 0).all()
    assert features.descriptors.dtype == np.float32


def test_colour_and_grey_agree(texture: np.ndarray) -> None:
    extractor = RootSift(RootSiftConfig())
    colour = extractor.extract(cv2.cvtColor(texture, cv2.COLOR_GRAY2BGR))
    assert np.array_equal(colour.xy, extractor.extract(texture).xy)


def test_the_threshold_falls_where_an_image_shows_fewer_keypoints_than_it_should(texture: np.ndarray) -> None:
    dark = (texture // 10).astype(np.uint8)
    fixed, adapted = (RootSift(RootSiftConfig(min_keypoints=count)) for count in (0, 400))
    # a quarter of 640x480, so a quarter of the keypoints
    assert len(fixed.extract(dark)) < 50
    assert len(adapted.extract(dark)) == 100


def test_an_image_that_shows_enough_is_not_changed(texture: np.ndarray) -> None:
    fixed, adapted = (RootSift(RootSiftConfig(min_keypoints=count)).extract(texture) for count in (0, 400))
    assert len(fixed) > 100
    assert np.array_equal(fixed.xy, adapted.xy)


def test_no_more_keypoints_are_expected_than_are_wanted(texture: np.ndarray) -> None:
    features = RootSift(RootSiftConfig(max_keypoints=50, min_keypoints=4000)).extract(texture)
    fixed = RootSift(RootSiftConfig(max_keypoints=50, min_keypoints=0)).extract(texture)
    assert np.array_equal(features.xy, fixed.xy)


def test_a_large_image_is_reduced_and_its_keypoints_are_where_they_were(texture: np.ndarray) -> None:
    large = cv2.resize(texture, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    found = RootSift(RootSiftConfig(max_megapixels=texture.size / 1e6)).extract(large)
    plain = RootSift(RootSiftConfig()).extract(texture)
    distance = np.linalg.norm(found.xy[:, None] / 3 - plain.xy[None], axis=2).min(axis=1)
    assert len(found) == pytest.approx(len(plain), rel=0.1)
    assert np.median(distance) < 0.1


def test_a_blank_image_has_no_keypoints() -> None:
    features = RootSift(RootSiftConfig()).extract(np.full((100, 100), 127, np.uint8))
    assert (len(features), features.descriptors.shape) == (0, (0, 128))


def test_another_process_finds_the_same_keypoints(texture: np.ndarray) -> None:
    extractor = RootSift(RootSiftConfig(max_keypoints=60))
    here, there = extractor.extract(texture), pickle.loads(pickle.dumps(extractor)).extract(texture)
    for name in ("xy", "descriptors", "scores"):
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
