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

"""The whole map is searched for a sample of the keypoints first, which decides where it is certain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking, observe

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig, MatcherConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.localization import candidates
from vloc_ros.core.localization.candidates import WHOLE_MAP, Candidate
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.selection import Decision
from vloc_ros.core.localization.whole_map_candidates import WholeMapCandidates
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


@pytest.fixture(autouse=True)
def _small_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "_SAMPLE", 100)


def _candidates(scene: SyntheticScene, features: tuple[Features, ...], query: Query) -> list[Candidate]:
    return list(WholeMapCandidates().generate(observe(scene.landmark_map, features, query)))


def _localize(scene: SyntheticScene, features: Features) -> LocalizationResult:
    return build_localizer(LocalizerConfig(), scene.landmark_map).localize_features((features,), scene.query())


def test_after_a_sample_in_half_of_the_lists_come_all_keypoints_in_all(scene: SyntheticScene) -> None:
    features = (scene.features(VIEWPOINT, noise_px=1.0),)
    sample, everything = _candidates(scene, features, scene.query())
    every = len(features[0]) // 100
    assert sample.every == every >= 2
    assert everything == WHOLE_MAP
    matcher = NearestNeighbourMatcher(MatcherConfig(search_breadth=6), MapIndex(scene.landmark_map))
    observation = observe(scene.landmark_map, features, scene.query())
    for candidate, step, breadth in ((sample, every, 3), (everything, 1, 6)):
        found = matcher.match(observation, candidate).neighbours
        expected = matcher.neighbours(observation, WHOLE_MAP, keypoints=slice(None, None, step), breadth=breadth)
        for name in ("views", "xy", "point_indices", "distances"):
            assert np.array_equal(getattr(found, name), getattr(expected, name))


def test_few_keypoints_and_rigs_are_not_sampled(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    assert _candidates(scene, (features.strongest(150),), scene.query()) == [WHOLE_MAP]
    rig = Query(scene.query().views * 2)
    assert _candidates(scene, (features, features), rig) == [WHOLE_MAP]
    assert not _candidates(scene, (Features.empty(128),), scene.query())


def test_a_certain_sample_gives_the_pose_of_all_keypoints(
    scene: SyntheticScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    features = scene.features(VIEWPOINT, noise_px=0.3)
    by_sample = _localize(scene, features)
    monkeypatch.setattr(candidates, "_SAMPLE", len(features))
    by_all = _localize(scene, features)
    assert by_sample.inliers == len(by_sample.inlier_points) > 0.9 * by_all.inliers  # guided matches of all keypoints
    assert by_sample.map_from_rig.distance_to(by_all.map_from_rig) == pytest.approx((0.0, 0.0), abs=1e-4)
    assert by_sample.confidence == pytest.approx(by_all.confidence, abs=0.01)
    ratio = np.trace(by_sample.covariance[:3, :3]) / np.trace(by_all.covariance[:3, :3])
    assert 0.5 < ratio < 2.0  # it would be the number of samples if it were that of the sample


def test_a_sample_that_shows_nothing_refuses_nothing(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    every, rng = len(features) // 100, np.random.default_rng(0)
    descriptors = features.descriptors.copy()
    foreign = rng.normal(size=descriptors[::every].shape).astype(np.float32)
    descriptors[::every] = foreign / np.linalg.norm(foreign, axis=1, keepdims=True)
    result = _localize(scene, replace(features, descriptors=descriptors))
    assert result.status is Status.OK
    assert result.map_from_rig.distance_to(VIEWPOINT)[0] < 1e-3


def _samples_tried(scene: SyntheticScene, features: Features, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of the candidates that were decided on whether each was a sample; the last one was accepted."""
    localizer, tried = build_localizer(LocalizerConfig(), scene.landmark_map), list[bool]()
    decide = localizer.selector.decide

    def record(hypotheses: Sequence[Hypothesis], candidate: Candidate, observation: Observation) -> Decision:
        tried.append(candidate.is_sample)
        return decide(hypotheses, candidate, observation)

    monkeypatch.setattr(localizer.selector, "decide", record)
    assert localizer.localize_features((features,), scene.query()).ok
    return tried


def test_all_keypoints_are_matched_where_the_pose_of_a_sample_is_coarse(
    scene: SyntheticScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _samples_tried(scene, scene.features(VIEWPOINT, noise_px=0.3), monkeypatch) == [True]
    assert _samples_tried(scene, scene.features(VIEWPOINT, noise_px=5.0), monkeypatch) == [True, False]


def _beside_the_sample(features: Features, share: float) -> Features:
    """A share of the keypoints that are not of the sample shows something else."""
    count, every, rng = len(features), len(features) // 100, np.random.default_rng(0)
    foreign = (np.arange(count) % every != 0) & (rng.random(count) < share)
    descriptors = features.descriptors.copy()
    others = rng.normal(size=descriptors[foreign].shape).astype(np.float32)
    descriptors[foreign] = others / np.linalg.norm(others, axis=1, keepdims=True)
    return replace(features, descriptors=descriptors)


@pytest.mark.parametrize(("share", "tried"), [(0.0, [True]), (0.8, [True, False])])
def test_a_sample_does_not_promise_inliers_that_all_keypoints_lack(
    scene: SyntheticScene, monkeypatch: pytest.MonkeyPatch, share: float, tried: list[bool]
) -> None:
    features = _beside_the_sample(scene.features(VIEWPOINT, noise_px=0.3), share)
    assert _samples_tried(scene, features, monkeypatch) == tried


def test_the_covariance_is_of_as_many_keypoints_as_agree(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT, noise_px=0.3)
    all_agree, fewer = (_localize(scene, _beside_the_sample(features, share)) for share in (0.0, 0.3))
    ratio = np.trace(fewer.covariance) / np.trace(all_agree.covariance)
    assert ratio == pytest.approx(all_agree.inliers / fewer.inliers, rel=0.01)
    assert ratio > 1.1
