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

"""Which images of a drive have clouds, and what is said of the whole drive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_drive_following import DriveCloud
from vloc_ros.core.localization.camera_drive_search import CameraDriveSearch
from vloc_ros.core.localization.camera_errors import CameraErrors
from vloc_ros.core.localization.drive_window import DriveWindow
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.evaluation.camera_drives import LocatedCamera, choose_images, find_poses, settle_drive
from vloc_ros.simulation.odometry import simulate_camera_odometry

ODOMETRY = [Pose(np.eye(3), [0.5 * k, 0.0, 0.0]) for k in range(20)]
MAP_FROM_ODOM = Pose.from_rotation_vector([0.0, 0.0, 1.0], [5.0, 5.0, 0.0])


def _located(number: int, result: LocalizationResult) -> LocatedCamera:
    cloud = CameraCloud(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
    return LocatedCamera(number, f"{number:06d}.png", np.zeros((4, 4), np.uint8), cloud, 2, result, result, [], [])


def _accepted(number: int, *, shift_m: float = 0.0, confidence: float = 0.9, frame_id: str = "map") -> LocatedCamera:
    pose = MAP_FROM_ODOM @ ODOMETRY[number]
    moved = Pose(pose.rotation, pose.translation + np.array([shift_m, 0.0, 0.0]))
    covariance = np.diag(np.repeat([0.05**2, 0.01**2], 3))
    result = LocalizationResult(Status.OK, moved, covariance, frame_id, confidence=confidence)
    return _located(number, result)


def test_chosen_clouds_share_no_images() -> None:
    stereo = MotionStereo(baseline_m=0.2, farthest_m=10.0, cell_m=0.1, path_m=2.0)
    # each is of the images within 2 m and one more, half a metre apart
    assert choose_images(ODOMETRY, stereo) == [2, 8, 14]
    assert [stereo.first_used(ODOMETRY[: number + 1]) for number in (2, 8, 14)] == [0, 3, 9]
    assert choose_images([ODOMETRY[0]] * 5, stereo) == []


@pytest.mark.parametrize(("chosen", "clouds"), [(range(2, 20), [1] * 6 + [2] * 6 + [3] * 6), ([2, 8, 14], [1, 2, 3])])
def test_clouds_of_the_same_images_do_not_confirm_each_other(chosen: Sequence[int], clouds: list[int]) -> None:
    stereo = MotionStereo(baseline_m=0.2, farthest_m=10.0, cell_m=0.1, path_m=2.0)
    camera = Camera("PINHOLE", 32, 24, (30.0, 30.0, 16.0, 12.0))
    paths = [Path(f"{k:06d}.png") for k in range(len(ODOMETRY))]
    found = find_poses(
        cast(CameraDriveSearch, _EverySearch()),
        stereo,
        paths,
        camera,
        ODOMETRY,
        reach_m=1.0,
        reach_up_m=0.5,
        chosen=chosen,
        read=lambda _: np.zeros((24, 32), np.uint8),
    )
    assert [one.clouds for one in found] == clouds


def test_clouds_of_a_robot_that_drives_in_circles_do_not_add_up() -> None:
    stereo = MotionStereo(baseline_m=0.2, farthest_m=10.0, cell_m=0.1, path_m=2.0)
    window = DriveWindow(cast(CameraDriveSearch, _EverySearch()), stereo, reach_m=1.0, reach_up_m=0.5)
    none = CameraCloud(np.zeros((0, 3)), np.zeros(0), np.zeros((0, 3)), np.zeros((0, 3)))
    for k in range(100):
        pose = Pose(np.eye(3), np.array([np.cos(k), np.sin(k), 0.0]))
        found = window.locate(none, pose, first=10 * k, number=10 * k + 9)
    assert found.clouds == 4
    assert 4 < len(window) <= 32


class _EverySearch:
    """Finds nothing, with every cloud."""

    def search_cloud(
        self, cloud: CameraCloud, odom_from_camera: Pose, **_: float
    ) -> tuple[DriveCloud, LocalizationResult]:
        refused = LocalizationResult.refused(Status.NO_CANDIDATES, "nothing")
        return DriveCloud(cloud, odom_from_camera, []), refused

    def localize(self, clouds: Sequence[DriveCloud]) -> tuple[LocalizationResult, list[CameraHypothesis]]:
        return LocalizationResult.refused(Status.NO_CANDIDATES, "nothing"), []


def test_the_surest_accepted_pose_is_that_of_the_drive() -> None:
    located = [_accepted(2), _accepted(8, shift_m=0.05, confidence=0.99)]
    results, drive = settle_drive(located, ODOMETRY, errors=CameraErrors())
    assert [result.ok for result in results] == [True, True]
    assert drive is located[1].result


@pytest.mark.parametrize("contradiction", [_accepted(8, shift_m=3.0), _accepted(8, frame_id="other")])
def test_accepted_poses_that_contradict_odometry_are_all_refused(contradiction: LocatedCamera) -> None:
    refused = _located(14, LocalizationResult.refused(Status.NO_FEATURES, "few points"))
    results, drive = settle_drive([_accepted(2), contradiction, refused], ODOMETRY, errors=CameraErrors())
    assert [result.status for result in results] == [Status.AMBIGUOUS, Status.AMBIGUOUS, Status.NO_FEATURES]
    assert drive.status is Status.AMBIGUOUS
    assert drive.map_from_rig is None
    assert "000002.png" in drive.reason


def test_a_pose_by_a_single_cloud_refuses_no_other() -> None:
    single = replace(_accepted(8, shift_m=3.0), clouds=1)
    results, drive = settle_drive([_accepted(2), single], ODOMETRY, errors=CameraErrors())
    assert [result.status for result in results] == [Status.OK, Status.AMBIGUOUS]
    assert drive.ok


def test_odometry_has_drifted_at_the_end_of_a_loop() -> None:
    """Right poses of a loop do not contradict each other, and wrong ones still do."""
    refused = 0
    for seed in range(10):
        turn = np.linspace(0.0, 2.0 * np.pi, 101)
        loop = [Pose.from_rotation_vector([0, 0, a], [16 * np.sin(a), 16 * (1 - np.cos(a)), 0]) for a in turn]
        odometry = simulate_camera_odometry(loop, seed)
        accepted = [replace(_accepted(2), number=k, result=_result(loop[k])) for k in (0, 100)]
        refused += not settle_drive(accepted, odometry, errors=CameraErrors())[1].ok
        accepted[1] = replace(accepted[1], result=_result(Pose(loop[100].rotation, loop[100].translation + 20.0)))
        assert not settle_drive(accepted, odometry, errors=CameraErrors())[1].ok
    assert refused <= 1


def _result(pose: Pose) -> LocalizationResult:
    return LocalizationResult(Status.OK, pose, np.diag(np.repeat([0.05**2, 0.005**2], 3)), "map", confidence=0.9)


def test_a_drive_without_an_accepted_pose_has_the_last_reason() -> None:
    refused = _located(2, LocalizationResult.refused(Status.POSE_REJECTED, "too few"))
    results, drive = settle_drive([refused], ODOMETRY, errors=CameraErrors())
    assert results == [refused.result]
    assert drive.status is Status.POSE_REJECTED
    assert "too few" in drive.reason


def test_a_drive_that_does_not_move_has_no_pose() -> None:
    assert settle_drive([], ODOMETRY, errors=CameraErrors())[1].status is Status.NO_FEATURES
