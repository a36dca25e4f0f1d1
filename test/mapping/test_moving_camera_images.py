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

"""Which images of a moving camera are kept, when a cloud of them is due, and when they are dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

from aerial_ground import make_landmarks
from camera_room import LEVEL_FROM_OPTICAL, make_room_map

from vloc_ros.assembly import build_moving_camera
from vloc_ros.core.config import LocalizerConfig, MovingCameraConfig
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import View
from vloc_ros.core.tracking.moving_camera import ACCUMULATING, CloudTask, MovingCamera

CAMERA = Camera("PINHOLE", 64, 48, (60.0, 60.0, 32.0, 24.0))
WIDE = Camera("PINHOLE", 1280, 960, (1200.0, 1200.0, 640.0, 480.0))
SECOND_NS = 1_000_000_000


@pytest.fixture(scope="module")
def room() -> LandmarkMap:
    """One place; its voxels are 0.1 m, so that a cloud is made of 1.5 m, and one is due after 0.75 m."""
    return make_room_map()


def _camera(room: LandmarkMap, **changes: Any) -> MovingCamera:
    made = build_moving_camera(LocalizerConfig(moving_camera=MovingCameraConfig(**changes)), room)
    assert made is not None
    return made


def _view(camera: Camera = CAMERA) -> View:
    return View(np.zeros((camera.height, camera.width), np.uint8), camera)


def _at(x: float, y: float = 0.0) -> Pose:
    return Pose(LEVEL_FROM_OPTICAL, np.array([x, y, 1.0]))


def _drive(camera: MovingCamera, metres: float, *, first_ns: int = SECOND_NS, start: float = 0.0) -> Any:
    """Images every 0.11 m and 0.1 s; what became of the last."""
    count = round(metres / 0.11)
    return [
        camera.add(_view(), _at(start + 0.11 * k), first_ns + k * SECOND_NS // 10, busy=k < count)
        for k in range(count + 1)
    ][-1]


def _reason_of(found: CloudTask | LocalizationResult) -> str:
    assert isinstance(found, LocalizationResult)
    assert (found.status, found.candidate) == (Status.NO_FEATURES, ACCUMULATING)
    return found.reason


def test_a_cloud_is_due_once_the_camera_has_moved(room: LandmarkMap) -> None:
    camera = _camera(room)
    for k in range(10):  # it stands, but for the noise of odometry
        standing = camera.add(_view(), _at(0.005 * k), (k + 1) * SECOND_NS)
    assert _reason_of(standing) == "the camera has moved 0.0 m of the 0.75 m to its next cloud"
    assert camera.kept == 1
    found = [camera.add(_view(), _at(0.15 * k), (k + 10) * SECOND_NS) for k in range(1, 6)]
    assert [isinstance(one, CloudTask) for one in found] == [False] * 4 + [True]
    assert len(found[-1].views) == 6
    assert _reason_of(camera.add(_view(), _at(0.8), 16 * SECOND_NS)).startswith("the camera has moved 0.1 m of the 1.7")


def test_the_second_cloud_shares_no_images_with_the_first(room: LandmarkMap) -> None:
    camera, tasks = _camera(room), list[tuple[int, CloudTask]]()
    for k in range(60):
        found = camera.add(_view(), _at(0.11 * k), (k + 1) * SECOND_NS // 10)
        tasks += [(k, found)] if isinstance(found, CloudTask) else []
    ends = [end for end, _ in tasks]
    used = [task.first + task._stereo.first_used([view.odom_from_camera for view in task.views]) for _, task in tasks]
    assert used[1] > ends[0]
    assert ends[1] - used[1] > 1.5 / 0.11 - 1, "of the whole path"
    assert set(np.diff(ends[1:])) == {7}, "every 0.75 m"


def test_a_cloud_that_is_due_waits_until_the_last_one_is_done(room: LandmarkMap) -> None:
    camera = _camera(room)
    assert isinstance(_drive(camera, 1.1), CloudTask)
    waiting = camera.add(_view(), _at(2.9), 3 * SECOND_NS, busy=True)
    assert "once the last one is done" in _reason_of(waiting)
    assert isinstance(camera.add(_view(), _at(3.1), 4 * SECOND_NS), CloudTask)


def test_kept_images_are_bounded(room: LandmarkMap) -> None:
    camera = _camera(room)
    task = _drive(camera, 11.0)
    assert 1.5 / 0.11 < len(task.views) < 2.1 / 0.11, "of the path of a cloud"
    assert task.first + len(task.views) == 101
    for k in range(200):  # back and forth, as close as images are kept
        camera.add(_view(), _at(11.0 + 0.1001 * (k % 2)), (20 + k) * SECOND_NS, busy=True)
    assert 15 < camera.kept <= 20


def test_a_restart_of_odometry_drops_images_and_clouds(room: LandmarkMap) -> None:
    camera = _camera(room)
    task = _drive(camera, 1.1)
    reason = _reason_of(camera.add(_view(), _at(40.0), 3 * SECOND_NS))
    assert "odometry was restarted: it moved by 38.9 m" in reason
    assert "the camera has moved 0.0 m" in reason
    assert (camera.kept, task.is_current()) == (1, False)
    assert isinstance(_drive(camera, 1.1, first_ns=4 * SECOND_NS, start=40.1), CloudTask)


def test_stamps_that_go_back_drop_images_and_clouds(room: LandmarkMap) -> None:
    camera = _camera(room)
    task = _drive(camera, 1.1)
    assert "stamps of the images went back by 1.00 s" in _reason_of(camera.add(_view(), _at(1.1), SECOND_NS))
    assert (camera.kept, task.is_current()) == (1, False)


def test_an_image_that_is_sent_twice_changes_nothing(room: LandmarkMap) -> None:
    camera = _camera(room)
    first, second = (camera.add(_view(), _at(x), SECOND_NS + round(1e9 * x)) for x in (0.0, 0.5))
    again = camera.add(_view(), _at(0.5), SECOND_NS + round(1e9 * 0.5))
    assert _reason_of(first) != _reason_of(second) == _reason_of(again)
    assert camera.kept == 2


def test_a_gap_drops_images_and_clouds(room: LandmarkMap) -> None:
    camera = _camera(room, max_gap_s=5.0)
    task = _drive(camera, 1.1)
    assert isinstance(_drive(camera, 1.98, first_ns=7 * SECOND_NS, start=1.2), CloudTask)
    assert task.is_current()
    assert "came for 5.2 s" in _reason_of(camera.add(_view(), _at(3.2), 14 * SECOND_NS))
    assert (camera.kept, task.is_current()) == (1, False)


def test_another_calibration_drops_images(room: LandmarkMap) -> None:
    camera = _camera(room)
    _drive(camera, 1.1)
    other = replace(CAMERA, parameters=(70.0, 70.0, 32.0, 24.0))
    assert "calibration of the camera changed" in _reason_of(camera.add(_view(other), _at(1.3), 3 * SECOND_NS))
    assert camera.kept == 1


def test_wide_images_are_reduced(room: LandmarkMap) -> None:
    camera = _camera(room, max_image_width_px=320)
    found = [camera.add(_view(WIDE), _at(0.4 * k), (k + 1) * SECOND_NS) for k in range(3)][-1]
    assert isinstance(found, CloudTask)
    assert {view.image.shape for view in found.views} == {(240, 320)}
    assert (found.camera.width, found.camera.intrinsics[0]) == (320, 300.0)


def test_odometry_whose_z_axis_is_the_view_is_refused_unless_it_is_said_to_be_up(room: LandmarkMap) -> None:
    for z_is_up in (False, True):
        camera = _camera(room, odometry_z_is_up=z_is_up)
        ahead = [Pose(np.eye(3), np.array([0.0, 0.0, 0.4 * k])) for k in range(6)]
        for k, pose in enumerate(ahead):
            camera.add(_view(), pose, (k + 1) * SECOND_NS, busy=True)
        last = Pose(np.eye(3), np.array([0.0, 0.0, 2.4]))
        if z_is_up:
            assert isinstance(camera.add(_view(), last, 8 * SECOND_NS), CloudTask)
        else:
            with pytest.raises(InputError, match="z axis points up"):
                camera.add(_view(), last, 8 * SECOND_NS)


def test_a_camera_that_is_not_upright_is_searched_for_and_the_next_reasons_doubt_it(room: LandmarkMap) -> None:
    camera, on_its_side = _camera(room), LEVEL_FROM_OPTICAL @ np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    found = [camera.add(_view(), replace(_at(0.4 * k), rotation=on_its_side), (k + 1) * SECOND_NS) for k in range(3)]
    assert isinstance(found[-1], CloudTask)
    later = camera.add(_view(), replace(_at(1.2), rotation=on_its_side), 4 * SECOND_NS)
    assert "the camera is not upright" in _reason_of(later)


def test_images_without_texture_make_no_cloud(room: LandmarkMap) -> None:
    result = _drive(_camera(room), 1.1).run().result
    assert result.status is Status.NO_FEATURES
    assert "the images show 0 points" in result.reason
    assert list(result.times_ms) == ["features", "matching"]


def test_a_reach_that_the_map_is_too_large_for_is_refused(room: LandmarkMap) -> None:
    with pytest.raises(ConfigError, match=r"moving_camera.reach_m.*positions lie within"):
        _camera(room, reach_m=50.0, reach_up_m=20.0)


def test_images_have_another_use_in_a_map_of_landmarks() -> None:
    assert build_moving_camera(LocalizerConfig(), make_landmarks()) is None
