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

"""Several cameras of one robot, in front of a textured wall: localized together, and verified by each other."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import poselib
import pytest
from plane_scene import CAMERA, PlaneScene, make_plane_scene, poses

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig, TrackingConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.query import PosePrior, Query, View

pytestmark = pytest.mark.usefixtures("each_image_once")

MOUNTS = (
    Pose.identity(),
    Pose.from_rotation_vector([0.0, -0.25, 0.0], [0.45, 0.0, 0.0]),
    Pose.from_rotation_vector([0.0, 0.1, 0.3], [-0.3, 0.1, 0.1]),
)
RIGS = poses(8, seed=3)[1:-1:2]
OFF = [
    Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.2, 0.0, 0.0]),
    Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.05, 0.0, 0.0]),
    Pose.from_rotation_vector([0.0, 0.1, 0.0], [0.0, 0.0, 0.0]),
    Pose.from_rotation_vector([0.0, 0.6, 0.3], [0.4, 0.0, 0.3]),
]
BLACK = np.zeros((CAMERA.height, CAMERA.width), np.uint8)


@pytest.fixture(scope="module")
def scene() -> PlaneScene:
    return make_plane_scene()


@pytest.fixture(scope="module")
def localizer(scene: PlaneScene) -> Localizer:
    tracking = TrackingConfig(image_scale=0.7, min_image_width_px=200)
    return build_localizer(LocalizerConfig(tracking=tracking), scene.landmark_map)


def _views(scene: PlaneScene, map_from_rig: Pose, mounts: Sequence[Pose]) -> list[View]:
    return [View(scene.image(map_from_rig @ mount), CAMERA, mount) for mount in mounts]


def _people(seed: int) -> Array:
    """(H, W) pixels with texture everywhere, none of it of the map."""
    noise = np.random.default_rng(seed).integers(0, 256, (CAMERA.height // 8, CAMERA.width // 8), np.uint8)
    return cv2.resize(noise, (CAMERA.width, CAMERA.height), interpolation=cv2.INTER_CUBIC)


def _corner(scene: PlaneScene, rig: Pose) -> Array:
    """(H, W) pixels, black but for a piece of what another place shows."""
    other = scene.image(Pose(rig.rotation, rig.translation + np.array([-0.9, 0.0, 0.0])))
    corner = BLACK.copy()
    corner[40:180, 80:230] = other[40:180, 80:230]
    return corner


def _is_right(result: LocalizationResult, map_from_rig: Pose) -> bool:
    return result.map_from_rig is not None and result.map_from_rig.distance_to(map_from_rig)[0] < 0.02


def test_a_prior_gives_every_view_its_windows(scene: PlaneScene, localizer: Localizer) -> None:
    rig = RIGS[1]
    expected = Pose(rig.rotation, rig.translation + np.array([0.03, -0.02, 0.02]))
    prior = PosePrior(expected, np.diag([0.03**2] * 3 + [0.02**2] * 3))
    views = tuple(_views(scene, rig, MOUNTS))
    by_itself, tracked = (localizer.localize(Query(views, prior=p)) for p in (None, prior))
    assert (by_itself.candidate, tracked.candidate) == ("whole_map", "prior")
    assert set(tracked.inlier_views) == {0, 1, 2}
    assert _is_right(tracked, rig)


@pytest.mark.parametrize("covered", [{0}, {1}, {0, 1}, {1, 2}])
def test_covered_lenses_do_not_affect_the_other_cameras(
    scene: PlaneScene, localizer: Localizer, covered: set[int]
) -> None:
    for rig in RIGS:
        views = _views(scene, rig, MOUNTS)
        for index in covered:
            views[index] = View(BLACK, CAMERA, MOUNTS[index])
        result = localizer.localize(Query(tuple(views)))
        assert _is_right(result, rig), result.reason
        assert set(result.inlier_views) == {0, 1, 2} - covered


def test_cameras_that_see_people_do_not_affect_another(scene: PlaneScene, localizer: Localizer) -> None:
    for seed, rig in enumerate(RIGS):
        seeing, *others = _views(scene, rig, MOUNTS)
        people = [View(_people(2 * seed + k), CAMERA, view.rig_from_camera) for k, view in enumerate(others)]
        result = localizer.localize(Query((seeing, *people)))
        assert _is_right(result, rig), result.reason
        assert not localizer.localize(Query((View(_corner(scene, rig), CAMERA, MOUNTS[0]), *people))).ok


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("misplaced", [0, 1])
def test_two_cameras_that_disagree_are_refused(
    scene: PlaneScene, localizer: Localizer, misplaced: int, off: Pose
) -> None:
    for rig in RIGS:
        views = _views(scene, rig, MOUNTS[:2])
        wrong = views[misplaced]
        views[misplaced] = View(wrong.image, CAMERA, wrong.rig_from_camera @ off)
        result = localizer.localize(Query(tuple(views)))
        assert not result.ok
        assert "cameras of the rig disagree" in result.reason


@pytest.mark.parametrize("off", OFF)
@pytest.mark.parametrize("misplaced", [0, 1, 2])
def test_of_three_cameras_two_that_agree_are_enough(
    scene: PlaneScene, localizer: Localizer, misplaced: int, off: Pose
) -> None:
    for rig in RIGS:
        views = _views(scene, rig, MOUNTS)
        wrong = views[misplaced]
        views[misplaced] = View(wrong.image, CAMERA, wrong.rig_from_camera @ off)
        assert _is_right(localizer.localize(Query(tuple(views))), rig)


def test_views_are_localized_alone_only_where_their_pose_could_matter(
    scene: PlaneScene, localizer: Localizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, solve = [], poselib.estimate_absolute_pose
    monkeypatch.setattr(poselib, "estimate_absolute_pose", lambda *args: (calls.append(1), solve(*args))[1])
    rig = RIGS[1]
    views = _views(scene, rig, MOUNTS[:2])
    people = [View(_people(seed), CAMERA, mount) for seed, mount in enumerate(MOUNTS[:2])]
    assert "no pose explains" in localizer.localize(Query(tuple(people))).reason
    assert not calls  # the common pose has too few inliers
    assert localizer.localize(Query((views[0], View(BLACK, CAMERA, MOUNTS[1])))).ok
    assert not calls  # no other view could contradict it
    misplaced = View(views[1].image, CAMERA, MOUNTS[1] @ OFF[0])
    assert not localizer.localize(Query((views[0], misplaced))).ok
    assert calls


def test_a_picture_in_a_corner_of_one_view_does_not_affect_the_other(scene: PlaneScene, localizer: Localizer) -> None:
    rig = RIGS[1]
    corner = _corner(scene, rig)
    alone = localizer.localize(Query.single(corner, CAMERA))
    assert alone.inliers >= 25
    assert not alone.ok
    views = (_views(scene, rig, MOUNTS[:1])[0], View(corner, CAMERA, MOUNTS[1]))
    result = localizer.localize(Query(views))
    assert _is_right(result, rig), result.reason
