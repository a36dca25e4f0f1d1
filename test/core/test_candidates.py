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

"""With a prior the image is matched at a reduced size first, and only where the map's points should lie."""

from __future__ import annotations

import numpy as np
import pytest
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses
from synthetic import observe

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig, MatcherConfig, TrackingConfig
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features, extract_scaled
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.candidates import Candidate, PriorCandidates, SearchWindow, _window
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import PosePrior, Query

pytestmark = pytest.mark.usefixtures("each_image_once")

VIEW = poses(6, seed=1)[2]
STDS = (0.03, 0.02)


@pytest.fixture(scope="module")
def scene() -> PlaneScene:
    return make_plane_scene()


@pytest.fixture(scope="module")
def localizer(scene: PlaneScene) -> Localizer:
    tracking = TrackingConfig(image_scale=0.7, min_image_width_px=200)
    return build_localizer(LocalizerConfig(tracking=tracking), scene.landmark_map)


def _near(pose: Pose, seed: int = 0, stds: tuple[float, float] = STDS) -> PosePrior:
    rng = np.random.default_rng(seed)
    turn = Pose.from_rotation_vector(rng.normal(0, stds[1], 3), [0.0, 0.0, 0.0])
    expected = Pose(turn.rotation @ pose.rotation, pose.translation + rng.normal(0, stds[0], 3))
    return PosePrior(expected, np.diag([stds[0] ** 2] * 3 + [stds[1] ** 2] * 3))


def _query(scene: PlaneScene, prior: PosePrior | None) -> Query:
    return Query.single(scene.image(VIEW), CAMERA, prior=prior)


def _observe(scene: PlaneScene, prior: PosePrior) -> Observation:
    """The view with a prior, and some keypoint."""
    features = Features(np.zeros((1, 2), np.float32), np.zeros((1, 128), np.float32), np.ones(1, np.float32))
    return observe(scene.landmark_map, (features,), _query(scene, prior))


def test_a_prior_needs_fewer_keypoints_for_a_pose_as_good(scene: PlaneScene, localizer: Localizer) -> None:
    by_itself, tracked = (localizer.localize(_query(scene, prior)) for prior in (None, _near(VIEW)))
    assert (by_itself.candidate, tracked.candidate) == ("whole_map", "prior")
    assert tracked.keypoints < by_itself.keypoints
    assert tracked.map_from_rig is not None
    assert tracked.map_from_rig.distance_to(VIEW)[0] < 0.01


def test_a_wrong_prior_changes_nothing_but_the_time(scene: PlaneScene, localizer: Localizer) -> None:
    wrong = Pose(VIEW.rotation, VIEW.translation + np.array([2.5, 0.0, 0.0]))
    by_itself, misled = (localizer.localize(_query(scene, prior)) for prior in (None, _near(wrong)))
    assert misled.candidate == "whole_map"
    assert misled.keypoints == by_itself.keypoints
    np.testing.assert_array_equal(misled.map_from_rig.matrix, by_itself.map_from_rig.matrix)


def test_a_prior_that_is_some_way_off_does_not_draw_the_pose_to_it(scene: PlaneScene, localizer: Localizer) -> None:
    for off in (0.25, 0.5, 1.0, 1.5):
        wrong = Pose(VIEW.rotation, VIEW.translation + np.array([off, 0.0, 0.0]))
        misled = localizer.localize(_query(scene, _near(wrong)))
        assert misled.map_from_rig is not None
        assert misled.map_from_rig.distance_to(VIEW)[0] < 0.02


def test_of_too_many_points_those_of_most_keyframes_are_matched(scene: PlaneScene) -> None:
    observed = np.bincount(scene.landmark_map.keyframes.point_indices, minlength=len(scene.landmark_map.points))
    for most in (0, 100):
        config = CandidateConfig(prior_max_points=most)
        found = list(PriorCandidates(config, scene.landmark_map).generate(_observe(scene, _near(VIEW))))
        assert len(found) == (most > 0)
        for candidate in found:
            assert len(candidate.point_indices) == most
            assert (np.diff(candidate.point_indices) > 0).all()
            assert observed[candidate.point_indices].mean() > observed.mean()


def test_an_uncertain_prior_is_not_tried(scene: PlaneScene, localizer: Localizer) -> None:
    assert localizer.localize(_query(scene, _near(VIEW, stds=(6.0, 0.02)))).candidate == "whole_map"


@pytest.mark.parametrize("tracking", [TrackingConfig(image_scale=1.0), TrackingConfig(min_image_width_px=320)])
def test_at_full_scale_the_prior_still_limits_the_search(scene: PlaneScene, tracking: TrackingConfig) -> None:
    whole = build_localizer(LocalizerConfig(tracking=tracking), scene.landmark_map)
    by_itself, tracked = (whole.localize(_query(scene, prior)) for prior in (None, _near(VIEW)))
    assert tracked.candidate == "prior"
    assert tracked.keypoints == by_itself.keypoints
    assert tracked.inliers >= by_itself.inliers


@pytest.mark.parametrize("seed", range(4))
def test_points_lie_in_their_windows(scene: PlaneScene, seed: int) -> None:
    generator = PriorCandidates(CandidateConfig(), scene.landmark_map)
    candidate = next(generator.generate(_observe(scene, _near(VIEW, seed))))
    assert candidate.point_indices is not None
    points = scene.landmark_map.points
    truth = CAMERA.project(VIEW.inverse().apply(points))
    window = candidate.windows[0]
    off = np.linalg.norm(truth[candidate.point_indices] - window.xy, axis=1)
    shown = CAMERA.contains(truth)
    assert (off <= window.radius_px)[shown[candidate.point_indices]].mean() > 0.99
    assert set(np.flatnonzero(shown)) <= set(candidate.point_indices)
    assert len(candidate.point_indices) < 0.8 * len(points)


def test_a_near_point_behind_an_uncertain_camera_may_appear_anywhere(scene: PlaneScene) -> None:
    away = Pose.from_rotation_vector([0.0, np.pi, 0.0], VIEW.translation)
    prior = _near(away, stds=(0.03, 0.3))
    window = _window(_query(scene, prior).views[0], scene.landmark_map.points, prior)
    corners = np.float32([[0, 0], [CAMERA.width, 0], [0, CAMERA.height], [CAMERA.width, CAMERA.height]])
    assert np.isfinite(window.radius_px).all()
    assert not window.outside(corners)(slice(None)).any()


def test_points_behind_the_camera_are_no_candidate(scene: PlaneScene) -> None:
    away = Pose.from_rotation_vector([0.0, np.pi, 0.0], VIEW.translation)
    generator = PriorCandidates(CandidateConfig(), scene.landmark_map)
    assert not list(generator.generate(_observe(scene, _near(away))))
    assert list(generator.generate(_observe(scene, _near(VIEW))))


def test_a_duplicate_outside_the_window_does_not_compete(scene: PlaneScene) -> None:
    matcher = NearestNeighbourMatcher(MatcherConfig(), MapIndex(scene.landmark_map))
    chosen = np.arange(0, 40, dtype=np.int64)
    xy = np.random.default_rng(0).uniform((20, 20), (300, 220), (len(chosen), 2)).astype(np.float32)
    # a keypoint at each place, and candidates that look the same on the far side of the image
    observation = observe(scene.landmark_map, (_as_features(scene, xy, chosen),), _query(scene, None))
    candidates = np.concatenate([chosen, chosen + 1000])
    duplicates = np.concatenate([xy, [320.0, 240.0] - xy]).astype(np.float32)
    near = SearchWindow(duplicates, np.full(len(candidates), 5.0, np.float32))
    matches = matcher.match(observation, Candidate("prior", candidates, (near,)))
    assert len(matches) >= 35
    for pixel, point in zip(matches.xy, matches.point_indices, strict=True):
        np.testing.assert_array_equal(xy[point], pixel)
    nowhere = SearchWindow(duplicates + 1000, np.full(len(candidates), 5.0, np.float32))
    assert len(matcher.match(observation, Candidate("prior", candidates, (nowhere,)))) == 0


def _as_features(scene: PlaneScene, xy: np.ndarray, points: np.ndarray) -> Features:
    """Keypoints at these pixels that look like these map points: those of the texture they were made of."""
    made = RootSift(RootSiftConfig(max_keypoints=4000)).extract(scene.texture)
    return Features(xy, made.descriptors[points], np.ones(len(xy), np.float32))


def test_scaled_keypoints_lie_at_their_places_in_the_whole_image(scene: PlaneScene) -> None:
    extractor = RootSift(scene.landmark_map.extractor)
    image = scene.image(VIEW)[:239, :317]  # odd sizes scale unevenly
    whole, small = extractor.extract(image), extract_scaled(extractor, image, 0.5)
    similarity = small.descriptors @ whole.descriptors.T
    same = similarity.max(axis=1) > 0.97
    assert same.sum() > 30
    off = small.xy[same] - whole.xy[similarity.argmax(axis=1)[same]]
    assert np.abs(np.median(off, axis=0)).max() < 0.1
