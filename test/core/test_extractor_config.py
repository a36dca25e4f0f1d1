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

"""Extractors by name; one with other distances between its descriptors gives the same results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses
from synthetic import observe

from vloc_ros import assembly
from vloc_ros.assembly import build_extractor, build_localizer, build_map_extractor
from vloc_ros.core.config import Checked, LocalizerConfig, Parameter, TrackingConfig, parameter, parameters_of
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.features import extractor_config
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics
from vloc_ros.core.features.extractor_config import (
    KeypointModelConfig,
    RootSiftConfig,
    change_extractor,
    extractor_config_from,
)
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import PosePrior, Query
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.build import build_map
from vloc_ros.storage.maps import read_map, write_map


@dataclass(frozen=True, slots=True)
class ScaledConfig(Checked):
    """RootSIFT with other distances between its descriptors, of which no statistics are recorded."""

    name: str = parameter("scaled", "keypoint extractor", choices=("scaled",))
    length: float = parameter(1.0, "length of a descriptor", low=0.1, high=10.0)
    spread: float = parameter(
        1.0, "distances between descriptors of length 1 over those of RootSIFT", low=0.1, high=1.0
    )

    recorded_statistics: ClassVar[DescriptorStatistics | None] = None
    model_hash: ClassVar[str] = ""
    acceptance_table: ClassVar[str] = "rootsift"

    def covers(self, other: object) -> bool:
        return self == other

    def merge(self, other: ScaledConfig) -> ScaledConfig:
        return self


class Scaled(RootSift):
    """A constant value in every descriptor brings all of them nearer to each other."""

    dimension = 129

    def __init__(self, config: ScaledConfig) -> None:
        super().__init__(RootSiftConfig(max_keypoints=1000))
        self._length, self._spread = config.length, config.spread

    def working_scale(self, width: int, height: int) -> float:
        return 1.0

    def extract(self, image: Array) -> Features:
        found = super().extract(image)
        constant = np.full((len(found), 1), np.sqrt(1 - self._spread**2))
        descriptors = self._length * np.hstack([self._spread * found.descriptors, constant])
        return replace(found, descriptors=descriptors.astype(np.float32))


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        configs = {**extractor_config.EXTRACTOR_CONFIGS, "scaled": ScaledConfig}
        patch.setattr(extractor_config, "EXTRACTOR_CONFIGS", configs)
        scaled = {"scaled": lambda config, keypoint_model, inference: Scaled(config)}
        patch.setattr(assembly, "EXTRACTORS", {**assembly.EXTRACTORS, **scaled})
        yield


@pytest.fixture(scope="module")
def scene() -> PlaneScene:
    return make_plane_scene()


def _build(scene: PlaneScene, config: ScaledConfig, folder: Path) -> LandmarkMap:
    """A map of the wall, written and read back."""
    images = [
        PosedImage(f"{k:02}.png", lambda pose=pose: scene.image(pose), CAMERA, pose)
        for k, pose in enumerate(poses(14, seed=4))
    ]
    write_map(build_map(images, name="wall", config=MappingConfig(extractor=config)), folder)
    return read_map(folder)


@pytest.fixture(scope="module")
def reference(scene: PlaneScene, tmp_path_factory: pytest.TempPathFactory) -> LandmarkMap:
    return _build(scene, ScaledConfig(), tmp_path_factory.mktemp("reference") / "map")


@pytest.fixture(scope="module")
def narrow(scene: PlaneScene, tmp_path_factory: pytest.TempPathFactory) -> LandmarkMap:
    """A map by descriptors a third as far apart, but of length 1, as an extractor gives them."""
    return _build(scene, ScaledConfig(spread=1 / 3), tmp_path_factory.mktemp("narrow") / "map")


@pytest.fixture(scope="module")
def tripled(reference: LandmarkMap) -> LandmarkMap:
    """The reference as if all its descriptors were three times as long."""
    codec, statistics = reference.codec, reference.descriptor_statistics
    return replace(
        reference,
        codec=replace(codec, mean=3 * codec.mean, step=3 * codec.step),
        descriptor_statistics=replace(
            statistics, same_point=3 * statistics.same_point, unrelated=3 * statistics.unrelated
        ),
        extractor=ScaledConfig(length=3.0),
    )


def _localize(scene: PlaneScene, landmark_map: LandmarkMap, prior: bool) -> list[LocalizationResult]:
    tracking = TrackingConfig(image_scale=0.7, min_image_width_px=200)
    localizer = build_localizer(LocalizerConfig(tracking=tracking), landmark_map)
    results = []
    for pose in poses(6, seed=1):
        expected = PosePrior(Pose(pose.rotation, pose.translation + 0.01), np.diag([3e-4] * 3 + [1e-4] * 3))
        results.append(localizer.localize(Query.single(scene.image(pose), CAMERA, prior=expected if prior else None)))
    return results


def test_measured_statistics_scale_with_the_descriptors(reference: LandmarkMap, narrow: LandmarkMap) -> None:
    usual, third, recorded = (
        reference.descriptor_statistics, narrow.descriptor_statistics, RootSiftConfig.recorded_statistics
    )  # fmt: skip
    assert third.same_point == pytest.approx(usual.same_point / 3, rel=0.1)
    assert third.unrelated == pytest.approx(usual.unrelated / 3, rel=0.1)
    assert "measured on" in third.source
    assert recorded is not None
    assert usual.unrelated == pytest.approx(recorded.unrelated, rel=0.2)


@pytest.mark.parametrize("prior", [False, True])
def test_longer_descriptors_give_the_same_results(
    scene: PlaneScene, reference: LandmarkMap, tripled: LandmarkMap, prior: bool
) -> None:
    pairs = zip(_localize(scene, reference, prior), _localize(scene, tripled, prior), strict=True)
    for expected, found in pairs:
        assert expected.ok, expected.reason
        assert (found.status, found.candidate) == (expected.status, expected.candidate)
        assert found.inliers == pytest.approx(expected.inliers, abs=1)
        assert found.map_from_rig.distance_to(expected.map_from_rig) == pytest.approx((0.0, 0.0), abs=1e-4)


def test_longer_descriptors_confirm_the_same_points(
    scene: PlaneScene, reference: LandmarkMap, tripled: LandmarkMap
) -> None:
    pose, shown = poses(6, seed=1)[2], []
    query = Query.single(scene.image(pose), CAMERA)
    for landmark_map in (reference, tripled):
        features = build_map_extractor(landmark_map).extract(query.views[0].image)
        observation = observe(landmark_map, (features,), query)
        points = np.arange(len(landmark_map.points))
        shown.append(PoseScorer(MapIndex(landmark_map)).predict_visibility(pose, points, observation))
    assert shown[0].confirmed.sum() > 100
    assert np.abs(shown[1].confirmed - shown[0].confirmed).sum() <= 2
    np.testing.assert_allclose(shown[1].similarity, shown[0].similarity, atol=1e-3)


@pytest.mark.parametrize("prior", [False, True])
def test_an_extractor_of_other_distances_gives_maps_as_good(
    scene: PlaneScene, reference: LandmarkMap, narrow: LandmarkMap, prior: bool
) -> None:
    assert len(narrow.points) == pytest.approx(len(reference.points), rel=0.02)
    pairs = zip(_localize(scene, reference, prior), _localize(scene, narrow, prior), strict=True)
    for truth, (expected, found) in zip(poses(6, seed=1), pairs, strict=True):
        assert (found.status, found.candidate) == (expected.status, "prior" if prior else "whole_map")
        assert found.map_from_rig.distance_to(truth)[0] < 0.02
        assert found.inliers == pytest.approx(expected.inliers, rel=0.1)


def test_images_of_another_wall_are_refused_by_all(
    reference: LandmarkMap, narrow: LandmarkMap, tripled: LandmarkMap
) -> None:
    other = make_plane_scene(seed=5)
    for landmark_map in (reference, narrow, tripled):
        assert not any(result.ok for result in _localize(other, landmark_map, prior=False))


def test_a_configuration_by_its_name() -> None:
    config = extractor_config_from({"name": "scaled", "length": 2})
    assert config == ScaledConfig(length=2.0)
    assert isinstance(build_extractor(config), Scaled)
    assert extractor_config_from({"name": "rootsift", "max_keypoints": 800}) == RootSiftConfig(max_keypoints=800)
    assert not RootSiftConfig().covers(config)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"name": "orb"}, "the extractor is 'orb', this version has rootsift, xfeat, aliked, scaled"),
        ({}, "the extractor is None"),
        ({"name": ["rootsift"]}, r"the extractor is \['rootsift'\]"),
        ("rootsift3", "the extractor is 'rootsift3'"),
        (None, "the extractor is None"),
        ({"name": "rootsift", "length": 2.0}, "unknown parameter extractor.length"),
        ({"name": "scaled", "length": 0.0}, "expected 0.1 to 10.0"),
        ({"name": "xfeat"}, "the extractor xfeat has the model hash '', expected 64 hexadecimal digits"),
        ({"name": "aliked", "model_hash": "AB" * 32}, "the extractor aliked has the model hash 'ABAB"),
        ({"name": "xfeat", "model_hash": "ab" * 32, "contrast_threshold": 0.1}, "extractor.contrast_threshold"),
        ({"name": "xfeat", "model_hash": "ab" * 32, "min_score": -0.1}, "expected 0.0 to 1.0"),
    ],
)
def test_configurations_that_are_unknown_are_refused(values: Any, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        extractor_config_from(values)


def test_merged_extractors_find_what_either_finds() -> None:
    merged = RootSiftConfig(max_keypoints=900, contrast_threshold=0.03).merge(RootSiftConfig(max_keypoints=400))
    assert (merged.max_keypoints, merged.contrast_threshold) == (900, 0.02)


FIRST = KeypointModelConfig(name="xfeat", model="xfeat", model_hash="ab" * 32, max_keypoints=900, min_score=0.05)


def test_a_learned_extractor_covers_its_own_model_alone() -> None:
    fewer = replace(FIRST, max_keypoints=400, min_score=0.1)
    assert FIRST.covers(fewer)
    others = [replace(FIRST, model_hash="cd" * 32), replace(FIRST, name="aliked"), RootSiftConfig()]
    assert not any(FIRST.covers(other) or other.covers(FIRST) for other in others)
    assert FIRST.merge(fewer) == fewer.merge(FIRST) == FIRST
    assert FIRST.merge(replace(fewer, max_keypoints=1000, min_score=0.01)) == replace(
        FIRST, max_keypoints=1000, min_score=0.01
    )


def test_parameters_of_an_extractor_change_and_its_model_does_not() -> None:
    assert change_extractor(FIRST, {"max_keypoints": 700, "name": "xfeat"}) == replace(FIRST, max_keypoints=700)
    assert change_extractor(RootSiftConfig(), {"contrast_threshold": 0.1}).contrast_threshold == 0.1
    for config, values in (
        (FIRST, {"name": "aliked"}),
        (FIRST, {"model_hash": "cd" * 32}),
        (RootSiftConfig(), {"name": "xfeat"}),
    ):
        with pytest.raises(ConfigError, match="choose the extractor with --extractor"):
            change_extractor(config, values)


@pytest.mark.parametrize("parameter", list(parameters_of(FIRST)), ids=lambda parameter: parameter.name)
def test_every_parameter_of_a_learned_extractor_is_described_and_bounded(parameter: Parameter) -> None:
    assert parameter.description[0].islower()
    if not isinstance(parameter.value, str):
        assert parameter.low <= parameter.value <= parameter.high
