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

"""Several clouds of a drive in a room: what one finds by chance the others contradict, what one misses they find."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("small_gicp", reason="no small_gicp: pip install 'vloc_ros[lidar]'")
pytest.importorskip("kiss_matcher", reason="no kiss-matcher: pip install 'vloc_ros[lidar]'")

from camera_room import ROOM, TRUTH, box, make_room_map, see

from vloc_ros.assembly import build_camera_drive_search
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.acceptance import DRIVE_KIND
from vloc_ros.core.localization.camera_drive_following import DriveCloud, DriveFollower
from vloc_ros.core.localization.camera_drive_search import CameraDriveSearch
from vloc_ros.core.localization.drive_window import _choose_independent, _KeptCloud
from vloc_ros.core.localization.result import Status

# the camera turns to the left on its way
WAY = [TRUTH, Pose.from_rotation_vector([0, 0, 0.6], [0.3, 0.5, 0]) @ Pose(TRUTH.rotation, np.zeros(3))]
WAY[1] = Pose(WAY[1].rotation, TRUTH.translation + np.array([0.3, 0.5, 0.05]))
ODOM_FROM_MAP = Pose.from_rotation_vector([0.0, 0.0, -2.0], [7.0, 1.0, 0.0])
ODOMETRY = [ODOM_FROM_MAP @ pose for pose in WAY]


@pytest.fixture(scope="module")
def search() -> CameraDriveSearch:
    return build_camera_drive_search(LocalizerConfig(), make_room_map())[0]


@pytest.fixture(scope="module")
def clouds(search: CameraDriveSearch) -> list[DriveCloud]:
    found = [
        search.search_cloud(see(ROOM, pose), odom, reach_m=0.9)[0] for pose, odom in zip(WAY, ODOMETRY, strict=True)
    ]
    return [one for one in found if one is not None]


def test_the_pose_of_the_last_camera_is_found_by_both(search: CameraDriveSearch, clouds: list[DriveCloud]) -> None:
    _, found = search.localize(clouds)
    distance_m, turn_rad = found[0].map_from_camera.distance_to(WAY[1])
    assert distance_m < 0.1
    assert turn_rad < np.radians(2.0)
    assert found[0].evidence.margin > 0.05


def test_a_pose_that_one_cloud_missed_is_tried_since_the_other_found_it(
    search: CameraDriveSearch, clouds: list[DriveCloud]
) -> None:
    missed = DriveCloud(clouds[1].cloud, clouds[1].odom_from_camera, [])
    best = max(DriveFollower(search.of_clouds).find([clouds[0], missed]), key=lambda one: one.at[1].evidence.support)
    assert best.at[1].map_from_camera.distance_to(WAY[1])[0] < 0.1
    assert best.agrees == (True, True)
    assert best.preferences[1] == 0.0  # it found no other pose to compare with
    assert best.preferences[0] > 0.05


def test_wrong_odometry_makes_clouds_disagree(search: CameraDriveSearch, clouds: list[DriveCloud]) -> None:
    strayed = Pose(ODOMETRY[1].rotation, ODOMETRY[1].translation + np.array([0.8, 0.0, 0.0]))
    wrong = [clouds[0], DriveCloud(clouds[1].cloud, strayed, clouds[1].found)]
    _, right = search.localize(clouds)
    _, found = search.localize(wrong)
    assert found[0].evidence.strength < right[0].evidence.strength - 0.1


@pytest.mark.parametrize("threshold", [-20.0, 20.0])
def test_the_drives_own_table_decides(search: CameraDriveSearch, clouds: list[DriveCloud], threshold: float) -> None:
    decision = search._decision
    assert decision.model.kind == DRIVE_KIND
    model = replace(decision.model, rates=np.array([0.02]), thresholds=np.array([threshold]))
    chosen = CameraDriveSearch(
        search.of_clouds,
        search._map,
        decision=replace(decision, model=model),
        errors=search._errors,
    )
    result, _ = chosen.localize(clouds)
    assert result.ok == (threshold < 0)
    assert bool(result.reason) != result.ok
    assert result.candidate == "camera/lidar/drive"


def test_another_room_is_refused(search: CameraDriveSearch) -> None:
    other = np.concatenate([box((-1, 0, 0), (9, 4, 3.5)), box((3.5, 3, 0), (4, 3.8, 2.5))])
    found = [search.search_cloud(see(other, p), o, reach_m=0.4)[0] for p, o in zip(WAY, ODOMETRY, strict=True)]
    result, _ = search.localize([one for one in found if one is not None])
    assert result.status in {Status.POSE_REJECTED, Status.AMBIGUOUS}


def test_one_cloud_is_no_drive(search: CameraDriveSearch, clouds: list[DriveCloud]) -> None:
    with pytest.raises(InputError, match="1 clouds"):
        search.localize(clouds[:1])


def test_a_cloud_of_few_points_is_none(search: CameraDriveSearch) -> None:
    one, result = search.search_cloud(see(ROOM).select(np.arange(50)), ODOMETRY[0], reach_m=0.4)
    assert one is None
    assert result.status is Status.NO_FEATURES


def test_clouds_of_a_second_lap_are_no_evidence_of_their_own(clouds: list[DriveCloud]) -> None:
    first, away, again = (
        _KeptCloud(number, number - 10, replace(clouds[0], odom_from_camera=Pose(np.eye(3), np.array([x, 0.0, 0.0]))))
        for number, x in ((10, 0.0), (40, 4.0), (70, 0.3))
    )
    assert _choose_independent([first, away, again], apart_m=1.5) == [away.cloud, again.cloud]
    assert _choose_independent([first, away], apart_m=1.5) == [first.cloud, away.cloud]
    assert _choose_independent([replace(away, number=65), again], apart_m=1.5) == [again.cloud]
