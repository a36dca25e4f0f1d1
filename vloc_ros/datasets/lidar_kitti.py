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

"""Scans of KITTI: a sequence of its odometry benchmark, a drive of its raw data, or an excerpt with TUM rows.

  SEQUENCE/velodyne/*.bin, calib.txt, times.txt              poses of the left camera: --poses, or ../../poses/NN.txt
  DRIVE/velodyne_points/data/*.bin, oxts/data/*.txt          poses by GPS and IMU; ../calib_imu_to_velo.txt
  EXCERPT/lidar/*.npz, camera_from_lidar.txt, poses_tum.txt  poses of the LiDAR itself

All are compensated for the motion of the car. The frame is the Velodyne's: x forward, y left, z up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import Datum
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.lidar_recordings import LidarRecording
from vloc_ros.storage.text import naming_file, number_of, read_text, split_rows
from vloc_ros.storage.trajectories import read_tum

VELODYNE = "velodyne"
# folders with the scans
_LAYOUTS = ("velodyne", "velodyne_points", "lidar")


def read_kitti_recording(folder: Path, *, poses: Path | None = None) -> LidarRecording:
    """The scans of a folder of KITTI.

    Args:
        folder: of one of the layouts above.
        poses: of a sequence: rows of twelve numbers, map_from_camera of the left camera; of a drive its folder oxts;
            of an excerpt TUM rows; None looks for them.

    Raises:
        InputError: the folder has none of the layouts, or something in it is missing or damaged.
    """
    readers = (_read_sequence, _read_drive, _read_excerpt)
    for layout, read in zip(_LAYOUTS, readers, strict=True):
        if (folder / layout).is_dir():
            recording = read(folder, poses)
            # every sequence counts from 0
            prefix = folder.resolve().name
            return replace(recording, scans=[replace(one, name=f"{prefix}/{one.name}") for one in recording.scans])
    raise InputError(f"{folder}: has no folder velodyne, velodyne_points or lidar; name a sequence or drive of KITTI")


def is_kitti(folder: Path) -> bool:
    """Whether a folder has one of the layouts."""
    return any((folder / layout).is_dir() for layout in _LAYOUTS)


def _read_excerpt(folder: Path, poses: Path | None) -> LidarRecording:
    paths, trajectory = _list(folder / "lidar", "npz"), read_tum(poses or folder / "poses_tum.txt")
    _check_count(folder, paths, len(trajectory))
    scans = [
        PosedScan(path.stem, partial(_load_npz, path, int(stamp)), pose, int(stamp))
        for path, stamp, pose in zip(paths, trajectory.stamps_ns, trajectory.poses, strict=True)
    ]
    calibration = _pose_of(np.loadtxt(folder / "camera_from_lidar.txt")[:3])
    return LidarRecording(scans, VELODYNE, camera_from_lidar=calibration)


def _read_sequence(folder: Path, poses: Path | None) -> LidarRecording:
    """Poses of the left camera become poses of the LiDAR in a map whose axes are the first scan's: z up."""
    paths, found = _list(folder / "velodyne", "bin"), poses or folder.parents[1] / "poses" / f"{folder.name}.txt"
    camera_from_lidar = _pose_of(_named_rows(folder / "calib.txt")["Tr"].reshape(3, 4))
    stamps = [round(number_of(words[0]) * 1e9) for _, words in split_rows(read_text(folder / "times.txt"))]
    _check_count(folder, paths, len(stamps))
    if poses is None and not found.is_file():
        scans = [
            PosedScan(path.stem, partial(_load_bin, path, stamp), None, stamp)
            for path, stamp in zip(paths, stamps, strict=True)
        ]
        return LidarRecording(scans, VELODYNE, camera_from_lidar=camera_from_lidar)
    rows = []
    for number, words in split_rows(read_text(found)):
        with naming_file(found, line=number):
            rows.append(_pose_of(_numbers(words, 12).reshape(3, 4)))
    _check_count(folder, paths, len(rows))
    lidar_from_camera = camera_from_lidar.inverse()
    scans = [
        PosedScan(path.stem, partial(_load_bin, path, stamp), lidar_from_camera @ pose @ camera_from_lidar, stamp)
        for path, stamp, pose in zip(paths, stamps, rows, strict=True)
    ]
    return LidarRecording(scans, VELODYNE, camera_from_lidar=camera_from_lidar)


def _read_drive(folder: Path, poses: Path | None) -> LidarRecording:
    """East-north-up coordinates from the first scan on."""
    paths, oxts = _list(folder / "velodyne_points" / "data", "bin"), _list(folder / "oxts" / "data", "txt")
    if poses is not None and poses.resolve() != (folder / "oxts").resolve():
        raise InputError(f"--poses is {poses}, expected {folder / 'oxts'}, the own ones of a drive of KITTI's raw data")
    _check_count(folder, paths, len(oxts))
    rows = _named_rows(folder.parent / "calib_imu_to_velo.txt")
    imu_from_lidar = _pose_of(np.column_stack([rows["R"].reshape(3, 3), rows["T"]])).inverse()
    stamps = _read_dates(folder / "velodyne_points" / "timestamps.txt")
    _check_count(folder, paths, len(stamps))
    measured = [_numbers(read_text(path).split(), 30) for path in oxts]
    first = measured[0]
    scans = [
        PosedScan(path.stem, partial(_load_bin, path, stamp), _pose_of_imu(row, first) @ imu_from_lidar, stamp)
        for path, stamp, row in zip(paths, stamps, measured, strict=True)
    ]
    return LidarRecording(scans, VELODYNE)


def _pose_of_imu(row: Array, first: Array) -> Pose:
    """map_from_imu of an OXTS row: latitude, longitude, altitude, roll, pitch, yaw from east counter-clockwise."""
    position = Datum(*(float(value) for value in first[:3])).local(*row[:3])
    turn = Pose.identity()
    for axis, angle in zip(np.eye(3)[::-1], row[5:2:-1], strict=True):
        turn = turn @ Pose.from_rotation_vector(angle * axis, np.zeros(3))
    return Pose(turn.rotation, position)


def _load_npz(path: Path, stamp_ns: int) -> PointCloud:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            points, intensity = arrays["xyz_cm"].astype(np.float32) / np.float32(100.0), arrays["intensity"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{path}: is no scan ({error}), expected xyz_cm and intensity") from error
    return _cloud(path, points, intensity.astype(np.float32), stamp_ns)


def _load_bin(path: Path, stamp_ns: int) -> PointCloud:
    values = np.fromfile(path, "<f4")
    if values.size % 4:
        raise InputError(f"{path}: has {values.size} numbers, expected four of each point; copy it again")
    rows = values.reshape(-1, 4)
    return _cloud(path, np.ascontiguousarray(rows[:, :3]), rows[:, 3], stamp_ns)


def _cloud(path: Path, points: Array, intensity: Array, stamp_ns: int) -> PointCloud:
    finite = np.isfinite(points).all(axis=1)
    if not finite.any():
        raise InputError(f"{path}: holds no point; leave the scan out")
    return PointCloud(points[finite], stamp_ns=stamp_ns, frame_id=VELODYNE, intensity=intensity[finite])


def _named_rows(path: Path) -> dict[str, Array]:
    """The numbers of rows `NAME: 1 2 3`."""
    rows = {}
    for line in read_text(path).splitlines():
        name, colon, values = line.partition(":")
        try:
            rows[name.strip()] = np.array([number_of(word) for word in values.split()]) if colon else np.zeros(0)
        except ValueError:  # a date
            continue
    return rows


def _read_dates(path: Path) -> list[int]:
    """Nanoseconds of rows such as 2011-09-26 13:02:25.951199337."""
    stamps = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        with naming_file(path, line=number):
            whole, _, fraction = line.strip().partition(".")
            try:
                moment = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=timezone.utc)
            except ValueError:
                raise InputError(f"found {line!r}, expected a date and a time") from None
            stamps.append(int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0")[:9] or 0))
    return stamps


def _numbers(words: Sequence[str], count: int) -> Array:
    try:
        values = np.array([number_of(word) for word in words])
    except ValueError:
        raise InputError(f"found {' '.join(words)[:60]!r}, expected {count} numbers") from None
    if len(values) < count:
        raise InputError(f"found {len(values)} numbers, expected {count}")
    return values


def _pose_of(matrix: Array) -> Pose:
    return Pose(matrix[:3, :3], matrix[:3, 3])


def _list(folder: Path, ext: str) -> list[Path]:
    paths = sorted(folder.glob(f"*.{ext}"))
    if not paths:
        raise InputError(f"{folder}: has no .{ext} files, expected one of each scan")
    return paths


def _check_count(folder: Path, paths: Sequence[Path], rows: int) -> None:
    if rows != len(paths):
        raise InputError(f"{folder}: has {len(paths)} scans and {rows} times or poses, expected as many; copy it again")
