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

"""What a new bag is made of: frames with their times and poses, here those of an image folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.datasets.image_folders import list_posed_paths, stamps_of
from vloc_ros.simulation.odometry import Drift, simulate_wheel_odometry
from vloc_ros.storage.images import decode_image, list_images

_NS_PER_S = 1e9
_DEFAULT_RATE_HZ = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class RecordingFrame:
    """One moment of a bag to be made; its image is read or rendered when it is needed.

    Attributes:
        name: for messages.
        stamp_ns: integer nanoseconds.
        map_from_camera: the camera's pose, None where it is unknown.
        pixels: gives uint8 grey or BGR pixels.
        encoded: gives the bytes of a JPEG or PNG file.
    """

    name: str
    stamp_ns: int
    map_from_camera: Pose | None
    pixels: Callable[[], Array]
    encoded: Callable[[], bytes]


@dataclass(frozen=True, slots=True, eq=False)
class SourceRecording:
    """What a bag is made of.

    Attributes:
        camera: calibration of all images.
        base_from_camera: the extrinsics.
        frames: in the order of time.
    """

    camera: Camera
    base_from_camera: Pose
    frames: Sequence[RecordingFrame]


def record_folder(
    folder: Path,
    camera: Camera,
    *,
    base_from_camera: Pose,
    poses_file: Path | None = None,
    rate_hz: float | None = None,
) -> SourceRecording:
    """The images of a folder, with true poses where they are given.

    Args:
        folder: of the images, in name order.
        camera: their calibration.
        base_from_camera: the extrinsics.
        poses_file: TUM rows of map_from_camera, one per image.
        rate_hz: images per second; None takes the times of the poses or the names, or else 10 Hz.

    Raises:
        InputError: the folder or the poses cannot be used, or do not fit each other.
    """
    posed: Sequence[tuple[Path, int | None, Pose | None]]
    if poses_file is not None:
        posed = list_posed_paths(folder, poses_file)
    else:
        paths = list_images(folder)
        named: Sequence[int | None] = stamps_of(paths) or [None] * len(paths)
        posed = [(path, stamp_ns, None) for path, stamp_ns in zip(paths, named, strict=True)]
    stamps_ns = [stamp_ns for _, stamp_ns, _ in posed if stamp_ns is not None]
    if rate_hz is not None or len(stamps_ns) < len(posed):
        stamps_ns = space_stamps(len(posed), rate_hz).tolist()
    frames = [_frame_of_file(path, stamp_ns, pose) for (path, _, pose), stamp_ns in zip(posed, stamps_ns, strict=True)]
    return SourceRecording(camera, base_from_camera, frames)


def simulate_odometry(map_from_base: Sequence[Pose], *, drift: float, seed: int) -> list[Pose]:
    """odom_from_base of every pose: wheels whose errors are this fraction of the way and of the turns."""
    return simulate_wheel_odometry(map_from_base, seed, drift=Drift(drift, drift, drift, drift))


def space_stamps(count: int, rate_hz: float | None) -> Array:
    """(N,) int64 nanoseconds, evenly spaced from 1 s: ROS takes the time 0 for no time at all. None is 10 Hz."""
    step_ns = _NS_PER_S / (_DEFAULT_RATE_HZ if rate_hz is None else rate_hz)
    return np.asarray(_NS_PER_S + np.round(np.arange(count) * step_ns), dtype=np.int64)


def check_stamps(frames: Sequence[RecordingFrame]) -> None:
    """Refuse frames that do not come one after the other, or at times that no ROS message can hold.

    Raises:
        InputError: a stamp is negative, too late, or not later than the one before.
    """
    stamps_ns = np.array([frame.stamp_ns for frame in frames])
    if (stamps_ns < 0).any() or (stamps_ns >= 2**31 * _NS_PER_S).any():
        raise InputError("a stamp does not fit a ROS message (0 to 2^31 s); give --rate to count from 1 s")
    if (np.diff(stamps_ns) <= 0).any():
        raise InputError("the times in the image names do not increase in name order; give --rate or rename the images")


def _frame_of_file(path: Path, stamp_ns: int, map_from_camera: Pose | None) -> RecordingFrame:
    def pixels() -> Array:
        return decode_image(path.read_bytes())

    return RecordingFrame(str(path), stamp_ns, map_from_camera, pixels, path.read_bytes)
