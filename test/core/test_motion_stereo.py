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

"""Motion stereo: the points lie on what the camera sees, and a camera at rest sees none."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo, MovingView
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose

CAMERA = Camera("PINHOLE", 320, 240, (260.0, 260.0, 160.0, 120.0))
STEREO = MotionStereo(baseline_m=0.1, farthest_m=6.0, cell_m=0.05, path_m=1.0)
WALL_M = 3.0


def _view(x: float, turn_rad: float = 0.0) -> MovingView:
    """The wall z = 3 m seen from (x, 0, 0); odometry is wrong by a turn about y."""
    wall = cv2.resize(np.random.default_rng(0).integers(0, 256, (80, 120), dtype=np.uint8), (600, 400), interpolation=2)
    pixel_m = 0.01
    to_image = np.array([[CAMERA.intrinsics[0] * pixel_m / WALL_M, 0, 160 - 260 * (x + 3.0) / WALL_M],
                         [0, CAMERA.intrinsics[1] * pixel_m / WALL_M, 120 - 260 * 2.0 / WALL_M]])  # fmt: skip
    image = cv2.warpAffine(wall, to_image, (320, 240), flags=cv2.INTER_LINEAR)
    turn = Pose.from_rotation_vector([0.0, turn_rad, 0.0], np.zeros(3)).rotation
    return MovingView(image, Pose(turn, np.array([x, 0.0, 0.0])))


def _reconstruct(turn_rad: float = 0.0) -> CameraCloud:
    views = [_view(x, turn_rad * (k % 2)) for k, x in enumerate((0.0, 0.15, 0.3, 0.45))]
    return STEREO.reconstruct(views, CAMERA)


def test_points_lie_on_the_wall() -> None:
    cloud = _reconstruct()
    assert len(cloud) > 500
    off_m = np.abs(cloud.points[:, 2] - WALL_M)
    assert np.median(off_m) < 0.05
    assert (off_m < 3 * cloud.stds_m + 0.02).mean() > 0.9
    np.testing.assert_allclose(np.linalg.norm(cloud.rays, axis=1), 1.0)


def test_a_turn_that_odometry_has_wrong_is_corrected_by_the_images() -> None:
    """0.5 degrees would move the wall by a fifth of its distance."""
    assert np.median(np.abs(_reconstruct(np.radians(0.5)).points[:, 2] - WALL_M)) < 0.15


def test_a_camera_at_rest_sees_no_points() -> None:
    assert len(STEREO.reconstruct([_view(0.0), _view(0.0)], CAMERA)) == 0


def test_an_image_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        STEREO.reconstruct([MovingView(np.zeros((10, 10), np.uint8), Pose.identity())], CAMERA)
