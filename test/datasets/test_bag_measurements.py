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

"""Fixes of satellites and accelerations of a bag, at the times of images and in the frame of their camera."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vloc_ros.bags import messages
from vloc_ros.bags.names import FrameNames
from vloc_ros.bags.writing import BagWriter
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedImage
from vloc_ros.datasets.bag_measurements import with_bag_gravity, with_bag_positions
from vloc_ros.datasets.geodetic import GRAVITY_M_S2, SIMULATED_DATUM

_CAMERA = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
_BASE_FROM_CAMERA = Pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.2, 0.0, 0.5]))
_FRAME = FrameNames().camera
_S = 10**9


def _images(*times_s: float) -> list[PosedImage]:
    image = PosedImage("", lambda: np.zeros((24, 32), np.uint8), _CAMERA)
    return [replace(image, name=f"{time_s}", stamp_ns=round(time_s * _S)) for time_s in times_s]


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds along x, with a gap between 4 and 8 s."""
    path = tmp_path_factory.mktemp("bags") / "drive"
    with BagWriter(path, camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        for time_s in np.arange(1.0, 11.0, 0.1):
            stamp_ns = round(time_s * _S)
            writer.write_image(stamp_ns, np.zeros((24, 32), np.uint8))
            if 4.0 < time_s < 8.0:
                continue
            writer.write_imu(stamp_ns, np.array([0.0, 0.0, GRAVITY_M_S2]))
            writer.write_fix(stamp_ns, SIMULATED_DATUM.geodetic(np.array([2.0 * time_s, 1.0, 3.0])), 0.3)
    return path


def test_positions_lie_east_north_and_up_of_the_datum(bag: Path) -> None:
    images, datum = with_bag_positions(_images(2.05, 6.0, 9.0, 20.0), bag, "/fix", _FRAME, datum=SIMULATED_DATUM)
    assert datum == SIMULATED_DATUM
    assert [image.position is None for image in images] == [False, True, False, True]
    first = images[0].position
    assert first is not None
    np.testing.assert_allclose(first.position, [4.1, 1.0, 3.0], atol=1e-4)
    np.testing.assert_allclose(first.std, 0.3)
    # the receiver is at the base
    np.testing.assert_allclose(first.camera_from_receiver, _BASE_FROM_CAMERA.inverse().translation, atol=1e-9)


def test_the_first_fix_is_the_origin(bag: Path) -> None:
    images, _ = with_bag_positions(_images(1.0, 2.0), bag, "/fix", _FRAME, std_m=2.0)
    first, second = (image.position for image in images)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose([first.position, second.position], [[0, 0, 0], [2, 0, 0]], atol=1e-4)
    np.testing.assert_allclose(second.std, 2.0)


@pytest.mark.parametrize(("correlation_s", "shared_by"), [(0.0, 1.0), (1e-3, 1.0), (1e6, 4.0)])
def test_positions_count_as_little_as_their_errors_have_in_common(
    bag: Path, correlation_s: float, shared_by: float
) -> None:
    """Of four positions with one error, all together are as good as one."""
    images, _ = with_bag_positions(
        _images(1.0, 2.0, 2.5, 3.0, 6.0), bag, "/fix", _FRAME, std_m=2.0, correlation_s=correlation_s
    )
    assert images[-1].position is None
    positions = [image.position for image in images if image.position is not None]
    np.testing.assert_allclose([one.shared_by for one in positions], [shared_by] * 4, rtol=1e-5)
    # a receiver is as far off as it says, however many of its fixes are
    assert all((one.std == 2.0).all() for one in positions)


def test_accelerations_tell_what_is_down_for_the_camera(bag: Path) -> None:
    gravity = [image.gravity for image in with_bag_gravity(_images(2.0, 6.0), bag, "/imu", _FRAME)]
    assert gravity[0] is not None
    assert gravity[1] is None
    np.testing.assert_allclose(gravity[0].direction, [0, 1, 0], atol=1e-9)


@pytest.mark.parametrize(
    ("topic", "frame", "times_s", "expected"),
    [
        ("/fix", _FRAME, (20.0, 30.0), "no message around the times of the images"),
        ("/fix", "another_camera", (2.0,), "has no transform from 'base_link' to the camera 'another_camera'"),
        ("/imu", _FRAME, (2.0,), r"topic /imu holds sensor_msgs/msg/Imu, expected sensor_msgs/msg/NavSatFix"),
        ("/gps", _FRAME, (2.0,), "has no topic /gps"),
    ],
)
def test_positions_that_cannot_be_had_are_refused(
    bag: Path, topic: str, frame: str, times_s: tuple[float, ...], expected: str
) -> None:
    with pytest.raises(InputError, match=expected):
        with_bag_positions(_images(*times_s), bag, topic, frame)


@pytest.mark.parametrize(
    "unknown",
    [
        {"position_covariance_type": 0},
        {"position_covariance": np.zeros(9)},
        {"position_covariance": np.full(9, np.nan)},
    ],
)
def test_a_covariance_that_is_unknown_is_not_made_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unknown: dict[str, Any]
) -> None:
    known = messages.nav_sat_fix_message
    monkeypatch.setattr(messages, "nav_sat_fix_message", lambda *args: replace(known(*args), **unknown))
    with BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        writer.write_fix(_S, (47.0, 8.0, 400.0), 1.0)
    with pytest.raises(InputError, match="--gnss-std"):
        with_bag_positions(_images(1.0), tmp_path / "bag", "/fix", _FRAME)
    assert with_bag_positions(_images(1.0), tmp_path / "bag", "/fix", _FRAME, std_m=1.0)[0][0].position is not None


def test_a_datum_far_away_is_refused(bag: Path) -> None:
    with pytest.raises(InputError, match=r"\d+ km from the datum, expected at most 20 km"):
        with_bag_positions(_images(2.0), bag, "/fix", _FRAME, datum=Datum(8.55, 47.4, 450.0))


def _write_imu(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, orientation: Pose, acceleration: Array, known: float = 0.0
) -> Path:
    message = messages.imu_message
    x, y, z, w = orientation.quaternion

    def oriented(*args: Any) -> Any:
        made = message(*args)
        covariance = np.array([known, *[0.0] * 8])
        return replace(
            made, orientation=replace(made.orientation, x=x, y=y, z=z, w=w), orientation_covariance=covariance
        )

    monkeypatch.setattr(messages, "imu_message", oriented)
    with BagWriter(folder / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        for k in range(20):
            writer.write_imu(_S + k * _S // 20, acceleration)
    return folder / "bag"


def test_an_orientation_tells_what_is_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tilted = Pose.from_rotation_vector([0.3, 0.0, 0.0], np.zeros(3))
    path = _write_imu(tmp_path, monkeypatch, orientation=tilted, acceleration=tilted.rotation.T @ [0, 0, 9.8])
    gravity = with_bag_gravity(_images(1.5), path, "/imu", _FRAME)[0].gravity
    assert gravity is not None
    expected = _BASE_FROM_CAMERA.rotation.T @ tilted.rotation.T @ [0, 0, -1]
    np.testing.assert_allclose(gravity.direction, expected, atol=1e-6)


def test_an_orientation_that_no_driver_filled_in_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The identity says that the IMU is level; the accelerations know better."""
    path = _write_imu(tmp_path, monkeypatch, orientation=Pose.identity(), acceleration=np.array([0.0, -9.8, 0.0]))
    gravity = with_bag_gravity(_images(1.5), path, "/imu", _FRAME)[0].gravity
    assert gravity is not None
    np.testing.assert_allclose(gravity.direction, _BASE_FROM_CAMERA.rotation.T @ [0, 1, 0], atol=1e-9)


def test_an_orientation_that_accelerations_contradict_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tilted = Pose.from_rotation_vector([0.3, 0.0, 0.0], np.zeros(3))
    path = _write_imu(tmp_path, monkeypatch, orientation=tilted, acceleration=np.array([9.8, 0.0, 0.0]))
    with pytest.raises(InputError, match="degrees from where its accelerations have it"):
        with_bag_gravity(_images(1.5), path, "/imu", _FRAME)


def test_an_imu_that_takes_gravity_out_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag", camera=_CAMERA, base_from_camera=_BASE_FROM_CAMERA) as writer:
        for k in range(20):
            writer.write_imu(_S + k * _S // 20, np.array([0.1, 0.0, 0.05]))
    with pytest.raises(InputError, match="does not take gravity out"):
        with_bag_gravity(_images(1.5), tmp_path / "bag", "/imu", _FRAME)
