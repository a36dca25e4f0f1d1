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

"""The last pass: keyframes by votes, a learned matcher on their points, and the one decision."""

from __future__ import annotations

import numpy as np
import pytest
from descriptor_network import DescriptorNetwork
from synthetic import CAMERA, SyntheticScene, looking, observe

from vloc_ros.assembly import build_localizer, explain_unused_matcher
from vloc_ros.core.config import CandidateConfig, LocalizerConfig, MatcherConfig, PoseConfig
from vloc_ros.core.errors import ModelError
from vloc_ros.core.features.iterative_matching import IterativeMatcher
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.localization.candidates import ITERATIVE
from vloc_ros.core.localization.iterative_solver import IterativePoseSolver, restore_descriptors
from vloc_ros.core.localization.keyframe_candidates import KeyframeCandidates
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.selection import Decision, HypothesisSelector
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query, View

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def solve(scene: SyntheticScene, network: DescriptorNetwork, features, query: Query, *, ratio: float = 0.9):
    index = MapIndex(scene.landmark_map)
    observation = observe(scene.landmark_map, features, query)
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    candidates = list(KeyframeCandidates(MatcherConfig(), index, matcher).generate(observation))
    nearest = NearestNeighbourMatcher(MatcherConfig(ratio=ratio), index)
    solver = IterativePoseSolver(index, matcher=IterativeMatcher(network), nearest=nearest, pose=PoseConfig())
    return candidates, [solver.solve(observation, candidate)[0] for candidate in candidates]


def test_the_pose_moves_the_points_and_is_exact(scene: SyntheticScene) -> None:
    network = DescriptorNetwork()
    candidates, found = solve(scene, network, (scene.features(VIEWPOINT),), scene.query())
    assert 1 <= len(candidates) <= 3
    assert found[0].estimate.scene_from_rig.distance_to(VIEWPOINT) == pytest.approx((0, 0), abs=1e-3)
    assert found[0].estimate.inliers.mean() > 0.95
    # the last positions that the network saw are those of the query's own view, in halves of its width
    pixels = CAMERA.project(VIEWPOINT.inverse().apply(scene.landmark_map.points))
    seen = pixels[CAMERA.contains(pixels)]
    assert network.encoded[-1][:, 0].max() == pytest.approx((seen[:, 0].max() - 320) / 320, abs=1e-2)


def test_candidates_are_different_and_none_begins_after_the_time(scene: SyntheticScene) -> None:
    index = MapIndex(scene.landmark_map)
    observation = observe(scene.landmark_map, (scene.features(VIEWPOINT),), scene.query())
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    found = list(KeyframeCandidates(MatcherConfig(last_pass_keyframes=9), index, matcher).generate(observation))
    assert len({candidate.keyframe for candidate in found}) == len(found) > 1
    times = iter((0.0, 0.5, 2.0))
    config = MatcherConfig(last_pass_keyframes=9, last_pass_s=1.0)
    limited = KeyframeCandidates(config, index, matcher, now=lambda: next(times))
    assert len(list(limited.generate(observation))) == 1


def test_the_search_of_the_whole_map_is_not_in_the_time(scene: SyntheticScene) -> None:
    index = MapIndex(scene.landmark_map)
    matcher = NearestNeighbourMatcher(MatcherConfig(), index)
    # the search is built when the keypoints are matched
    late = KeyframeCandidates(MatcherConfig(), index, matcher, now=lambda: 9.0 * ("point_search" in vars(index)))
    observation = observe(scene.landmark_map, (scene.features(VIEWPOINT),), scene.query())
    assert list(late.generate(observation))


def test_a_rig_is_matched_view_by_view(scene: SyntheticScene) -> None:
    rig_from_second = VIEWPOINT.inverse() @ looking(0.9, (0.3, -0.5, 1.1))
    blank = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    query = Query((View(blank, CAMERA), View(blank, CAMERA, rig_from_second)))
    features = (scene.features(VIEWPOINT), scene.features(VIEWPOINT @ rig_from_second))
    _, found = solve(scene, DescriptorNetwork(), features, query)
    best = max(found, key=lambda one: one.estimate.inliers.sum())
    assert best.estimate.scene_from_rig.distance_to(VIEWPOINT) == pytest.approx((0, 0), abs=1e-3)
    assert set(best.matches.views[best.estimate.inliers].tolist()) == {0, 1}


def test_few_keypoints_give_no_pose_and_none_no_candidate(scene: SyntheticScene) -> None:
    one = replace_rows(scene.features(VIEWPOINT), 1)
    candidates, found = solve(scene, DescriptorNetwork(), (one,), scene.query())
    assert len(candidates) >= 1
    assert all(hypothesis.estimate is None for hypothesis in found)
    assert solve(scene, DescriptorNetwork(), (Features.empty(128),), scene.query())[0] == []


def replace_rows(features: Features, count: int) -> Features:
    return Features(features.xy[:count], features.descriptors[:count], features.scores[:count])


def test_compact_descriptors_are_restored_to_unit_length(scene: SyntheticScene) -> None:
    restored = restore_descriptors(scene.landmark_map, np.arange(100))
    assert np.linalg.norm(restored, axis=1) == pytest.approx(1, abs=1e-5)
    assert (restored * scene.descriptors[:100]).sum(axis=1).mean() > 0.7


class LastPassAlone(HypothesisSelector):
    """Refuses what other candidates find, though it is right."""

    def decide(self, hypotheses, candidate, observation) -> Decision:
        if candidate.kind == ITERATIVE:
            return super().decide(hypotheses, candidate, observation)
        return Decision(LocalizationResult.refused(Status.POSE_REJECTED, "for a test"))


def localizer_with(scene: SyntheticScene, when: str):
    config = LocalizerConfig(matcher=MatcherConfig(last_pass=when))
    return build_localizer(config, scene.landmark_map, network=DescriptorNetwork(), make_selector=LastPassAlone)


def test_the_last_pass_comes_on_request_after_a_refusal_alone(scene: SyntheticScene) -> None:
    features, query = (scene.features(VIEWPOINT, noise_px=0.5),), scene.query()
    localizer = localizer_with(scene, "on_request")
    assert localizer.localize_features(features, query).reason == "for a test"
    found = localizer.localize_features(features, query, on_request=True)
    assert (found.status, found.candidate) == (Status.OK, "iterative")
    assert found.map_from_rig.distance_to(VIEWPOINT)[0] < 0.02
    assert localizer_with(scene, "always").localize_features(features, query).ok
    assert not localizer_with(scene, "never").localize_features(features, query, on_request=True).ok


def test_what_the_pose_guided_is_no_evidence(scene: SyntheticScene) -> None:
    """Where the ratio test passes nothing there are no inliers, whatever the network found."""
    features, rng = scene.features(VIEWPOINT), np.random.default_rng(3)
    unlike = features.descriptors + 0.03 * rng.normal(size=features.descriptors.shape).astype(np.float32)
    hard = Features(features.xy, unlike / np.linalg.norm(unlike, axis=1, keepdims=True), features.scores)
    _, usual = solve(scene, DescriptorNetwork(), (hard,), scene.query())
    _, strict = solve(scene, DescriptorNetwork(), (hard,), scene.query(), ratio=0.1)
    assert strict[0].estimate.scene_from_rig.distance_to(usual[0].estimate.scene_from_rig)[0] == 0
    assert usual[0].estimate.inliers.sum() > 50
    assert strict[0].estimate.inliers.sum() < 5


def test_a_matcher_for_other_keypoints_is_refused(scene: SyntheticScene) -> None:
    other = DescriptorNetwork()
    other.extractor = "xfeat"
    for when in ("on_request", "never"):
        config = LocalizerConfig(matcher=MatcherConfig(last_pass=when))
        with pytest.raises(ModelError, match="trained on xfeat"):
            build_localizer(config, scene.landmark_map, network=other)


def test_a_matcher_that_is_not_used_is_explained(scene: SyntheticScene) -> None:
    never = LocalizerConfig(matcher=MatcherConfig(last_pass="never"))
    assert "last_pass is never" in explain_unused_matcher(never, scene.landmark_map, DescriptorNetwork())
    assert explain_unused_matcher(never, scene.landmark_map, None) == ""
    assert explain_unused_matcher(LocalizerConfig(), scene.landmark_map, DescriptorNetwork()) == ""


@pytest.mark.parametrize(("when", "expected"), [("on_request", True), ("never", False)])
def test_a_large_map_is_searchable_as_a_whole_before_a_last_pass_is_timed(scene, when: str, expected: bool) -> None:
    index = MapIndex(scene.landmark_map)
    config = LocalizerConfig(
        candidates=CandidateConfig(whole_map_max_points=0, landmarks="none"), matcher=MatcherConfig(last_pass=when)
    )
    build_localizer(config, index, network=DescriptorNetwork())
    assert ("point_search" in vars(index)) == expected
