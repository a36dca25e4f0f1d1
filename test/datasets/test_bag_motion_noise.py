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

"""The uncertainty of motions by the covariances of odometry: of poses that grow, else of velocities."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vloc_ros.bags import messages
from vloc_ros.bags.names import FrameNames
from vloc_ros.bags.writing import BagWriter
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.bag_images import read_bag_keyframes
from vloc_ros.datasets.bag_motion_noise import with_motion_noise
from vloc_ros.mapping.sfm.measurements import measured_motions

_CAMERA = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
# the camera looks ahead, half a metre before the base
_BASE_FROM_CAMERA = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.5, 0.0, 0.0]))
_COUNT, _S = 9, 10**9
# variances of x, y and yaw
_TWIST = np.array([0.04**2, 0.02**2, 0.0, 0.0, 0.0, 0.03**2])


def _read(
    path: Path, *, pose: Array, twist: Array, topic: str | None = "/odom", step_s: float = 1.0
) -> list[PosedImage]:
    """Of a drive of 1 m a step whose pose has so many times its index of a variance, or those, and velocity one."""
    poses = pose if pose.ndim == 2 else np.arange(_COUNT)[:, None] * pose
    with BagWriter(path, camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        for i in range(_COUNT):
            stamp_ns, odom_from_base = round((i + 1) * step_s * _S), Pose(np.eye(3), np.array([float(i), 0.0, 0.0]))
            writer.write_odometry(stamp_ns, odom_from_base)
            message = messages.odometry_message(stamp_ns, ("odom", "base_link"), odom_from_base, np.zeros(6))
            both = (np.diag(v).reshape(-1) for v in (poses[i], twist))
            of_pose, of_twist = (
                replace(part, covariance=value) for part, value in zip((message.pose, message.twist), both, strict=True)
            )
            message = replace(message, pose=of_pose, twist=of_twist)
            writer._write(stamp_ns, "/wheels", messages.ODOMETRY, message)
            writer.write_image(stamp_ns, np.zeros((24, 32), np.uint8))
    keyframes = read_bag_keyframes(path, odom_topic=topic)
    return with_motion_noise(keyframes.images, path, keyframes.camera_frame, odom_topic=topic)


def test_velocities_say_how_uncertain_a_motion_is(tmp_path: Path) -> None:
    images = _read(tmp_path / "bag", pose=np.zeros(6), twist=_TWIST, topic="/wheels")
    assert images[0].motion_std is None
    for image in images[1:]:
        # right, down, ahead, in a second: to the right the turn of the lever comes to it; zeros are not filled in
        expected = [np.hypot(0.02, 0.5 * 0.03), np.nan, 0.04, np.nan, 0.03, np.nan]
        np.testing.assert_allclose(image.motion_std, expected, atol=1e-9)


def test_the_growth_of_a_pose_takes_their_place(tmp_path: Path) -> None:
    images = _read(tmp_path / "bag", pose=4.0 * _TWIST, twist=_TWIST, topic="/wheels")
    expected = [np.hypot(0.04, 0.03), np.nan, 0.08, np.nan, 0.06, np.nan]
    for image in images[1:]:
        np.testing.assert_allclose(image.motion_std, expected, atol=1e-9)


def test_variances_of_a_pose_that_do_not_grow_say_nothing(tmp_path: Path) -> None:
    """Constants that a driver fills in, and a reset of the odometry between the fifth and the sixth image."""
    grown = np.array([(i if i < 5 else i - 4) * 4.0 * _TWIST for i in range(_COUNT)])
    grown[:, [2, 3, 4]] = [1e6, 1e-3, 0.0]
    images = _read(tmp_path / "bag", pose=grown, twist=_TWIST, topic="/wheels")
    expected = [np.hypot(0.04, 0.03), np.nan, 0.08, np.nan, 0.06, np.nan]
    for number, image in enumerate(images[1:], 1):
        np.testing.assert_allclose(image.motion_std, [np.nan] * 6 if number == 5 else expected, atol=1e-9)


@pytest.mark.parametrize("topic", ["/odom", None])
def test_what_no_driver_fills_in_stays_as_usual(tmp_path: Path, topic: str | None) -> None:
    images = _read(tmp_path / "bag", pose=np.zeros(6), twist=_TWIST, topic=topic)
    assert all(image.motion_std is None for image in images)


@pytest.mark.parametrize("step_s", [1.0, 0.03])
def test_axes_that_are_not_measured_stay_as_usual(tmp_path: Path, step_s: float) -> None:
    """Such as of robot_localization in the plane, however short the time."""
    twist = np.where(_TWIST > 0.0, _TWIST, 1e6)
    images = _read(tmp_path / "bag", pose=np.zeros(6), twist=twist, topic="/wheels", step_s=step_s)
    assert images[1].motion_std is not None
    assert np.isnan(images[1].motion_std).tolist() == [False, True, False, True, False, True]
    poses = [image.map_from_camera for image in images if image.map_from_camera is not None]
    known = measured_motions(poses, stds=[image.motion_std for image in images])[0].std
    usual = measured_motions(poses)[0].std
    assert known[[1, 3, 5]].tolist() == usual[[1, 3, 5]].tolist()
    assert known[2] == pytest.approx(max(0.04 * step_s, 0.005))


def test_cameras_that_turn_on_their_base_have_the_noise_of_their_own_axes(tmp_path: Path) -> None:
    """A head that looks ahead until the fifth image, and to the left from then on."""
    frames = FrameNames(base="head")  # which carries the camera
    with BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA, frames=frames) as writer:
        for i in range(_COUNT):
            stamp_ns, odom_from_base = (i + 1) * _S, Pose(np.eye(3), np.array([float(i), 0.0, 0.0]))
            message = messages.odometry_message(stamp_ns, ("odom", "base_link"), odom_from_base, np.zeros(6))
            message = replace(message, twist=replace(message.twist, covariance=np.diag(_TWIST).reshape(-1)))
            writer._write(stamp_ns, "/wheels", messages.ODOMETRY, message)
            pan = Pose.from_rotation_vector([0.0, 0.0, 0.0 if i < 5 else np.pi / 2], np.zeros(3))
            turned = messages.tf_message(stamp_ns, ("base_link", "head"), pan)
            writer._write(stamp_ns, "/tf", messages.TF_MESSAGE, turned)
            writer.write_image(stamp_ns, np.zeros((24, 32), np.uint8))
    keyframes = read_bag_keyframes(tmp_path / "bag", odom_topic="/wheels")
    images = with_motion_noise(keyframes.images, tmp_path / "bag", keyframes.camera_frame, odom_topic="/wheels")
    assert len(images) == _COUNT
    ahead = [np.hypot(0.02, 0.5 * 0.03), np.nan, 0.04, np.nan, 0.03, np.nan]
    left = [np.hypot(0.04, 0.5 * 0.03), np.nan, 0.02, np.nan, 0.03, np.nan]
    for number, image in enumerate(images[1:], 1):  # along the axes of the image before
        np.testing.assert_allclose(image.motion_std, ahead if number <= 5 else left, atol=1e-9)


def test_no_odometry_is_taken_for_perfect(tmp_path: Path) -> None:
    poses = [Pose.identity(), Pose(np.eye(3), np.array([1.0, 0.0, 0.0]))]
    assert (measured_motions(poses, stds=[None, np.full(6, 1e-9)])[0].std >= 0.005).all()
