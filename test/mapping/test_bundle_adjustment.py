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

"""Bundle adjustment: how far a map may be bent is what keypoints, measurements and calibrations leave open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import silent
from vloc_ros.mapping.sfm.anchors import Anchors
from vloc_ros.mapping.sfm.bundle_adjustment import adjust
from vloc_ros.mapping.sfm.map_bending import bending_of_images, consider
from vloc_ros.mapping.sfm.measurements import measured_motions
from vloc_ros.mapping.sfm.structure import Structure

_CAMERA = Camera("PINHOLE", 640, 480, (525.0, 525.0, 320.0, 240.0))


def _scene(*, off_px: float = 0.0, last_sees: int | None = None) -> tuple[Structure, list[Array]]:
    """A drive of 10 m straight ahead, and the rays of its keypoints.

    Args:
        off_px: standard deviation of the keypoints.
        last_sees: points that the last image sees; None for all.
    """
    rng = np.random.default_rng(0)
    poses = [Pose(np.eye(3), np.array([0.0, 0.0, float(k)])) for k in range(10)]
    points = rng.uniform((-8.0, -4.0, 3.0), (8.0, 4.0, 40.0), (500, 3))
    rays, observations = [], []
    for number, pose in enumerate(poses):
        seen = np.flatnonzero(_CAMERA.contains(_CAMERA.project(pose.inverse().apply(points))))
        seen = seen[:last_sees] if number == 9 else seen
        pixels = _CAMERA.project(pose.inverse().apply(points[seen]))
        rays.append(_CAMERA.unproject(pixels + rng.normal(0.0, off_px, pixels.shape)))
        observations += [(point, number, keypoint) for keypoint, point in enumerate(seen)]
    tracks = np.array(sorted(observations)).T
    structure = Structure(points, *tracks, tuple(poses), 0.0)
    return structure.with_tracks_of_at_least(2), rays


def _drive(*, off_px: float = 0.0, last_sees: int | None = None) -> Array:
    """(6,) standard deviations, metres and radians, by which the drive may be bent, with odometry."""
    structure, rays = _scene(off_px=off_px, last_sees=last_sees)
    poses = [pose for pose in structure.poses if pose is not None]
    adjusted = adjust(structure, rays, [_CAMERA] * 10, measured_motions(poses), Anchors(), silent)
    return np.sqrt(adjusted.bending)


def test_a_calibration_that_may_be_off_bends_a_drive() -> None:
    """A pixel of the principal point turns cameras against the way that they drive, however many points they see."""
    bent = _drive()
    of_one_px = 1.0 / 525.0
    assert bent[3:5] == pytest.approx([of_one_px] * 2, rel=0.6)
    assert bent[5] < 0.5 * of_one_px


def test_keypoints_that_are_off_by_more_bend_it_more() -> None:
    assert (_drive(off_px=3.0)[5:] > 2.0 * _drive()[5:]).all()


def test_an_image_that_hardly_anything_holds_says_little_of_the_others() -> None:
    assert (_drive(last_sees=5) < 2.5 * _drive()).all()


def test_of_images_alone_the_scale_is_as_uncertain_as_the_known_distance_is_short() -> None:
    structure, rays = _scene()
    none, short, whole = (
        np.sqrt(bending_of_images(structure, rays, [_CAMERA] * 10, known_distance=known))
        for known in (None, (0, 1), (0, 9))
    )
    assert none[3:5] == pytest.approx([1.0 / 525.0] * 2, rel=0.6)
    assert none[2] <= whole[2] < short[2]
    some = replace(structure.without_images(np.array([0])), poses=(None, *structure.poses[1:]))
    fewer = bending_of_images(some.with_tracks_of_at_least(2), rays, [_CAMERA] * 10, known_distance=None)
    assert np.sqrt(fewer)[3:5] == pytest.approx(none[3:5], rel=0.3)


def test_what_is_not_estimated_moves_what_is_by_all_that_it_may_be_off() -> None:
    """y = x + 2 c + noise: with c estimated too, or with its value assumed."""
    noise, of_c = 0.1, 3.0
    information = np.array([[4.0, 2.0], [2.0, 1.0]]) / noise**2 + np.diag([of_c**-2, 1.0 / 25.0])
    joint = np.linalg.inv(information)
    found = consider(joint, np.array([of_c]))
    # x = y - 2 c, pulled to its prior of 5 by one part in 2501
    pulled = (1.0 / noise**2) / (1.0 / noise**2 + 1.0 / 25.0)
    assert found[0, 0] == pytest.approx((pulled * 2.0 * of_c) ** 2 + 1.0 / (noise**-2 + 1.0 / 25.0), rel=1e-6)
    assert found[0, 0] > joint[1, 1]
