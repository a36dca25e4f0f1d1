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

"""Poses and calibrations in the formats of KITTI odometry and EuRoC.

KITTI: `poses/04.txt` has twelve numbers a row, the 3x4 matrix of map_from_camera0 (the left grey camera, optical axes);
`calib.txt` has rows `P0:` to `P3:` of projection matrices of rectified images, in which the cameras differ by a shift;
`times.txt` has the seconds of each image. EuRoC: csv of nanoseconds, where positions come before the quaternion w x y z
of the body, and `sensor.yaml`, whose `T_BS` is body_from_sensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.storage.cameras import NotYamlError, load_yaml
from vloc_ros.storage.text import naming_file, numbers_of, read_text, split_rows
from vloc_ros.storage.trajectories import Trajectory, stamp_from_seconds

# what is further from a rotation is no rounded one
_ROTATION_TOLERANCE = 1e-2
_KITTI_COLUMNS = 12
# time, position and quaternion; velocity and biases may follow
_EUROC_COLUMNS = 8


@dataclass(frozen=True, slots=True, eq=False)
class KittiCamera:
    """One of the rectified cameras of a KITTI recording.

    Attributes:
        k: nine numbers of its camera matrix, in ROS's pixel convention.
        camera0_from_camera: from it to the camera whose poses `poses/*.txt` holds.
    """

    k: tuple[float, ...]
    camera0_from_camera: Pose

    def camera(self, width: int, height: int) -> Camera:
        """Its calibration; calib.txt does not say the size of the images."""
        return Camera.from_ros("plumb_bob", width, height, self.k, [])


def pose_from_matrix(values: Sequence[float]) -> Pose:
    """The pose of a row-major 3x4 or 4x4 matrix, whose rounded rotation is made one.

    Raises:
        InputError: it has another count of numbers, one is not finite, or the matrix is not that of a pose.
    """
    if len(values) not in (12, 16):
        raise InputError(f"{len(values)} numbers, expected the 12 of a 3x4 or the 16 of a 4x4 matrix")
    matrix = np.array(values, dtype=np.float64).reshape(-1, 4)
    if not np.isfinite(matrix).all():
        raise InputError("a value is not finite, expected the matrix of a pose; leave out images without a pose")
    if len(matrix) == 4 and np.abs(matrix[3] - [0, 0, 0, 1]).max() > _ROTATION_TOLERANCE:
        raise InputError(f"the last row is {matrix[3].tolist()}, expected 0 0 0 1")
    left, stretch, right = np.linalg.svd(matrix[:3, :3])
    rotation = left @ right
    if np.abs(stretch - 1.0).max() > _ROTATION_TOLERANCE or np.linalg.det(rotation) < 0:
        raise InputError(
            f"the matrix stretches by {stretch.min():.3g} to {stretch.max():.3g}, expected a rotation; give rigid poses"
        )
    return Pose(rotation, matrix[:3, 3])


def read_kitti_poses(path: Path) -> tuple[Pose, ...]:
    """map_from_camera0 of every image of a KITTI sequence, in the order of their numbers.

    Raises:
        InputError: the file cannot be read, holds no pose, or a row is none; the message names the line.
    """
    poses = []
    for number, words in split_rows(read_text(path)):
        with naming_file(path, line=number):
            if len(words) != _KITTI_COLUMNS:
                raise InputError(f"{len(words)} columns, expected KITTI's 12: a 3x4 matrix row by row")
            poses.append(pose_from_matrix(numbers_of(words)))
    if not poses:
        raise InputError(f"{path}: holds no pose, expected KITTI's rows of a 3x4 matrix")
    return tuple(poses)


def read_kitti_times(path: Path) -> list[int]:
    """Nanoseconds of every image of a KITTI sequence; `times.txt` begins with 0.

    Raises:
        InputError: the file cannot be read, holds no time, or the times do not increase.
    """
    stamps_ns = list[int]()
    for number, words in split_rows(read_text(path)):
        with naming_file(path, line=number):
            stamps_ns.append(stamp_from_seconds(words[0]))
            if stamps_ns[1:] and stamps_ns[-1] <= stamps_ns[-2]:
                raise InputError("the time is not later than the one before")
    if not stamps_ns:
        raise InputError(f"{path}: holds no time, expected the seconds of every image")
    return stamps_ns


def read_kitti_trajectory(poses_file: Path, times_file: Path) -> Trajectory:
    """map_from_camera0 over time.

    Raises:
        InputError: a file cannot be read, or they are not of the same images.
    """
    poses, stamps_ns = read_kitti_poses(poses_file), read_kitti_times(times_file)
    if len(poses) != len(stamps_ns):
        raise InputError(
            f"{poses_file}: holds {len(poses)} poses, {times_file} {len(stamps_ns)} times; expected as many"
        )
    return Trajectory(np.array(stamps_ns, dtype=np.int64), poses)


def read_kitti_calibration(path: Path, camera: int) -> KittiCamera:
    """Camera 0 to 3 of a `calib.txt`; 0 and 1 are the grey ones, 2 and 3 the colour ones, left and right.

    Raises:
        InputError: the file cannot be read, or has no such camera.
    """
    rows = {words[0]: words[1:] for _, words in split_rows(read_text(path))}
    name = f"P{camera}:"
    with naming_file(path):
        if len(rows.get(name, ())) != _KITTI_COLUMNS:
            raise InputError(f"has no row {name} of 12 numbers, expected the calib.txt of a KITTI odometry sequence")
        projection = np.array(numbers_of(rows[name])).reshape(3, 4)
        if not np.isfinite(projection).all():
            raise InputError(f"{name} has a value that is not finite, expected 12 numbers; copy the file again")
        k = projection[:, :3]
        try:
            # P is K·[I | t] with t of camera_from_camera0: the images are rectified
            shift = np.linalg.solve(k, projection[:, 3])
        except np.linalg.LinAlgError:
            raise InputError(f"{name} has a camera matrix that cannot be inverted; copy the file again") from None
    return KittiCamera(tuple(k.reshape(-1).tolist()), Pose(np.eye(3), -shift))


def read_euroc_poses(path: Path) -> Trajectory:
    """map_from_body of a EuRoC csv of ground truth, such as `state_groundtruth_estimate0/data.csv`.

    Raises:
        InputError: the file cannot be read, holds no pose, or a row is none; the message names the line.
    """
    stamps_ns, poses = list[int](), list[Pose]()
    for number, words in split_rows(read_text(path)):
        with naming_file(path, line=number):
            if len(words) < _EUROC_COLUMNS or not words[0].lstrip("-").isdigit():
                found = f"{len(words)} columns, of which the first is {words[0]!r}"
                raise InputError(f"{found}, expected EuRoC's: nanoseconds, x y z, qw qx qy qz")
            values = numbers_of(words[1:_EUROC_COLUMNS])
            stamp_ns, pose = int(words[0]), Pose.from_quaternion([*values[4:], values[3]], values[:3])
            if stamps_ns and stamp_ns <= stamps_ns[-1]:
                raise InputError("the time is not later than the one before")
        stamps_ns.append(stamp_ns)
        poses.append(pose)
    if not poses:
        raise InputError(f"{path}: holds no pose, expected EuRoC's csv of ground truth")
    return Trajectory(np.array(stamps_ns, dtype=np.int64), tuple(poses))


def read_euroc_images(path: Path) -> dict[str, int]:
    """Nanoseconds of every image of a EuRoC camera by its file name, from `cam0/data.csv`.

    Raises:
        InputError: the file cannot be read, or a row is not a time and a name.
    """
    stamps_ns = {}
    for number, words in split_rows(read_text(path)):
        if len(words) != 2 or not words[0].isdigit():
            raise InputError(f"{path}, line {number}: found {' '.join(words)!r}, expected nanoseconds and a file name")
        stamps_ns[words[1]] = int(words[0])
    if not stamps_ns:
        raise InputError(f"{path}: lists no image, expected the data.csv of a EuRoC camera")
    return stamps_ns


def read_body_from_sensor(path: Path) -> Pose:
    """`T_BS` of a EuRoC `sensor.yaml`.

    Raises:
        InputError: the file cannot be read, or has none.
    """
    try:
        with naming_file(path, what="T_BS"):
            data: list[Any] = load_yaml(read_text(path))["T_BS"]["data"]
            return pose_from_matrix([float(value) for value in data])
    except (NotYamlError, KeyError, TypeError, ValueError):
        raise InputError(f"{path}: has no T_BS with data of 16 numbers, expected the sensor.yaml of EuRoC") from None
