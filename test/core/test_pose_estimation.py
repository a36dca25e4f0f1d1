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

"""Poses refined to the matches that agree with them, of one camera and of a rig."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic import CAMERA, SyntheticScene, looking

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.pose_estimation import refine_absolute_pose
from vloc_ros.core.query import Query, View

TRUTH = looking(0.4, (0.2, -0.5, 1.1))
NEAR = looking(0.405, (0.22, -0.51, 1.1))
BEHIND = Pose.from_rotation_vector([0.0, np.pi, 0.0], [0.1, 0.0, -0.2])


def _query(mounts: tuple[Pose, ...]) -> Query:
    image = np.zeros((CAMERA.height, CAMERA.width), np.uint8)
    return Query(tuple(View(image, CAMERA, mount) for mount in mounts))


def _matches(scene: SyntheticScene, mounts: tuple[Pose, ...], *, wrong: int) -> Matches:
    """Exact matches, of which every so many are off by 30 px."""
    points, parts = scene.landmark_map.points, []
    for number, mount in enumerate(mounts):
        pixels = CAMERA.project((TRUTH @ mount).inverse().apply(points))
        seen = np.flatnonzero(CAMERA.contains(pixels))
        pixels[seen[::wrong]] += 30.0
        parts.append((np.full(len(seen), number, np.int32), pixels[seen], seen, points[seen].astype(np.float64)))
    return Matches(*(np.concatenate(part) for part in zip(*parts, strict=True)))


@pytest.mark.parametrize("mounts", [(Pose.identity(),), (Pose.identity(), BEHIND)], ids=["camera", "rig"])
def test_a_pose_is_refined_to_the_matches_that_agree_with_it(scene: SyntheticScene, mounts: tuple[Pose, ...]) -> None:
    refined = refine_absolute_pose(
        PoseConfig(max_error_px=20.0), NEAR, _matches(scene, mounts, wrong=5), _query(mounts)
    )
    distance_m, angle_rad = refined.distance_to(TRUTH)
    assert distance_m < 1e-3
    assert angle_rad < 1e-3


def test_a_pose_that_no_matches_agree_with_stays(scene: SyntheticScene) -> None:
    mounts = (Pose.identity(),)
    elsewhere = looking(2.0, (5.0, 0.0, 0.0))
    assert refine_absolute_pose(PoseConfig(), elsewhere, _matches(scene, mounts, wrong=5), _query(mounts)) is elsewhere
