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

"""Matches in halves: what is connected stays together, and points are those of all matches at once."""

from __future__ import annotations

import numpy as np
import pytest
from posed_points import make_posed_points

from vloc_ros.mapping.sfm import colmap
from vloc_ros.mapping.sfm.colmap import triangulate
from vloc_ros.mapping.sfm.match_halves import split_matches


def test_halves_hold_every_match_once_and_share_no_keypoint() -> None:
    scene = make_posed_points(images=6)
    matches, keypoints = scene.true_matches(), [len(found) for found in scene.features]
    halves = split_matches(matches, keypoints)
    for pair, found in matches.items():
        both = np.concatenate([half.get(pair, np.zeros((0, 2), int)) for half in halves])
        assert sorted(both.tolist()) == sorted(found.tolist())
    seen = [
        {
            (image, keypoint)
            for pair, found in half.items()
            for row in found.tolist()
            for image, keypoint in zip(pair, row, strict=True)
        }
        for half in halves
    ]
    assert len(seen) == 2
    assert not seen[0] & seen[1]
    assert len(seen[0]) == pytest.approx(len(seen[1]), rel=0.1)


def test_connected_keypoints_stay_together() -> None:
    chain = {(0, 1): np.array([[0, 0]]), (1, 2): np.array([[0, 0]]), (0, 2): np.array([[1, 1]])}
    first, second = split_matches(chain, [2, 2, 2])
    assert set(first) == {(0, 1), (1, 2)}
    assert set(second) == {(0, 2)}
    assert len(split_matches({pair: chain[pair] for pair in [(0, 1), (1, 2)]}, [2, 2, 2])) == 1


def test_no_matches_make_no_halves() -> None:
    assert split_matches({}, [3, 4]) == []


def test_halves_give_the_points_of_all_matches(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_posed_points(images=10, noise_px=0.3)
    given = scene.images(), scene.features, scene.true_matches()
    in_halves = triangulate(*given)
    monkeypatch.setattr(colmap, "split_matches", lambda matches, _: [dict(matches)])
    at_once = triangulate(*given)
    assert len(in_halves.points) == len(at_once.points)
    assert in_halves.mean_reprojection_error_px == pytest.approx(at_once.mean_reprojection_error_px, rel=1e-3)
    observed = [
        dict(zip(_observations(built), built.points[built.track_points], strict=True)) for built in (in_halves, at_once)
    ]
    assert observed[0].keys() == observed[1].keys()
    errors_m = [np.linalg.norm(observed[0][one] - observed[1][one]) for one in observed[0]]
    assert max(errors_m) < 1e-4


def _observations(structure) -> list[tuple[int, int]]:
    return list(zip(structure.track_images.tolist(), structure.track_keypoints.tolist(), strict=True))


def test_matches_too_few_for_a_pair_make_no_points() -> None:
    scene = make_posed_points(images=4)
    few = {pair: found[:14] for pair, found in scene.true_matches().items()}
    assert len(triangulate(scene.images(), scene.features, few).points) == 0
