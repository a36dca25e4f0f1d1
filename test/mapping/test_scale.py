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

"""Scale and frame of a map from images alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from posed_points import make_posed_points

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.mapping.sfm.scale import UNKNOWN_SCALE, GivenPoses, KnownDistance, apply_scale
from vloc_ros.mapping.sfm.structure import Structure

_TURN = Pose.from_rotation_vector([0.4, -0.8, 1.1], [3.0, -2.0, 5.0])


def _arbitrary(poses: list[Pose]) -> Structure:
    """The poses as structure from motion might give them: in a frame and scale of their own."""
    moved = tuple(Pose(_TURN.rotation @ p.rotation, 0.2 * _TURN.apply(p.translation)) for p in poses)
    none = np.zeros(0, np.int64)
    return Structure(np.zeros((0, 3)), none, none, none, moved, 0.0)


def _images() -> list[PosedImage]:
    return make_posed_points(images=15).images()


def _poses(images: list[PosedImage]) -> list[Pose]:
    return [image.map_from_camera for image in images if image.map_from_camera is not None]


def test_given_poses_bring_back_scale_and_frame() -> None:
    images = _images()
    for pose, truth in zip(apply_scale(_arbitrary(_poses(images)), images, GivenPoses()), _poses(images), strict=True):
        assert pose is not None
        np.testing.assert_allclose(pose.error_to(truth), 0.0, atol=1e-9)


def test_a_straight_drive_is_enough_because_the_cameras_orientations_fix_the_turn_about_it() -> None:
    images = [
        replace(image, map_from_camera=Pose(np.eye(3), np.array([0.3 * k, 0.0, 0.0])))
        for k, image in enumerate(_images())
    ]
    result = apply_scale(_arbitrary(_poses(images)), images, GivenPoses())
    assert result[4] is not None
    np.testing.assert_allclose(result[4].error_to(_poses(images)[4]), 0.0, atol=1e-9)


def test_wrong_positions_of_a_few_poses_do_not_pull_the_map() -> None:
    images = _images()
    structure, truth = _arbitrary(_poses(images)), _poses(images)
    for k in (2, 9):
        images[k] = replace(images[k], map_from_camera=Pose(truth[k].rotation, truth[k].translation + 4.0))
    result = apply_scale(structure, images, GivenPoses())
    assert result[5] is not None
    np.testing.assert_allclose(result[5].error_to(truth[5]), 0.0, atol=1e-6)


def test_an_image_that_was_not_placed_stays_so() -> None:
    images = _images()
    structure = _arbitrary(_poses(images))
    structure = replace(structure, poses=(None, *structure.poses[1:]))
    assert apply_scale(structure, images, GivenPoses())[0] is None
    assert apply_scale(structure, images, UNKNOWN_SCALE)[0] is None


def test_a_known_distance_gives_the_scale() -> None:
    images = _images()
    result = apply_scale(_arbitrary(_poses(images)), images, KnownDistance("000.png", "010.png", 7.5))
    assert result[0] is not None
    assert result[10] is not None
    assert np.linalg.norm(result[10].translation - result[0].translation) == pytest.approx(7.5)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (KnownDistance("000.png", "nowhere.png", 1.0), "nowhere.png"),
        (KnownDistance("000.png", "000.png", 1.0), "at one place"),
    ],
)
def test_a_distance_that_gives_no_scale_is_refused(source: KnownDistance, message: str) -> None:
    images = _images()
    with pytest.raises(InputError, match=message):
        apply_scale(_arbitrary(_poses(images)), images, source)


def test_poses_of_two_images_are_too_few() -> None:
    images = _images()
    structure = _arbitrary(_poses(images))
    images = [replace(image, map_from_camera=None) if k > 1 else image for k, image in enumerate(images)]
    with pytest.raises(InputError, match="at least 3"):
        apply_scale(structure, images, GivenPoses())


def test_poses_at_one_place_give_no_scale() -> None:
    images = [replace(image, map_from_camera=Pose.identity()) for image in _images()]
    with pytest.raises(InputError, match="one place"):
        apply_scale(_arbitrary([Pose.identity()] * len(images)), images, GivenPoses())
