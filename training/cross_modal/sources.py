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

"""Recordings with images and scans, read by their layout.

  SEQUENCE/velodyne, image_2, calib.txt, times.txt   KITTI odometry; poses of the left camera in ../../poses/NN.txt
  DIR/lidar, images, camera_info.yaml, camera_from_lidar.txt, poses_tum.txt   an excerpt; poses of the LiDAR
  DIR/annotation.csv, camera_info.yaml, camera_from_lidar.txt   VXP's form, of Oxford RobotCar, ViViD++ or other data

`annotation.csv` has the columns timestamp (microseconds), date, northing, easting, yaw (radians), submap_path (.npy of
N x 3 or N x 4, or .bin as KITTI has it) and img_path; a path that does not exist is looked for below DIR by its last
three, two or one parts. Of yaw, differences alone are used.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from training.cross_modal.records import Record
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import integer_of, naming_file, number_of, read_text
from vloc_ros.storage.trajectory_formats import pose_from_matrix, read_kitti_calibration

ANNOTATION = "annotation.csv"
_COLUMNS = ("timestamp", "date", "northing", "easting", "yaw", "submap_path", "img_path")
_SUFFIXES = (".png", ".jpg")
_NS_PER_US = 1000


def read_records(folder: Path) -> list[Record]:
    """The records of one sequence, in the order of time.

    Raises:
        InputError: the folder has none of the layouts, or something in it is missing or damaged.
    """
    if (folder / ANNOTATION).is_file():
        return _read_annotation(folder)
    if (folder / "velodyne").is_dir() and (folder / "image_2").is_dir():
        return _read_sequence(folder)
    if (folder / "lidar").is_dir():
        return _read_excerpt(folder)
    raise InputError(
        f"{folder}: has no {ANNOTATION}, no velodyne with image_2 and no lidar with images; name a sequence of KITTI "
        "odometry, or data in VXP's form"
    )


def read_worlds(worlds: Sequence[Sequence[Path]]) -> list[list[list[Record]]]:
    """The records of each sequence of each world."""
    return [[read_records(folder) for folder in world] for world in worlds]


def _read_sequence(folder: Path) -> list[Record]:
    calibration, scans = read_kitti_calibration(folder / "calib.txt", 2), read_kitti_recording(folder)
    assert scans.camera_from_lidar is not None
    # the scans' camera is the grey one on the left, the images' is beside it
    camera_from_lidar = calibration.camera0_from_camera.inverse() @ scans.camera_from_lidar
    # calib.txt does not say how large the images are
    height, width = read_image(_find_image(folder / "image_2", scans.scans[0])).shape[:2]
    camera = calibration.camera(width, height)
    return [_pair(scan, folder / "image_2", camera_from_lidar, camera) for scan in scans.scans]


def _read_excerpt(folder: Path) -> list[Record]:
    camera, scans = read_camera(folder / "camera_info.yaml"), read_kitti_recording(folder)
    assert scans.camera_from_lidar is not None
    return [_pair(scan, folder / "images", scans.camera_from_lidar, camera) for scan in scans.scans]


def _pair(scan: PosedScan, images: Path, camera_from_lidar: Pose, camera: Camera) -> Record:
    """A scan with the image of its name."""
    load_image, pose = partial(read_image, _find_image(images, scan)), scan.map_from_sensor
    if pose is None:
        raise InputError(f"the scan {scan.name} has no pose, expected poses of all; copy the file with the poses")
    return Record(scan.name, load_image, camera, scan.load, pose, camera_from_lidar, scan.stamp_ns)


def _find_image(images: Path, scan: PosedScan) -> Path:
    number = Path(scan.name).name
    for path in (images / f"{number}{suffix}" for suffix in _SUFFIXES):
        if path.is_file():
            return path
    raise InputError(f"{images}: has no image {number}.png or .jpg, expected one of every scan; copy them again")


def _read_annotation(folder: Path) -> list[Record]:
    path = folder / ANNOTATION
    camera, extrinsics = read_camera(folder / "camera_info.yaml"), _read_matrix(folder / "camera_from_lidar.txt")
    rows = csv.DictReader(io.StringIO(read_text(path)))
    if missing := sorted(set(_COLUMNS) - set(rows.fieldnames or ())):
        raise InputError(f"{path}: has no column {missing[0]}, expected {', '.join(_COLUMNS)}")
    records = []
    for number, row in enumerate(rows, 2):
        with naming_file(path, line=number):
            records.append(_read_row(folder, row, camera, extrinsics))
    if not records:
        raise InputError(f"{path}: has no rows, expected one of each image and scan")
    return sorted(records, key=lambda record: record.stamp_ns)


def _read_row(folder: Path, row: dict[str, str], camera: Camera, camera_from_lidar: Pose) -> Record:
    try:
        stamp_us = integer_of(row["timestamp"])
        northing, easting, yaw = (number_of(row[name]) for name in ("northing", "easting", "yaw"))
    except (TypeError, ValueError) as error:
        raise InputError(f"{error}, expected whole microseconds, and metres and radians") from None
    if not np.isfinite([northing, easting, yaw]).all():
        raise InputError(f"northing, easting, yaw are {northing}, {easting}, {yaw}, expected finite numbers")
    image, submap = (_find(folder, row[name]) for name in ("img_path", "submap_path"))
    stamp_ns = stamp_us * _NS_PER_US
    return Record(
        f"{row['date']}/{row['timestamp']}",
        partial(read_image, image),
        camera,
        partial(_load_submap, submap, stamp_ns),
        Pose.from_rotation_vector([0.0, 0.0, yaw], [easting, northing, 0.0]),
        camera_from_lidar,
        stamp_ns,
    )


def _find(folder: Path, text: str | None) -> Path:
    """A file as the table names it, or below the folder by the end of its path."""
    path = Path(text or "")
    for candidate in (path, *(folder / Path(*path.parts[-count:]) for count in (3, 2, 1) if path.parts)):
        if candidate.is_file():
            return candidate
    raise InputError(f"{text!r} is no file, nor is its end one below {folder}; copy the data there")


def _load_submap(path: Path, stamp_ns: int) -> PointCloud:
    try:
        rows = np.load(path, allow_pickle=False) if path.suffix == ".npy" else np.fromfile(path, "<f4").reshape(-1, 4)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no submap ({error}), expected .npy of N x 3 or 4, or KITTI's .bin") from error
    if rows.ndim != 2 or rows.shape[1] not in (3, 4):
        raise InputError(f"{path}: has shape {rows.shape}, expected N x 3 or N x 4")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.any():
        raise InputError(f"{path}: holds no point; leave the submap out")
    points = np.ascontiguousarray(rows[finite, :3], np.float32)
    intensity: Array | None = rows[finite, 3].astype(np.float32) if rows.shape[1] == 4 else None
    return PointCloud(points, stamp_ns=stamp_ns, intensity=intensity)


def _read_matrix(path: Path) -> Pose:
    with naming_file(path):
        try:
            values = [number_of(word) for word in read_text(path).split()]
        except ValueError as error:
            raise InputError(f"{error}, expected the 12 or 16 numbers of a matrix") from None
        return pose_from_matrix(values)
