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

"""Mutual nearest neighbours with a ratio across landmarks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import bisect
from synthetic import SyntheticScene, looking, observe

from vloc_ros.core.config import MatcherConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.nearest_neighbours import nearest_neighbours
from vloc_ros.core.localization.candidates import Candidate, SearchWindow
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.matching import NearestNeighbourMatcher, _nearest_in_window
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query

VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))
WHOLE = Candidate("whole_map")


def _match(landmark_map: LandmarkMap, features: Features, query: Query, candidate: Candidate = WHOLE) -> Matches:
    matcher = NearestNeighbourMatcher(MatcherConfig(), MapIndex(landmark_map))
    return matcher.match(observe(landmark_map, (features,), query), candidate)


def _seen(scene: SyntheticScene) -> np.ndarray:
    features = scene.features(VIEWPOINT)
    return np.argmax(features.descriptors @ scene.descriptors.T, axis=1)


def test_each_keypoint_finds_its_own_point(scene: SyntheticScene) -> None:
    matches = _match(scene.landmark_map, scene.features(VIEWPOINT), scene.query())
    truth = _seen(scene)
    assert len(matches) > 0.95 * len(truth)
    by_pixel = {tuple(xy): point for xy, point in zip(scene.features(VIEWPOINT).xy, truth, strict=True)}
    assert [by_pixel[tuple(xy)] for xy in matches.xy] == list(matches.point_indices)
    assert matches.points == pytest.approx(scene.landmark_map.points[matches.point_indices])


def test_a_candidate_limits_where_matches_come_from(scene: SyntheticScene) -> None:
    half = np.arange(0, len(scene.landmark_map.points), 2)
    matches = _match(scene.landmark_map, scene.features(VIEWPOINT), scene.query(), Candidate("half", half))
    assert len(matches) > 0
    assert np.isin(matches.point_indices, half).all()


def test_a_point_is_matched_by_its_nearest_keypoint_only(scene: SyntheticScene) -> None:
    features = scene.features(VIEWPOINT)
    blurred = 0.9 * features.descriptors + 0.1 * features.descriptors.mean(axis=0)
    twice = Features(
        np.concatenate([features.xy + 5, features.xy]),
        np.concatenate([blurred, features.descriptors]),
        np.concatenate([features.scores, features.scores]),
    )
    matches = _match(scene.landmark_map, twice, scene.query())
    assert len(np.unique(matches.point_indices)) == len(matches)
    assert np.isin(matches.xy[:, 0], features.xy[:, 0]).all()


@pytest.mark.parametrize(("distance_m", "matched"), [(0.01, True), (2.0, False)])
def test_duplicates_compete_only_when_they_are_apart(scene: SyntheticScene, distance_m: float, matched: bool) -> None:
    """The same descriptor at another place competes; at the same place it is the same structure."""
    original = scene.landmark_map
    point = int(_seen(scene)[0])
    points, codes = original.points.copy(), original.codes.copy()
    duplicate = (point + 1) % len(points)
    points[duplicate] = points[point] + np.float32([0, 0, distance_m])
    codes[duplicate] = codes[point]
    landmark_map = replace(original, points=points, codes=codes)
    matches = _match(landmark_map, scene.features(VIEWPOINT), scene.query())
    assert bool(np.isin([point, duplicate], matches.point_indices).any()) is matched


@pytest.mark.parametrize(("factor", "matched"), [(0.97, True), (1.03, False)])
def test_the_ratio_is_one_of_distances(scene: SyntheticScene, factor: float, matched: bool) -> None:
    """And not of squared ones, of which a ratio a little above the limit would be accepted."""
    landmark_map, features = scene.landmark_map, scene.features(VIEWPOINT)
    truth = _seen(scene)
    apart_m = np.linalg.norm(landmark_map.points[truth] - landmark_map.points[truth[0]], axis=1)
    pair = np.array([truth[0], truth[np.argmax(apart_m)]])
    first, second = scene.descriptors[pair]
    stored = landmark_map.descriptors_of(pair)

    def ratio(part: float) -> float:
        """Distance to the first point over that to the second, of a keypoint between them."""
        mixed = part * first + (1.0 - part) * second
        projected = landmark_map.codec.project((mixed / np.linalg.norm(mixed))[None])
        to_first, to_second = np.linalg.norm(stored - projected, axis=1)
        return float(to_first / to_second)

    part = bisect(lambda one: ratio(one) - factor * MatcherConfig().ratio, 0.5, 1.0)
    mixed = part * first + (1.0 - part) * second
    keypoint = (mixed / np.linalg.norm(mixed))[None].astype(np.float32)
    one = Features(features.xy[:1], keypoint, features.scores[:1])
    others = np.flatnonzero(~np.isin(np.arange(len(landmark_map.points)), pair))[:6]
    candidate = Candidate("two", np.sort(np.concatenate([pair, others])))
    assert bool(len(_match(landmark_map, one, scene.query(), candidate))) is matched


@pytest.mark.parametrize("candidate", [WHOLE, Candidate("nothing", np.zeros(0, np.int64))])
def test_nothing_in_gives_nothing_out(scene: SyntheticScene, candidate: Candidate) -> None:
    assert len(_match(scene.landmark_map, Features.empty(128), scene.query(), candidate)) == 0
    if candidate is not WHOLE:
        assert len(_match(scene.landmark_map, scene.features(VIEWPOINT), scene.query(), candidate)) == 0


@pytest.mark.parametrize("points", [4, 900])
def test_windows_are_searched_tile_by_tile_as_the_image_at_once(points: int) -> None:
    rng = np.random.default_rng(0)
    keypoints = rng.uniform((0, 0), (640, 480), (300, 2)).astype(np.float32)
    descriptors, candidates = (rng.normal(size=(n, 8)).astype(np.float32) for n in (len(keypoints), points))
    xy = rng.uniform((-50, -50), (690, 530), (points, 2)).astype(np.float32)
    window = SearchWindow(
        xy, rng.choice([10.0, 60.0, 200.0, np.inf], points, p=[0.3, 0.4, 0.2, 0.1]).astype(np.float32)
    )
    distances, neighbours = _nearest_in_window(keypoints, descriptors, candidates, window)
    expected, at_once = nearest_neighbours(descriptors, candidates, 4, exclude=window.outside(keypoints))
    found = np.isfinite(expected)
    assert np.array_equal(found, np.isfinite(distances))
    assert distances[found] == pytest.approx(expected[found], rel=1e-4)
    assert np.array_equal(neighbours[found], at_once[found])
