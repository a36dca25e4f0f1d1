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

"""What errors of calibration and odometry do to a camera's cloud, compared with clouds that are made with them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo, MovingView
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_errors import CameraErrors

STEREO = MotionStereo(baseline_m=0.15, farthest_m=9.0, cell_m=0.05, path_m=1.5)
FOCAL_PX, WIDTH, HEIGHT, WALL_M = 260.0, 320, 240, 4.0
NOTHING = CameraErrors(0.0, 0.0, 0.0, 0.0, 0.0)


def _cloud(way: Array, *, focal: float = 1.0, right_px: float = 0.0, turn: Array | None = None) -> CameraCloud:
    """Of a textured wall 4 m ahead, from eight positions along a way; with errors of calibration and extrinsics."""
    camera = Camera("PINHOLE", WIDTH, HEIGHT, (focal * FOCAL_PX, focal * FOCAL_PX, WIDTH / 2 + right_px, HEIGHT / 2))
    extrinsics = Pose.from_rotation_vector(np.zeros(3) if turn is None else turn, np.zeros(3))
    positions = [0.18 * k * way / np.linalg.norm(way) for k in range(8)]
    views = [MovingView(_see_wall(at), Pose(np.eye(3), at) @ extrinsics) for at in positions]
    return STEREO.reconstruct(views, camera)


def _see_wall(position: Array) -> Array:
    noise = np.random.default_rng(0).integers(0, 256, (160, 200), dtype=np.uint8)
    texture = cv2.resize(noise, (1600, 1280), interpolation=cv2.INTER_CUBIC)  # a centimetre a pixel
    x, y, z = position
    per_pixel = FOCAL_PX * 0.01 / (WALL_M - z)
    across = WIDTH / 2 - FOCAL_PX * (8.0 + x) / (WALL_M - z)
    down = HEIGHT / 2 - FOCAL_PX * (6.4 + y) / (WALL_M - z)
    return cv2.warpAffine(
        texture, np.array([[per_pixel, 0, across], [0, per_pixel, down]]), (WIDTH, HEIGHT), flags=cv2.INTER_AREA
    )


def _fit_plane(points: Array) -> Array:
    """(3,) depth at the axis, and its slopes across and down."""
    design = np.column_stack([np.ones(len(points)), points[:, :2]])
    return np.linalg.lstsq(design, points[:, 2], rcond=None)[0]


@pytest.mark.parametrize(
    ("way", "made", "known", "column"),
    [([1.0, 0.0, 0.0], {"focal": 1.03}, CameraErrors(0.0, 0.0, 0.03, 0.0, 0.0), 1),
     ([0.6, 0.0, 0.8], {"focal": 1.03}, CameraErrors(0.0, 0.0, 0.03, 0.0, 0.0), 1),
     ([0.6, 0.0, 0.8], {"right_px": -8.0}, CameraErrors(0.0, 0.0, 0.0, 8.0 / FOCAL_PX, 0.0), 2)],
)  # fmt: skip
def test_the_cloud_is_deformed_as_errors_say(
    way: list[float], made: dict[str, float], known: CameraErrors, column: int
) -> None:
    """The wall's depth moves as predicted; a principal point changes it where the camera moves ahead and sideways."""
    right, off = _cloud(np.array(way)), _cloud(np.array(way), **made)
    moved = _fit_plane(off.points) - _fit_plane(right.points)
    predicted = _fit_plane(right.points + known.deform(right)[:, :, column]) - _fit_plane(right.points)
    np.testing.assert_allclose(predicted, moved, atol=0.01)
    assert abs(moved[0]) > 0.02


def test_extrinsics_turn_the_way_and_leave_what_the_last_pair_saw() -> None:
    cloud = _cloud(np.array([1.0, 0.0, 0.0]))
    moved = CameraErrors(0.0, 0.0, 0.0, 0.0, 0.01).deform(cloud)[:, :, 4:]
    length_m = np.linalg.norm(cloud.centres, axis=1)
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1)[:, 1:], 0.01 * length_m[:, None].repeat(2, axis=1))
    assert not moved[:, :, 0].any()  # about the way itself


def test_without_errors_nothing_moves() -> None:
    cloud = _cloud(np.array([1.0, 0.0, 0.0]))
    assert not NOTHING.deform(cloud).any()
    assert not NOTHING.displace(np.eye(3), np.eye(3), np.ones(3)).any()
    assert not NOTHING.drift(np.ones(3)).any()


def test_a_way_by_turned_extrinsics_is_turned_as_the_clouds_are() -> None:
    """The sign is that of the clouds: T'^-1 T' of poses that have the extrinsics' error on their right."""
    turn = np.array([0.0, 1e-4, 0.0])
    error = Pose.from_rotation_vector(turn, np.zeros(3))
    first = Pose.from_rotation_vector([0.1, 0.2, 0.3], [1.0, 2.0, 3.0])
    step = Pose.from_rotation_vector([0.0, 0.5, 0.1], [2.0, 0.3, -1.0])
    by_odometry = (first @ error).inverse() @ (first @ step @ error)
    moved = (first @ by_odometry).error_to(first @ step)
    shift = first.rotation @ step.translation
    predicted = CameraErrors(0.0, 0.0, 0.0, 0.0, 1.0).displace(first.rotation, step.rotation, shift)[:, 4:] @ turn
    np.testing.assert_allclose(moved, predicted, atol=1e-7)
