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

"""A moving camera in maps of LiDAR places: a kitchen's depth images, KITTI, each with drives of other places."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.real import scene

from vloc_ros.assembly import build_camera_cloud_search
from vloc_ros.core.clouds.motion_stereo import MotionStereo
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.camera_cloud_search import MISFIT, CameraCloudSearch
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.depth_scans import read_depth_recording
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.evaluation.camera_hypotheses import LocatedCamera, find_poses, summarize_errors, summarize_results
from vloc_ros.mapping.maps.alignment import level_rotation
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.simulation.odometry import simulate_camera_odometry
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.trajectories import read_tum

_DRIVES, _KITTI_EVERY, _KITTI_REACH_M = ("drive_04", "drive_0009"), 6, 14.0
# of KITTI, scans that are nearer to the query in metres or seconds are not in its map
_LEFT_OUT_M, _LEFT_OUT_S, _RATE_HZ = 5.0, 1.0, 10.0
_KITCHEN_EVERY, _KITCHEN_REACH_M, _KITCHEN_SPACING_M = 4, 1.0, 0.02
# of the depth camera of redkitchen, see the readme of the data
_DEPTH_CAMERA = Camera("PINHOLE", 640, 480, (585.0, 585.0, 320.0, 240.0))
_OVERLAY_M, _OVERLAY_RAD = 0.3, np.radians(10.0)


@dataclass(frozen=True, slots=True)
class _Drive:
    """Images of a camera, their true poses in the map, and odometry that drifts."""

    images: Sequence[Path]
    camera: Camera
    map_from_camera: Sequence[Pose]
    odom_from_camera: Sequence[Pose]


def camera_in_lidar(out: Path) -> dict[str, Any]:
    """All of it: what is found and accepted, NEES, images of other places, the overlay's score, CPU time."""
    kitti = [_read_kitti(name, seed) for seed, name in enumerate(_DRIVES)]
    rows = [row for drive, scans in kitti for row in _locate_on_kitti(drive, scans)]
    others = [
        one.result.ok
        for (drive, _), (_, scans) in zip(kitti, kitti[::-1], strict=True)
        for one, _ in _locate(
            drive, _make(scans, spacing_m=3.0), range(_KITTI_EVERY - 1, len(drive.images), _KITTI_EVERY), _KITTI_REACH_M
        )
    ]
    drive, scans = _read_kitchen()
    chosen = range(_KITCHEN_EVERY - 1, len(drive.images), _KITCHEN_EVERY)
    made = _make(scans, spacing_m=_KITCHEN_SPACING_M)
    kitchen = [_row(made[0], drive, *located) for located in _locate(drive, made, chosen, _KITCHEN_REACH_M)]
    return {
        "kitti": _summarize(rows),
        "kitti_other_drive": {"images": len(others), "accepted": sum(others)},
        "redkitchen": _summarize(kitchen),
    }


@dataclass(frozen=True, slots=True)
class _Row:
    result: LocalizationResult
    best: Pose | None
    truth: Pose
    score_at_truth: float | None
    scores_around: list[float]
    cpu_s: float


def _summarize(rows: Sequence[_Row]) -> dict[str, Any]:
    truth, scored = [row.truth for row in rows], [row for row in rows if row.score_at_truth is not None]
    return {
        "hypotheses": summarize_errors([row.best for row in rows], truth),
        "accepted": summarize_results([row.result for row in rows], truth),
        "overlay": {
            "images": len(scored),
            "fits at the truth": sum(row.score_at_truth > MISFIT for row in scored if row.score_at_truth is not None),
            "turned by 10 degrees": 6 * len(scored),
            "turns caught": sum(score <= MISFIT for row in scored for score in row.scores_around[:6]),
            "shifted by 0.3 m": 6 * len(scored),
            "shifts caught": sum(score <= MISFIT for row in scored for score in row.scores_around[6:]),
        },
        "cpu_s_median": float(np.median([row.cpu_s for row in rows])),
    }


def _locate(
    drive: _Drive, made: tuple[CameraCloudSearch, MotionStereo], chosen: Sequence[int], reach_m: float
) -> Iterator[tuple[LocatedCamera, float]]:
    """Each image with the CPU seconds that it took."""
    found = find_poses(*made, drive.images, drive.camera, drive.odom_from_camera, reach_m=reach_m, chosen=chosen)
    start = time.process_time()
    for one in found:
        yield one, time.process_time() - start
        start = time.process_time()


def _row(search: CameraCloudSearch, drive: _Drive, one: LocatedCamera, cpu_s: float) -> _Row:
    truth, best = drive.map_from_camera[one.number], one.hypotheses[0].map_from_camera if one.hypotheses else None
    if best is None:
        return _Row(one.result, None, truth, None, [], cpu_s)
    around = [search.check_pose(one.cloud, 0, truth @ step) for step in _perturbations()]
    at_truth = search.check_pose(one.cloud, 0, truth)
    return _Row(one.result, best, truth, at_truth, around, cpu_s)


def _perturbations() -> list[Pose]:
    axes = [sign * axis for axis in np.eye(3) for sign in (1.0, -1.0)]
    turns = [Pose.from_rotation_vector(_OVERLAY_RAD * axis, np.zeros(3)) for axis in axes]
    return turns + [Pose(np.eye(3), _OVERLAY_M * axis) for axis in axes]


def _read_kitti(name: str, seed: int) -> tuple[_Drive, list[PosedScan]]:
    folder = scene(f"kitti/{name}")
    recording = read_kitti_recording(folder)
    assert recording.camera_from_lidar is not None
    lidar_from_camera = recording.camera_from_lidar.inverse()
    poses = [scan.map_from_sensor @ lidar_from_camera for scan in recording.scans if scan.map_from_sensor is not None]
    images = list_images(folder / "images")
    assert len(images) == len(poses)
    camera = read_camera(folder / "camera_info.yaml")
    return _Drive(images, camera, poses, simulate_camera_odometry(poses, seed)), recording.scans


def _locate_on_kitti(drive: _Drive, scans: Sequence[PosedScan]) -> Iterator[_Row]:
    """Every so many images, each in a map without the scans near it."""
    for number in range(_KITTI_EVERY - 1, len(drive.images), _KITTI_EVERY):
        position = drive.map_from_camera[number].translation
        kept = [
            scan
            for k, scan in enumerate(scans)
            if scan.map_from_sensor is not None
            and np.linalg.norm(scan.map_from_sensor.translation - position) > _LEFT_OUT_M
            and abs(k - number) > _LEFT_OUT_S * _RATE_HZ
        ]
        made = _make(kept, spacing_m=3.0)
        for one, cpu_s in _locate(drive, made, [number], _KITTI_REACH_M):
            yield _row(made[0], drive, one, cpu_s)


def _read_kitchen() -> tuple[_Drive, list[PosedScan]]:
    """Images of the query lap, and the depth images of the map's, in a frame whose z axis points up."""
    folder = scene("redkitchen")
    recording = read_depth_recording(folder / "map" / "depth", _DEPTH_CAMERA, poses=folder / "map" / "poses_tum.txt")
    known = [scan.map_from_sensor for scan in recording.scans if scan.map_from_sensor is not None]
    optical = np.array([pose.rotation[:, [1, 2, 0]] * np.array([-1.0, -1.0, 1.0]) for pose in known])
    level_from_map = Pose(level_rotation(optical), np.zeros(3))
    scans = [replace(s, map_from_sensor=level_from_map @ p) for s, p in zip(recording.scans, known, strict=True)]
    poses = [level_from_map @ pose for pose in read_tum(folder / "query" / "poses_tum.txt").poses]
    images, camera = list_images(folder / "query" / "images"), read_camera(folder / "camera_info.yaml")
    return _Drive(images, camera, poses, simulate_camera_odometry(poses, 2)), scans


def _make(scans: Sequence[PosedScan], *, spacing_m: float) -> tuple[CameraCloudSearch, MotionStereo]:
    landmark_map = make_lidar_map(scans, name="camera_in_lidar", spacing_m=spacing_m)
    return build_camera_cloud_search(LocalizerConfig(), landmark_map)
