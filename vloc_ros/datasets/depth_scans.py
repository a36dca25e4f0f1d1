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

"""Depth images as scans of an indoor LiDAR."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.lidar_recordings import LidarRecording
from vloc_ros.storage.images import list_images
from vloc_ros.storage.trajectories import read_tum

# of a robot: x forward, y left, z up
LEVEL_FROM_OPTICAL = Pose(np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]), np.zeros(3))


def read_depth_recording(
    folder: Path, camera: Camera, *, poses: Path | None = None, unit_m: float = 0.001, farthest_m: float = 8.0
) -> LidarRecording:
    """The 16-bit depth images of a folder, one scan each.

    Args:
        folder: of png images.
        camera: calibration of the depth camera.
        poses: TUM rows of map_from_camera, optical frame, one per image in name order; None for scans to localize.
        unit_m: metres of a step of depth.
        farthest_m: depths beyond are noise.

    Raises:
        InputError: an image is no depth image of the camera's size, or there are as many poses as images not.
    """
    paths = list_images(folder)
    trajectory = None if poses is None else read_tum(poses)
    if trajectory is not None and len(trajectory) != len(paths):
        raise InputError(f"{poses}: has {len(trajectory)} poses, expected {len(paths)}, one for each image of {folder}")
    scans = []
    for k, path in enumerate(paths):
        stamp_ns = k if trajectory is None else int(trajectory.stamps_ns[k])
        load = partial(_load, path, camera, stamp_ns, unit_m, farthest_m)
        pose = None if trajectory is None else trajectory.poses[k] @ LEVEL_FROM_OPTICAL.inverse()
        scans.append(PosedScan(path.name, load, pose, stamp_ns))
    return LidarRecording(scans, "depth_camera", camera_from_lidar=LEVEL_FROM_OPTICAL.inverse())


def _load(path: Path, camera: Camera, stamp_ns: int, unit_m: float, farthest_m: float) -> PointCloud:
    """Points in the camera's body axes: x forward, y left, z up."""
    depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if depth is None or depth.dtype != np.uint16 or depth.shape != (camera.height, camera.width):
        found = "damaged" if depth is None else f"{depth.dtype} of shape {depth.shape}"
        raise InputError(f"{path}: is {found}, expected a depth image, uint16 of {camera.height}x{camera.width}")
    metres = depth.astype(np.float32) * np.float32(unit_m)
    rows, columns = np.nonzero((metres > 0) & (metres < farthest_m))
    if not len(rows):
        raise InputError(f"{path}: has no depth below {farthest_m:g} m; leave the image out")
    rays = camera.unproject(np.column_stack([columns, rows]) + 0.5)
    points = rays / rays[:, 2:] * metres[rows, columns, None]
    levelled = LEVEL_FROM_OPTICAL.apply(points).astype(np.float32)
    return PointCloud(levelled, stamp_ns=stamp_ns, frame_id="depth_camera")
