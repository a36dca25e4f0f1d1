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

"""The recording of the mapper: started, paused, resumed and finished, within a budget of the disk. Needs no ROS."""

from __future__ import annotations

import fcntl
import shutil
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO

from vloc_ros.core.config import KeyframeConfig
from vloc_ros.core.errors import InputError, VlocError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.tracking.keyframe_selection import KeyframeSelector, KeyframeVerdict
from vloc_ros.storage.atomic import StorageError
from vloc_ros.storage.keyframe_recordings import (
    KeyframeRecording,
    RecordingState,
    create_recording,
    folder_bytes,
    list_recordings,
    open_recording,
    read_boot_id,
    read_info,
)

_MB = 10**6
_LOCK = ".mapper.lock"
# at least those of a row of the odometry
_ROW_BYTES = 200


class KeyframeRefusedError(VlocError):
    """An image does not become a keyframe.

    Attributes:
        kind: name of the reason, such as `BLURRED`.
    """

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class RecordingSession:
    """At most one recording that is not finished, in a folder of recordings. Not safe for threads.

    Attributes:
        folder: of the recordings.
        recording: that one; None before `start` and after `finish`.
        warnings: of recordings in the folder that are damaged, or not finished and not that one.
    """

    def __init__(
        self, folder: Path, config: KeyframeConfig, *, odom_frame: str, max_disk_mb: int, min_free_mb: int
    ) -> None:
        """Take the folder, and up again what a killed or ended node had not finished in it.

        Args:
            folder: of the recordings; made where it is missing.
            config: which images become keyframes.
            odom_frame: frame of the odometry.
            max_disk_mb: of all recordings in the folder.
            min_free_mb: left free on its disk.

        Raises:
            StorageError: the folder cannot be used, or another mapper uses it.
            InputError: the recording that is not finished is of another frame.
        """
        self.folder, self._config, self._odom_frame = folder, config, odom_frame
        self._max_disk_mb, self._min_free_mb = max_disk_mb, min_free_mb
        self._lock = lock_folder(folder, _LOCK, what="another mapper records into it")
        self._selector = KeyframeSelector(config)
        self.recording: KeyframeRecording | None = None
        self.warnings: list[str] = []
        try:
            self._take_up()
        except BaseException:
            self.close()
            raise

    @property
    def is_recording(self) -> bool:
        """Whether images become keyframes."""
        return self.recording is not None and self.recording.info.state is RecordingState.RECORDING

    @property
    def disk_bytes(self) -> int:
        """Size of all recordings in the folder."""
        return self._other_bytes + (self.recording.size_bytes if self.recording else 0)

    def start(self) -> str:
        """Start a new recording; returns its name.

        Raises:
            InputError: one is not finished.
            StorageError: it cannot be written.
        """
        if self.recording is not None:
            raise InputError(f"{self._describe()}; call resume, or finish it first")
        # the time of the machine: with simulated time, two recordings may begin at the same
        name = f"{datetime.now(timezone.utc):%Y-%m-%d_%H-%M-%S}"
        try:
            taken = {path.name for path in self.folder.iterdir()}
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be read ({error.strerror})") from error
        name = next(one for one in (name, *(f"{name}-{k}" for k in range(2, 1000))) if one not in taken)
        self._other_bytes = folder_bytes(self.folder)
        self.recording = create_recording(self.folder / name, odom_frame=self._odom_frame)
        self._selector = KeyframeSelector(self._config)
        return name

    def pause(self) -> str:
        """Stop adding keyframes until `resume`; returns the name of the recording.

        Raises:
            InputError: nothing is recorded.
            StorageError: its state cannot be written.
        """
        if self.recording is None or not self.is_recording:
            raise InputError(f"{self._describe()}; there is nothing to pause")
        self.recording.set_info(state=RecordingState.PAUSED)
        return self.recording.folder.name

    def resume(self) -> str:
        """Add keyframes again; returns the name of the recording.

        Raises:
            InputError: no recording is paused, or it cannot go on.
            StorageError: its state cannot be written.
        """
        if self.recording is None or self.is_recording:
            raise InputError(f"{self._describe()}; there is nothing to resume")
        if self.recording.info.end_reason:
            raise InputError(f"{self._describe()} and cannot go on: {self.recording.info.end_reason}")
        self.allow_gap()
        self.recording.set_info(state=RecordingState.RECORDING)
        return self.recording.folder.name

    def allow_gap(self) -> None:
        """Expect that the robot may have moved for as long as no images were judged."""
        if (mine := self.recording) is not None:
            self._selector = KeyframeSelector(self._config, last=mine.last, last_judged=mine.last_row)

    def finish(self) -> str:
        """End the recording; returns its name.

        Raises:
            InputError: there is none.
            StorageError: its state cannot be written, or the recordings not be measured.
        """
        if self.recording is None:
            raise InputError(f"{self._describe()}; there is nothing to finish")
        self.recording.set_info(state=RecordingState.FINISHED)
        name, self.recording = self.recording.folder.name, None
        self._other_bytes = folder_bytes(self.folder)
        return name

    def judge_pose(self, stamp_ns: int, odom_from_camera: Pose, camera: Camera, camera_frame: str) -> bool:
        """Write down where the camera was; returns whether it moved so far that its image may be a keyframe.

        Raises:
            KeyframeRefusedError: the image cannot be one, or the budget of the disk is used up.
            StorageError: the pose cannot be written.
        """
        recording = self._active()
        known_frame = recording.info.camera_frame
        if not recording.fits_camera(camera) or (known_frame and known_frame != camera_frame):
            raise KeyframeRefusedError(
                "CALIBRATION_CHANGED",
                f"camera_info or the frame {camera_frame!r} is not that of the recording {recording.folder.name} "
                f"({known_frame!r}), and a recording has one camera; finish it and start another",
            )
        verdict = self._selector.judge_pose(stamp_ns, odom_from_camera)
        if verdict is KeyframeVerdict.ODOMETRY_JUMPED:
            recording.set_info(state=RecordingState.PAUSED, end_reason=self._selector.reason)
        if self._selector.reason:
            raise KeyframeRefusedError(verdict.value, self._selector.reason)
        if recording.needs_row(odom_from_camera):
            self._check_disk(_ROW_BYTES)
            recording.add_odometry(stamp_ns, odom_from_camera)
        return verdict is KeyframeVerdict.KEYFRAME

    def judge_blur(self, blur: float) -> None:
        """Judge the pixels of an image that moved.

        Raises:
            KeyframeRefusedError: it is blurred.
        """
        verdict = self._selector.judge_blur(blur)
        if verdict is not KeyframeVerdict.KEYFRAME:
            raise KeyframeRefusedError(verdict.value, self._selector.reason)

    def add(
        self, stamp_ns: int, odom_from_camera: Pose, data: bytes, suffix: str, *, camera: Camera, camera_frame: str
    ) -> None:
        """Add a keyframe that was judged; see `KeyframeRecording.add_keyframe`.

        Raises:
            KeyframeRefusedError: the budget of the disk is used up, or the recording was paused meanwhile.
            StorageError: it cannot be written.
        """
        recording = self._active()
        self._check_disk(len(data))
        recording.add_keyframe(stamp_ns, odom_from_camera, data, suffix, camera=camera, camera_frame=camera_frame)
        self._selector.add(stamp_ns, odom_from_camera)

    def close(self) -> None:
        """Leave the folder; a recording that is not finished is taken up again later."""
        self.recording = None
        self._lock.close()

    def _take_up(self) -> None:
        self.recording = recording = self._open_unfinished()
        if recording is not None:
            if recording.info.odom_frame != self._odom_frame:
                raise InputError(
                    f"{recording.folder}: is not finished and of the odometry {recording.info.odom_frame!r}, the "
                    f"parameter odom_frame is {self._odom_frame!r}; set that one and finish it, or move it away"
                )
            _end_after_reboot(recording)
            self.allow_gap()
        self._other_bytes = max(0, folder_bytes(self.folder) - (recording.size_bytes if recording else 0))

    def _open_unfinished(self) -> KeyframeRecording | None:
        """The newest recording that is not finished; None if there is none, or it is damaged."""
        unfinished = []
        for path in list_recordings(self.folder):
            try:
                info = read_info(path)
            except InputError as error:
                self.warnings.append(f"a recording is left out: {error}")
                continue
            if info.state is not RecordingState.FINISHED:
                unfinished.append((info.started_ns, path))
        if not unfinished:
            return None
        *others, (_, newest) = sorted(unfinished)
        self.warnings += [f"{path}: is not finished, and left as it is: {newest.name} is newer" for _, path in others]
        try:
            return open_recording(newest)
        except VlocError as error:
            self.warnings.append(f"the recording {newest.name} is not finished and cannot go on: {error}")
            return None

    def _active(self) -> KeyframeRecording:
        if self.recording is None or not self.is_recording:
            raise KeyframeRefusedError("NOT_RECORDING", self._describe())
        return self.recording

    def _check_disk(self, size: int) -> None:
        if self.disk_bytes + size > self._max_disk_mb * _MB:
            raise KeyframeRefusedError(
                "DISK_BUDGET",
                f"the recordings in {self.folder} have {self.disk_bytes / _MB:.0f} MB of max_disk_mb "
                f"{self._max_disk_mb}; finish this one, remove some, or raise it",
            )
        try:
            free_mb = shutil.disk_usage(self.folder).free / _MB
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be used ({error.strerror})") from error
        if free_mb - size / _MB < self._min_free_mb:
            raise KeyframeRefusedError(
                "DISK_BUDGET", f"the disk of {self.folder} has {free_mb:.0f} MB left, min_free_mb {self._min_free_mb}"
            )

    def _describe(self) -> str:
        if self.recording is None:
            return "there is no recording"
        return f"the recording {self.recording.folder.name} is {self.recording.info.state.value}"


def _end_after_reboot(recording: KeyframeRecording) -> None:
    """End a recording that the machine began before it was booted: odometry has begun anew, too."""
    began, now = recording.info.boot_id, read_boot_id()
    if not (began and now) or began == now or recording.info.end_reason:
        return
    if recording.last is None:  # nothing that a new odometry contradicts
        recording.set_info(boot_id=now)
        return
    reason = "the machine was booted since, so that odometry has begun anew; finish this recording and start another"
    recording.set_info(state=RecordingState.PAUSED, end_reason=reason)


def lock_folder(folder: Path, name: str, *, what: str) -> BinaryIO:
    """Take a lock in a folder, which is made where it is missing; held until the file is closed, or the process dies.

    Raises:
        StorageError: somebody has it, or the folder cannot be used.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / name).open("ab")
    except OSError as error:
        raise StorageError(f"{folder}: cannot be used ({error.strerror}); name another folder") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise StorageError(f"{folder}: {what}; wait, or name another folder") from error
    return file
