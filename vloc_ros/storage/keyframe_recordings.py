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

"""Keyframes that a robot records while it drives: a folder that `vloc map build` reads.

    images/         one file a keyframe, named by its nanoseconds in 19 digits
    camera.yaml     the calibration, as camera_info YAML
    odometry.txt    TUM rows of odom_from_camera (optical frame), of the keyframes and wherever the camera moved
    recording.json  frames, start, and whether the recording is finished

Everything can be lost at any time but what was written: a keyframe's row is on disk before its image, and a recording
whose writer was killed is opened again with all its keyframes.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.keyframe_motion import has_moved
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.atomic import StorageError, write_bytes_atomically
from vloc_ros.storage.cameras import read_camera, write_camera
from vloc_ros.storage.images import SUFFIXES, name_of_stamp
from vloc_ros.storage.output_folders import is_unfinished
from vloc_ros.storage.text import read_text
from vloc_ros.storage.trajectories import HEADER, format_tum_row, parse_pose, stamp_from_seconds

MANIFEST = "recording.json"
_FORMAT = "vloc keyframe recording 1"
_CAMERA_TOLERANCE = 1e-6
# a row for less would only say that the robot stands
_ROW_M, _ROW_RAD = 0.01, math.radians(0.5)
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class RecordingState(Enum):
    """What a recording waits for."""

    RECORDING = "recording"
    PAUSED = "paused"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class RecordingInfo:
    """Content of `recording.json`.

    Attributes:
        state: whether keyframes are added, may be added later, or never.
        odom_frame: frame of the odometry.
        camera_frame: optical frame of the camera; empty before the first keyframe.
        end_reason: why no more can be added, although it is not finished; empty if they can.
        started_ns: time of the machine at its start; 0 if unknown.
        boot_id: of the run of the machine's kernel that recorded it; empty if unknown.
    """

    state: RecordingState
    odom_frame: str
    camera_frame: str = ""
    end_reason: str = ""
    started_ns: int = 0
    boot_id: str = ""


class KeyframeRecording:
    """A recording that is open for writing. Not safe for threads.

    Attributes:
        folder: where it is.
        info: content of its manifest.
        keyframes: stamps and odom_from_camera, in the order of time.
        last_row: the last stamp and odom_from_camera of `odometry.txt`; None if it has none.
        size_bytes: of its files.
    """

    def __init__(self, folder: Path, info: RecordingInfo) -> None:
        """Open a recording; see `create_recording` and `open_recording`."""
        self.folder, self.info = folder, info
        self.keyframes: list[tuple[int, Pose]] = []
        self.camera: Camera | None = None
        self._odometry = folder / "odometry.txt"
        self._odometry_bytes = 0
        self.last_row: tuple[int, Pose] | None = None
        if (folder / "camera.yaml").exists():
            self.camera = read_camera(folder / "camera.yaml")
        self._read_keyframes()
        self.size_bytes = folder_bytes(folder)

    @property
    def last(self) -> tuple[int, Pose] | None:
        """Stamp and pose of the last keyframe."""
        return self.keyframes[-1] if self.keyframes else None

    def set_info(self, **changes: Any) -> None:
        """Change the manifest.

        Raises:
            StorageError: it cannot be written.
        """
        info = replace(self.info, **changes)
        _write_info(self.folder, info)
        self.info = info

    def fits_camera(self, camera: Camera) -> bool:
        """Whether a calibration is that of the recording, which the first keyframe sets."""
        mine = self.camera
        if mine is None or camera == mine:
            return True
        # not the models: one whose further coefficients are zero is read from the file as a simpler one
        if (mine.width, mine.height, mine.is_fisheye) != (camera.width, camera.height, camera.is_fisheye):
            return False
        before, now = ((*one.intrinsics, *one.distortion) for one in (mine, camera))
        return np.allclose(before, now, rtol=_CAMERA_TOLERANCE, atol=_CAMERA_TOLERANCE)

    def needs_row(self, odom_from_camera: Pose) -> bool:
        """Whether the camera has moved since the last row of the odometry."""
        return self.last_row is None or has_moved(self.last_row[1], odom_from_camera, _ROW_M, _ROW_RAD)

    def add_odometry(self, stamp_ns: int, odom_from_camera: Pose) -> None:
        """Append where the camera was; a time that is not later than the last one is left out.

        Raises:
            StorageError: it cannot be written.
        """
        self._append(stamp_ns, odom_from_camera, durable=False)

    def add_keyframe(
        self, stamp_ns: int, odom_from_camera: Pose, data: bytes, suffix: str, *, camera: Camera, camera_frame: str
    ) -> None:
        """Add a keyframe that is later than all others.

        Args:
            stamp_ns: time of the image.
            odom_from_camera: its pose.
            data: content of the image file.
            suffix: of the file's name, such as `.jpg`.
            camera: calibration, the same for all keyframes.
            camera_frame: optical frame of the camera.

        Raises:
            StorageError: it cannot be written.
        """
        if self.camera is None:
            write_camera(self.folder / "camera.yaml", camera, name=camera_frame)
            self.set_info(camera_frame=camera_frame)
            self.camera = camera
        self._append(stamp_ns, odom_from_camera, durable=True)
        write_bytes_atomically(self.folder / "images" / f"{name_of_stamp(stamp_ns)}{suffix}", data)
        self.keyframes.append((stamp_ns, odom_from_camera))
        self.size_bytes += len(data)

    def _append(self, stamp_ns: int, pose: Pose, *, durable: bool) -> None:
        is_new = self.last_row is None or stamp_ns > self.last_row[0]
        row = f"{format_tum_row(stamp_ns, pose)}\n" if is_new else ""
        if not self._odometry_bytes:
            row = f"{HEADER}\n{row}"
        try:
            with self._odometry.open("ab") as file:
                self._cut_back(file)
                file.write(row.encode())
                file.flush()
                if durable:
                    os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
        except OSError as error:
            with contextlib.suppress(OSError), self._odometry.open("ab") as file:  # else before the next row
                self._cut_back(file)
            raise StorageError(f"{self._odometry}: cannot be written ({error.strerror})") from error
        self._odometry_bytes = size
        if is_new:
            self.last_row = stamp_ns, pose
        self.size_bytes += len(row)

    def _cut_back(self, file: BinaryIO) -> None:
        """Remove what a write that failed, as on a full disk, has left at the end of the odometry."""
        if os.fstat(file.fileno()).st_size > self._odometry_bytes:
            os.ftruncate(file.fileno(), self._odometry_bytes)

    def _read_keyframes(self) -> None:
        """Read what was written; a row that was cut short is removed, and so are files that a killed writer left."""
        images = self.folder / "images"
        images.mkdir(exist_ok=True)
        for path in images.iterdir():
            if is_unfinished(path.name):
                path.unlink()
        names = {path.stem for path in images.iterdir() if path.suffix in SUFFIXES}
        rows = _read_rows(self._odometry) if self._odometry.exists() else []
        self.keyframes = [row for row in rows if name_of_stamp(row[0]) in names]
        if len(self.keyframes) < len(names):
            raise InputError(
                f"{self.folder}: {len(names) - len(self.keyframes)} of {len(names)} images have no row in odometry.txt,"
                " expected one for each; remove these images, or the recording"
            )
        self.last_row = rows[-1] if rows else None
        self._odometry_bytes = self._odometry.stat().st_size if self._odometry.exists() else 0


def create_recording(folder: Path, *, odom_frame: str) -> KeyframeRecording:
    """Make a new recording, which is recording at once.

    Raises:
        StorageError: the folder exists, or cannot be written.
    """
    info = RecordingInfo(RecordingState.RECORDING, odom_frame, started_ns=time.time_ns(), boot_id=read_boot_id())
    try:
        folder.mkdir(parents=True)
        _write_info(folder, info)
        return KeyframeRecording(folder, info)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be made ({error.strerror}); name another folder") from error


def open_recording(folder: Path) -> KeyframeRecording:
    """Open a recording, of which the writer may have been killed.

    Raises:
        InputError: it is none, or damaged.
        StorageError: it cannot be written.
    """
    try:
        return KeyframeRecording(folder, read_info(folder))
    except OSError as error:
        raise StorageError(f"{folder}: cannot be opened ({error.strerror})") from error


def read_info(folder: Path) -> RecordingInfo:
    """Read the manifest of a recording.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / MANIFEST
    try:
        values = json.loads(read_text(path))
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        info = RecordingInfo(**{**values, "state": RecordingState(values["state"])})
        if type(info.started_ns) is not int:
            raise ValueError("started_ns is no whole number")
        return info
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{path}: is not the manifest of a recording ({error}), expected {_FORMAT!r}") from error


def list_recordings(folder: Path) -> list[Path]:
    """The recordings in a folder, by name, which begins with their time."""
    return sorted(path.parent for path in folder.glob(f"*/{MANIFEST}"))


def find_newest_recording(folder: Path) -> Path | None:
    """The recording in a folder that was started last, None without any; a damaged one counts as the oldest.

    Names do not tell: a recording may have been renamed.
    """

    def started(recording: Path) -> tuple[int, str]:
        try:
            return read_info(recording).started_ns, recording.name
        except InputError:
            return -1, recording.name

    return max(list_recordings(folder), key=started, default=None)


def folder_bytes(folder: Path) -> int:
    """Size of all files of a folder and those below it; files that vanish meanwhile have none.

    Raises:
        StorageError: a file cannot be looked at.
    """
    size = 0
    for base, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.stat(os.path.join(base, name)).st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                raise StorageError(f"{base}/{name}: cannot be looked at ({error.strerror})") from error
    return size


def read_boot_id() -> str:
    """Name of this run of the machine's kernel; empty where the machine has none."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def _write_info(folder: Path, info: RecordingInfo) -> None:
    values = {"format": _FORMAT, **asdict(info), "state": info.state.value}
    write_bytes_atomically(folder / MANIFEST, json.dumps(values, indent=1).encode())


def _read_rows(path: Path) -> list[tuple[int, Pose]]:
    """Rows of a TUM file; one at the end that was cut short is removed from the file."""
    text = read_text(path)
    whole = text[: text.rfind("\n") + 1]
    if len(whole) < len(text):
        os.truncate(path, len(whole.encode()))
    rows: list[tuple[int, Pose]] = []
    for number, line in enumerate(whole.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            rows.append((stamp_from_seconds(words[0]), parse_pose(words)))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error
    return rows
