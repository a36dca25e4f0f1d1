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

"""Structures: points, tracks, and what becomes of them without some images."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors, refine_points

CAMERA = Camera("OPENCV", 640, 480, (525.0, 525.0, 320.0, 240.0, -0.1, 0.02, 0.0, 0.0))
POINTS = np.random.default_rng(0).uniform((-2, -1.5, 3), (2, 1.5, 6), (40, 3))
FOCAL_LENGTHS = np.full(5, 525.0)
POSES = tuple(Pose.from_rotation_vector([0, 0.05 * i, 0], [0.3 * i - 0.6, 0, 0]) for i in range(5))


@pytest.fixture
def rays() -> list[np.ndarray]:
    return [CAMERA.unproject(CAMERA.project(pose.inverse().apply(POINTS))) for pose in POSES]


def _structure(points: np.ndarray) -> Structure:
    track_points, track_images = np.repeat(np.arange(40), 5), np.tile(np.arange(5), 40)
    return Structure(points, track_points, track_images, track_points, POSES, 0.0)


def test_moved_points_are_put_back(rays: list[np.ndarray]) -> None:
    moved = POINTS + np.random.default_rng(1).normal(0, 0.1, POINTS.shape)
    assert refine_points(_structure(moved), rays, FOCAL_LENGTHS).points == pytest.approx(POINTS, abs=1e-4)


def test_what_left_out_images_saw_moves_no_point(rays: list[np.ndarray]) -> None:
    wrong = [*rays[:4], rays[4] + (0.004, 0.0, 0.0)]
    assert np.abs(refine_points(_structure(POINTS), wrong, FOCAL_LENGTHS).points - POINTS).max() > 0.002
    rest = _structure(POINTS).without_images(np.array([4]))
    assert refine_points(rest, wrong, FOCAL_LENGTHS).points == pytest.approx(POINTS, abs=1e-6)


def test_a_mismatch_moves_a_point_less_than_its_share(rays: list[np.ndarray]) -> None:
    wrong = [*rays[:4], rays[4] + (0.02, 0.0, 0.0)]
    least_squares = refine_points(_structure(POINTS), wrong, 1e-6 * FOCAL_LENGTHS)  # all residuals are within the scale
    robust = refine_points(_structure(POINTS), wrong, FOCAL_LENGTHS)
    moved = [np.median(np.linalg.norm(found.points - POINTS, axis=1)) for found in (robust, least_squares)]
    assert moved[0] < 0.3 * moved[1]


def test_points_that_too_few_images_saw_go() -> None:
    structure = _structure(POINTS).without_images(np.array([0, 1, 2]))
    assert len(structure.with_tracks_of_at_least(2).points) == 40
    assert len(structure.with_tracks_of_at_least(3).points) == 0


def test_images_are_covisible_that_share_a_point() -> None:
    tracks = np.array([[0, 0], [0, 1], [1, 1], [1, 2], [2, 3], [2, 4]])
    structure = Structure(POINTS[:3], tracks[:, 0], tracks[:, 1], np.arange(len(tracks)), POSES, 0.0)
    assert list(structure.covisible_with(np.array([0]))) == [0, 1]
    assert list(structure.covisible_with(np.array([1]))) == [0, 1, 2]
    assert list(structure.covisible_with(np.array([3, 0]))) == [0, 1, 3, 4]


def test_an_image_that_sees_a_point_twice_counts_once() -> None:
    twice = Structure(POINTS[:1], np.zeros(3, int), np.array([0, 0, 1]), np.arange(3), POSES, 0.0)
    assert len(twice.with_tracks_of_at_least(3).points) == 0
    offsets, visible = twice.visible()
    assert (list(offsets[:3]), list(visible)) == ([0, 1, 2], [0, 0])


def test_a_mean_descriptor_is_of_all_observations() -> None:
    structure = Structure(POINTS[:1], np.zeros(2, int), np.array([0, 1]), np.zeros(2, int), POSES[:2], 0.0)
    described = [np.float32([[1, 0]]), np.float32([[0, 1]])]
    assert mean_descriptors(structure, described) == pytest.approx(np.float32([[0.5**0.5, 0.5**0.5]]))
