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

"""The origin of a scene: a map far from zero gives the same results, moved by exactly its origin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from synthetic import SyntheticScene, looking

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.keyframes import Keyframes
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import Scene, number_consecutively
from vloc_ros.core.query import PosePrior

UTM = np.array([500000.0, 5400000.0, 0.0])
VIEWPOINT = looking(0.4, (0.2, -0.5, 1.1))


def _one_scene(scene: SyntheticScene, origin: Array) -> LandmarkMap:
    return replace(scene.landmark_map, scenes=(replace(scene.landmark_map.scene(), origin=origin),))


def _two_scenes(scene: SyntheticScene, origin: Array) -> LandmarkMap:
    """Behind a scene of the same shape that looks different, and has its origin at zero."""
    room, count = scene.landmark_map, len(scene.landmark_map.points)
    codes = np.random.default_rng(3).integers(0, 256, room.codes.shape).astype(np.uint8)
    frames = room.keyframes
    return replace(
        room,
        scenes=number_consecutively(
            [
                Scene("other", range(count), range(len(frames))),
                Scene("map", range(count), range(len(frames)), origin=origin),
            ]
        ),
        points=np.tile(room.points, (2, 1)),
        landmark_ids=np.tile(room.landmark_ids, 2),
        codes=np.concatenate([codes, room.codes]),
        keyframes=Keyframes(
            names=tuple(f"{k}.png" for k in range(2 * len(frames))),
            rotations=np.tile(frames.rotations, (2, 1, 1)),
            translations=np.tile(frames.translations, (2, 1)),
            point_offsets=np.cumsum([0, *np.tile(np.diff(frames.point_offsets), 2)]),
            point_indices=np.concatenate([frames.point_indices, frames.point_indices + count]).astype(np.int32),
        ),
        retrieval={},
    )


def _localize(scene: SyntheticScene, landmark_map: LandmarkMap, origin: Array, with_prior: bool) -> LocalizationResult:
    query, features = scene.query(), (scene.features(VIEWPOINT, noise_px=1.0),)
    if with_prior:
        expected = Pose(VIEWPOINT.rotation, VIEWPOINT.translation + origin + [0.03, -0.02, 0.01])
        query = replace(query, prior=PosePrior(expected, np.diag([0.01] * 3 + [0.001] * 3), "map"))
    return build_localizer(LocalizerConfig(), landmark_map).localize_features(features, query)


@pytest.mark.parametrize("with_prior", [False, True])
@pytest.mark.parametrize("make", [_one_scene, _two_scenes])
def test_a_pose_is_moved_by_exactly_the_origin(scene: SyntheticScene, make: object, with_prior: bool) -> None:
    near, far = (_localize(scene, make(scene, at), at, with_prior) for at in (np.zeros(3), UTM))
    for result in (near, far):
        assert result.ok, result.reason
        assert result.frame_id == "map"
        assert result.candidate == ("prior" if with_prior else "whole_map")
    assert near.map_from_rig.distance_to(VIEWPOINT)[0] < 0.02
    np.testing.assert_array_equal(far.map_from_rig.translation, near.map_from_rig.translation + UTM)
    np.testing.assert_array_equal(far.map_from_rig.rotation, near.map_from_rig.rotation)
    np.testing.assert_array_equal(far.inlier_points, near.inlier_points)
    np.testing.assert_array_equal(far.covariance, near.covariance)


def test_a_prior_is_in_the_map_frame(scene: SyntheticScene) -> None:
    """One that is relative to the origin lies far outside the map."""
    result = _localize(scene, _one_scene(scene, UTM), np.zeros(3), with_prior=True)
    assert result.candidate == "whole_map"
    assert result.map_from_rig.translation == pytest.approx(VIEWPOINT.translation + UTM, abs=0.02)


def test_poses_go_to_the_scene_and_back() -> None:
    scene = Scene("map", range(0), range(0), origin=UTM)
    there = scene.map_from(VIEWPOINT)
    assert there.translation == pytest.approx(VIEWPOINT.translation + UTM)
    assert scene.scene_from(there).distance_to(VIEWPOINT) == pytest.approx((0.0, 0.0), abs=1e-8)
    assert scene.origin_frame_id == "map_origin"


@pytest.mark.parametrize("origin", [np.zeros(2), np.zeros((1, 3)), np.array([0.0, np.nan, 0.0]), np.full(3, np.inf)])
def test_origins_that_cannot_be_are_refused(origin: Array) -> None:
    with pytest.raises(MapError, match="expected three finite coordinates"):
        Scene("map", range(0), range(0), origin=origin)
