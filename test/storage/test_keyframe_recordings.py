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

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.datasets.image_folders import list_posed_images
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.keyframe_recordings import (
    KeyframeRecording,
    RecordingState,
    create_recording,
    find_newest_recording,
    folder_bytes,
    list_recordings,
    open_recording,
)

_CAMERA = Camera("OPENCV", 64, 48, (50.0, 51.0, 32.3, 24.1, -0.1, 0.02, 0.0005, -0.0003))
_START_NS = 1_700_000_000_123_456_789
_STEP_NS = 100_000_000


def pose(k: int) -> Pose:
    return Pose.from_rotation_vector([0.0, 0.0, 0.1 * k], [0.2 * k, 0.0, 0.5])


def picture() -> bytes:
    done, data = cv2.imencode(".png", np.zeros((48, 64), np.uint8))
    assert done
    return bytes(data)


def add(recording: KeyframeRecording, k: int) -> None:
    recording.add_keyframe(_START_NS + k * _STEP_NS, pose(k), picture(), ".png", camera=_CAMERA, camera_frame="cam")


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Write no further than so many bytes, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.fixture
def recording(tmp_path: Path) -> KeyframeRecording:
    recording = create_recording(tmp_path / "drive", odom_frame="odom")
    for k in range(6):  # every other image is a keyframe
        if k % 2:
            recording.add_odometry(_START_NS + k * _STEP_NS, pose(k))
        else:
            add(recording, k)
    return recording


def test_a_map_is_built_from_the_folder_as_it_is(recording: KeyframeRecording) -> None:
    folder = recording.folder
    camera = read_camera(folder / "camera.yaml")
    images = list_posed_images(folder / "images", camera, poses_file=folder / "odometry.txt")
    assert [image.stamp_ns for image in images] == [_START_NS + k * _STEP_NS for k in (0, 2, 4)]
    for image, k in zip(images, (0, 2, 4), strict=True):
        assert image.map_from_camera is not None
        assert np.allclose(image.map_from_camera.matrix, pose(k).matrix, atol=1e-8)
    assert np.allclose(camera.parameters, _CAMERA.parameters)


def test_what_is_opened_again_is_what_was_recorded(recording: KeyframeRecording) -> None:
    again = open_recording(recording.folder)
    assert [stamp for stamp, _ in again.keyframes] == [stamp for stamp, _ in recording.keyframes]
    assert (again.info.state, again.info.camera_frame) == (RecordingState.RECORDING, "cam")
    assert again.fits_camera(_CAMERA)
    assert again.size_bytes == folder_bytes(recording.folder)
    add(again, 6)
    assert len(open_recording(recording.folder).keyframes) == 4


def test_its_size_is_known_without_a_look_at_the_disk(recording: KeyframeRecording) -> None:
    # the manifest and the calibration are not counted
    assert 0 <= folder_bytes(recording.folder) - recording.size_bytes < 2000


def test_another_calibration_does_not_fit(recording: KeyframeRecording) -> None:
    assert not recording.fits_camera(Camera("PINHOLE", 64, 48, (50.0, 51.0, 32.3, 24.1)))
    assert not recording.fits_camera(Camera("OPENCV", 64, 48, (50.1, *_CAMERA.parameters[1:])))


def test_a_row_that_was_cut_short_is_removed_and_the_rest_kept(recording: KeyframeRecording) -> None:
    rows = recording.folder / "odometry.txt"
    whole = rows.read_text()
    rows.write_text(whole + "1700000000.7234")
    (recording.folder / "images" / ".0001.png.77.part").write_bytes(b"half")
    again = open_recording(recording.folder)
    assert len(again.keyframes) == 3
    assert rows.read_text() == whole
    assert [path.suffix for path in (recording.folder / "images").iterdir()] == [".png"] * 3


def test_a_keyframe_that_only_has_its_row_is_not_one(recording: KeyframeRecording) -> None:
    """A writer that is killed between the two leaves this."""
    (recording.folder / "images" / f"{_START_NS + 4 * _STEP_NS:019}.png").unlink()
    assert len(open_recording(recording.folder).keyframes) == 2


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("recording.json", "{}", "not the manifest of a recording"),
        ("recording.json", "[1]", "not the manifest of a recording"),
        ("odometry.txt", "1.0 0 0 0\n", "odometry.txt, line 1"),
        ("odometry.txt", "", "3 of 3 images have no row"),
    ],
)
def test_damage_is_named(recording: KeyframeRecording, file: str, content: str, message: str) -> None:
    (recording.folder / file).write_text(content)
    with pytest.raises(InputError, match=message):
        open_recording(recording.folder)


def test_a_manifest_of_another_format_is_refused(recording: KeyframeRecording) -> None:
    path = recording.folder / "recording.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": "vloc keyframe recording 9"}))
    with pytest.raises(InputError, match="expected 'vloc keyframe recording 1'"):
        open_recording(recording.folder)


def test_a_state_is_kept(recording: KeyframeRecording, tmp_path: Path) -> None:
    recording.set_info(state=RecordingState.PAUSED, end_reason="odometry jumped")
    info = open_recording(recording.folder).info
    assert (info.state, info.end_reason) == (RecordingState.PAUSED, "odometry jumped")
    assert list_recordings(tmp_path) == [recording.folder]


def test_the_newest_recording_is_the_one_that_was_started_last(tmp_path: Path) -> None:
    """Whatever its name is, and whatever is damaged beside it."""
    assert find_newest_recording(tmp_path) is None
    for name, started_ns in (("a", 30), ("b", 10), ("z", 20)):
        create_recording(tmp_path / name, odom_frame="odom").set_info(started_ns=started_ns)
    assert find_newest_recording(tmp_path) == tmp_path / "a"
    (tmp_path / "a" / "recording.json").write_text("{")
    assert find_newest_recording(tmp_path) == tmp_path / "z"


def test_no_folder_is_written_into_twice(recording: KeyframeRecording) -> None:
    with pytest.raises(StorageError, match="File exists"):
        create_recording(recording.folder, odom_frame="odom")


@pytest.mark.parametrize("camera", [
    Camera("FULL_OPENCV", 64, 48, (*_CAMERA.parameters, 0.0, 0.0, 0.0, 0.0)),
    Camera("FULL_OPENCV", 64, 48, (*_CAMERA.parameters, 0.01, 0.0, 0.0, 0.0)),
    Camera("OPENCV", 64, 48, (50.0, 51.0, 32.3, 24.1, 0.0, 0.0, 0.0, 0.0)),
    Camera("OPENCV_FISHEYE", 64, 48, (50.0, 51.0, 32.3, 24.1, 0.0, 0.0, 0.0, 0.0)),
])  # fmt: skip
def test_a_calibration_fits_after_it_was_written_and_read(tmp_path: Path, camera: Camera) -> None:
    recording = create_recording(tmp_path / "drive", odom_frame="odom")
    recording.add_keyframe(_START_NS, pose(0), picture(), ".png", camera=camera, camera_frame="cam")
    again = open_recording(recording.folder)
    assert again.fits_camera(camera)
    assert not again.fits_camera(Camera(camera.model, 64, 48, (50.5, *camera.parameters[1:])))


def test_a_row_that_a_full_disk_cuts_short_leaves_the_others(recording: KeyframeRecording) -> None:
    rows = recording.folder / "odometry.txt"
    whole = rows.read_bytes()
    with largest_file(len(whole) + 20), pytest.raises(StorageError, match=r"odometry.txt: cannot be written"):
        recording.add_odometry(_START_NS + 6 * _STEP_NS, pose(6))
    assert rows.read_bytes() == whole
    rows.write_bytes(whole + b"1700000000.7234")  # as where it could not be shortened either
    add(recording, 7)
    again = open_recording(recording.folder)
    assert len(again.keyframes) == 4
    assert again.last_row is not None
    assert again.last_row[0] == _START_NS + 7 * _STEP_NS


def test_a_camera_that_stands_needs_no_row(recording: KeyframeRecording) -> None:
    assert not recording.needs_row(pose(5))
    assert recording.needs_row(pose(6))
    assert not open_recording(recording.folder).needs_row(pose(5))
    assert create_recording(recording.folder.parent / "new", odom_frame="odom").needs_row(pose(0))


def test_links_to_nothing_have_no_size(recording: KeyframeRecording) -> None:
    size = folder_bytes(recording.folder)
    (recording.folder / "link").symlink_to("vanished")
    assert folder_bytes(recording.folder) == size
    assert folder_bytes(recording.folder / "vanished") == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be made"):
        create_recording(tmp_path / "file" / "drive", odom_frame="odom")
