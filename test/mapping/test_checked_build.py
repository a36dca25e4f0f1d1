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

"""A map that does not find its own images is none, and the mistake that explains it is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posed_points import PosedPoints, extracting, make_posed_points

from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.checked_build import build_checked_map, find_doubt

_CONFIG = MappingConfig(landmark_max_points=50, vocabulary_words=8, pairs_per_image=6, calibration_gap_m=0.5)


@pytest.fixture(scope="module")
def points() -> PosedPoints:
    return make_posed_points(images=24)


@pytest.fixture(scope="module")
def built(points: PosedPoints) -> LandmarkMap:
    with extracting(points.features):
        return build_checked_map(points.images(), name="row", config=_CONFIG)


def _doubt(points: PosedPoints, landmark_map: LandmarkMap, images: list[PosedImage], config: MappingConfig) -> str:
    with extracting(points.features):
        return find_doubt(landmark_map, images, config=config)


def _with_samples(landmark_map: LandmarkMap, samples: int) -> LandmarkMap:
    """As it is when so many of the left-out images are localized; 0 for fewer than eight."""
    scene = landmark_map.scene()
    return replace(landmark_map, scenes=(replace(scene, calibration=replace(scene.calibration, samples=samples)),))


def test_a_map_that_finds_its_images_is_not_in_doubt(points: PosedPoints, built: LandmarkMap) -> None:
    assert built.scene().calibration.samples >= 12
    assert _doubt(points, built, points.images(), _CONFIG) == ""


def test_a_map_that_does_not_is_and_no_mistake_is_made_up(points: PosedPoints, built: LandmarkMap) -> None:
    blind = _with_samples(built, 0)
    found = _doubt(points, blind, points.images(), _CONFIG)
    assert found.startswith(
        "the map does not find its own images: fewer than 8 of 24 left-out images were localized; ch"
    )
    assert _doubt(points, blind, points.images(), replace(_CONFIG, calibration_gap_m=0.0)) == ""


def test_the_mistake_in_its_input_comes_first(points: PosedPoints, built: LandmarkMap) -> None:
    axes = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    turned = [replace(i, map_from_camera=i.map_from_camera @ axes) for i in points.images() if i.map_from_camera]
    found = _doubt(points, _with_samples(built, 0), turned, _CONFIG)
    assert found.startswith("the map is of wrong input: the cameras have the axes of OpenGL, y up and z back: ")
    assert found.endswith("; fewer than 8 of 24 left-out images were localized")


@pytest.mark.parametrize(("samples", "doubted"), [(12, False), (11, True)])
def test_a_map_that_finds_half_of_its_images_is_not_in_doubt(
    points: PosedPoints, built: LandmarkMap, samples: int, doubted: bool
) -> None:
    axes = Pose(np.diag([1.0, -1.0, -1.0]), np.zeros(3))
    turned = [replace(i, map_from_camera=i.map_from_camera @ axes) for i in points.images() if i.map_from_camera]
    found = _doubt(points, _with_samples(built, samples), turned, _CONFIG)
    assert found.endswith("; 11 of 24 left-out images were localized") is doubted


def test_images_that_make_no_map_have_their_mistake_named(points: PosedPoints) -> None:
    inverted = [replace(i, map_from_camera=i.map_from_camera.inverse()) for i in points.images() if i.map_from_camera]
    with extracting(points.features), pytest.raises(MapError, match=r"^the poses are inverted, .*; (no|\d+ of 24) "):
        build_checked_map(inverted, name="row", config=_CONFIG)


def test_images_that_make_no_map_for_no_known_reason_keep_their_error(points: PosedPoints) -> None:
    rng = np.random.default_rng(0)
    random = [Pose.from_rotation_vector(rng.normal(0, 2, 3), rng.normal(0, 5, 3)) for _ in points.poses]
    images = [replace(i, map_from_camera=pose) for i, pose in zip(points.images(), random, strict=True)]
    with extracting(points.features), pytest.raises(MapError, match=r"^(no|\d+ of 24) "):
        build_checked_map(images, name="row", config=_CONFIG)
