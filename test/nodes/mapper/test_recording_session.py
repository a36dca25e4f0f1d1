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

"""The recording of the mapper, without ROS."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from vloc_ros.core.config import KeyframeConfig
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.nodes.mapper.session import KeyframeRefusedError, RecordingSession
from vloc_ros.storage.atomic import StorageError

CAMERA = Camera("PINHOLE", 64, 48, (50.0, 50.0, 32.0, 24.0))
STEP_NS = 1_000_000_000
START_NS = 1_700_000_000 * STEP_NS


def begin(folder: Path, **changes: Any) -> RecordingSession:
    values = {"odom_frame": "odom", "max_disk_mb": 10, "min_free_mb": 0} | changes
    return RecordingSession(folder, KeyframeConfig(), **values)


@dataclass
class Robot:
    """Drives straight on, an image every 0.2 m and second."""

    session: RecordingSession
    number: int = 0
    size: int = 1000

    def drive(self, images: int = 1, *, camera: Camera = CAMERA, frame: str = "camera") -> None:
        for _ in range(images):
            stamp_ns, pose = START_NS + self.number * STEP_NS, Pose.identity()
            pose = Pose.from_rotation_vector([0.0, 0.0, 0.0], [0.2 * self.number, 0.0, 0.0])
            self.number += 1
            if self.session.judge_pose(stamp_ns, pose, camera, frame):
                self.session.judge_blur(0.2)
                self.session.add(stamp_ns, pose, b"x" * self.size, ".jpg", camera=camera, camera_frame=frame)


def keyframes(session: RecordingSession) -> int:
    assert session.recording is not None
    return len(session.recording.keyframes)


def test_images_are_recorded_between_start_and_pause_and_after_resume(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path))
    with pytest.raises(KeyframeRefusedError, match="there is no recording"):
        robot.drive()
    name = robot.session.start()
    robot.drive(3)
    assert (robot.session.is_recording, keyframes(robot.session)) == (True, 3)
    assert robot.session.pause() == name
    with pytest.raises(KeyframeRefusedError, match="is paused"):
        robot.drive()
    assert robot.session.resume() == name
    robot.drive(2)
    assert keyframes(robot.session) == 5
    assert robot.session.finish() == name
    assert robot.session.recording is None


@pytest.mark.parametrize(
    ("before", "act", "message"),
    [
        ((), "pause", "there is no recording"),
        ((), "resume", "there is no recording"),
        ((), "finish", "there is no recording"),
        (("start",), "start", "is recording; call resume, or finish it first"),
        (("start",), "resume", "is recording; there is nothing to resume"),
        (("start", "pause"), "start", "is paused"),
        (("start", "pause"), "pause", "is paused"),
        (("start", "finish"), "resume", "there is no recording"),
    ],
)
def test_what_does_not_fit_the_state_is_refused(
    tmp_path: Path, before: tuple[str, ...], act: str, message: str
) -> None:
    session = begin(tmp_path)
    for step in before:
        getattr(session, step)()
    with pytest.raises(InputError, match=message):
        getattr(session, act)()


@pytest.mark.parametrize("paused", [False, True])
def test_a_recording_whose_node_was_killed_goes_on(tmp_path: Path, paused: bool) -> None:
    robot = Robot(begin(tmp_path))
    name = robot.session.start()
    robot.drive(4)
    if paused:
        robot.session.pause()
    robot.session.close()
    robot.session = begin(tmp_path)
    assert robot.session.recording is not None
    assert (robot.session.recording.folder.name, keyframes(robot.session)) == (name, 4)
    assert robot.session.is_recording is not paused
    if paused:
        robot.session.resume()
    robot.drive(2)
    assert keyframes(robot.session) == 6


def test_one_that_is_finished_is_not_taken_up_again_and_counts(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path))
    first = robot.session.start()
    robot.drive(4)
    robot.session.finish()
    robot.session.close()
    robot.session = begin(tmp_path)
    assert robot.session.recording is None
    assert robot.session.disk_bytes > 4000
    assert robot.session.start() != first


def test_another_mapper_cannot_use_the_folder(tmp_path: Path) -> None:
    session = begin(tmp_path)
    with pytest.raises(StorageError, match="another mapper records into it"):
        begin(tmp_path)
    session.close()
    begin(tmp_path)


def test_another_odometry_cannot_go_on(tmp_path: Path) -> None:
    session = begin(tmp_path)
    session.start()
    session.close()
    with pytest.raises(InputError, match="of the odometry 'odom', the parameter odom_frame is 'robot1/odom'"):
        begin(tmp_path, odom_frame="robot1/odom")
    begin(tmp_path)  # and the lock is free


def test_a_recording_has_one_camera(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path))
    robot.session.start()
    robot.drive(2)
    for changed in ({"camera": Camera("PINHOLE", 64, 48, (51.0, 50.0, 32.0, 24.0))}, {"frame": "other"}):
        with pytest.raises(KeyframeRefusedError, match="has one camera") as refused:
            robot.drive(**changed)
        assert refused.value.kind == "CALIBRATION_CHANGED"
    robot.drive()
    assert keyframes(robot.session) == 3


def test_odometry_that_is_reset_ends_the_recording_for_good(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path))
    robot.session.start()
    robot.drive(4)
    away = Pose.from_rotation_vector([0.0, 0.0, 0.0], [90.0, 0.0, 0.0])
    with pytest.raises(KeyframeRefusedError, match="it was reset") as refused:
        robot.session.judge_pose(START_NS + 5 * STEP_NS, away, CAMERA, "camera")
    assert refused.value.kind == "ODOMETRY_JUMPED"
    robot.session.close()
    session = begin(tmp_path)
    with pytest.raises(InputError, match="cannot go on: odometry moved"):
        session.resume()
    session.finish()
    session.start()


def test_the_disk_has_a_budget_over_all_recordings(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path, max_disk_mb=1), size=300_000)
    robot.session.start()
    robot.drive(2)
    robot.session.finish()
    robot.session.start()
    robot.drive()
    with pytest.raises(KeyframeRefusedError, match="max_disk_mb 1") as refused:
        robot.drive()
    assert refused.value.kind == "DISK_BUDGET"
    assert keyframes(robot.session) == 1


def test_some_of_the_disk_stays_free(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path, min_free_mb=10**9))
    robot.session.start()
    with pytest.raises(KeyframeRefusedError, match="min_free_mb"):
        robot.drive()


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"file/recordings: cannot be used \(Not a directory\)"):
        begin(tmp_path / "file" / "recordings")


def test_a_robot_that_stands_writes_nothing(tmp_path: Path) -> None:
    session = begin(tmp_path)
    robot = Robot(session)
    session.start()
    robot.drive(2)
    size = session.disk_bytes
    for k in range(1, 50):
        x = 0.2 + 0.005 * (k % 2)
        pose = Pose.from_rotation_vector([0.0, 0.0, 0.0], [x, 0.0, 0.0])
        assert not session.judge_pose(START_NS + 2 * STEP_NS + k, pose, CAMERA, "camera")
    assert session.disk_bytes == size


def test_odometry_is_within_the_budget_too(tmp_path: Path) -> None:
    session = begin(tmp_path, max_disk_mb=0)
    session.start()
    with pytest.raises(KeyframeRefusedError, match="max_disk_mb 0"):
        session.judge_pose(START_NS, Pose.identity(), CAMERA, "camera")


def change_manifest(folder: Path, **values: Any) -> None:
    path = folder / "recording.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("images", [0, 2])
def test_a_recording_ends_when_the_machine_is_booted(tmp_path: Path, images: int) -> None:
    robot = Robot(begin(tmp_path))
    name = robot.session.start()
    robot.drive(images)
    robot.session.close()
    change_manifest(tmp_path / name, boot_id="another")
    session = begin(tmp_path)
    assert session.recording is not None
    assert session.is_recording is not bool(images)
    assert ("was booted" in session.recording.info.end_reason) is bool(images)


def test_damaged_recordings_are_left_out(tmp_path: Path) -> None:
    session = begin(tmp_path)
    name = session.start()
    session.close()
    for damaged in ("0000", "9999"):
        (tmp_path / damaged).mkdir()
        (tmp_path / damaged / "recording.json").write_text("{")
    session = begin(tmp_path)
    assert session.recording is not None
    assert session.recording.folder.name == name
    assert len(session.warnings) == 2
    session.close()
    (tmp_path / name / "images" / "0000001700000000000.jpg").touch()  # without a row
    session = begin(tmp_path)
    assert session.recording is None
    assert "have no row" in session.warnings[-1]
    session.start()


def test_the_newest_by_its_manifest_goes_on(tmp_path: Path) -> None:
    session = begin(tmp_path)
    name = session.start()
    session.close()
    shutil.copytree(tmp_path / name, tmp_path / "older")
    change_manifest(tmp_path / "older", started_ns=1)
    session = begin(tmp_path)
    assert session.recording is not None
    assert session.recording.folder.name == name
    (warning,) = session.warnings
    assert "older: is not finished" in warning


def test_a_folder_that_vanishes_is_named(tmp_path: Path) -> None:
    session = begin(tmp_path / "recordings")
    shutil.rmtree(tmp_path / "recordings")
    with pytest.raises(StorageError, match="recordings: cannot be read"):
        session.start()


def test_a_robot_that_moves_while_nothing_is_recorded_has_not_jumped(tmp_path: Path) -> None:
    robot = Robot(begin(tmp_path))
    robot.session.start()
    robot.drive()
    robot.session.allow_gap()
    robot.number = 600  # 120 m and ten minutes on
    robot.drive()
    assert keyframes(robot.session) == 2
