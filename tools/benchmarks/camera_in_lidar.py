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

from vloc_ros.assembly import build_camera_drive_search
from vloc_ros.core.clouds.motion_stereo import MotionStereo
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.camera_cloud_search import MISFIT, REACH_UP_M, CameraCloudSearch
from vloc_ros.core.localization.camera_drive_search import MOST_CLOUDS, CameraDriveSearch
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.depth_scans import read_depth_recording
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.evaluation.camera_drives import LocatedCamera, find_poses
from vloc_ros.evaluation.camera_hypotheses import summarize_errors, summarize_results
from vloc_ros.mapping.maps.alignment import level_rotation
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.simulation.odometry import simulate_camera_odometry
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.trajectories import read_tum

_DRIVES, _KITTI_EVERY, _KITTI_REACH_M = ("drive_04", "drive_0009"), 6, 16.0
_KITTI_CLOUDS, _KITTI_SPACING_M = (1, 2), 3.0
# of KITTI, scans that are nearer in metres or seconds to any image that the pose is found by are not in its map
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
    """All of it: what is found and accepted by one cloud and by several, images of other places, overlays, CPU time."""
    read = [_read_kitti(name, seed) for seed, name in enumerate(_DRIVES)]
    whole = [_make(scans, spacing_m=_KITTI_SPACING_M) for _, scans in read]
    kitti = [(drive, scans, stereo) for (drive, scans), (_, stereo) in zip(read, whole, strict=True)]
    figures = dict[str, Any]()
    for clouds in _KITTI_CLOUDS:
        rows = [row for drive, scans, stereo in kitti for row in _locate_on_kitti(drive, scans, stereo, clouds)]
        figures[f"kitti, {clouds} clouds"] = _summarize(rows) | {
            "scans in the map": [min(row.scans for row in rows), max(row.scans for row in rows)]
        }
    others = [
        row
        for (drive, _), made in zip(read, whole[::-1], strict=True)
        for row in _locate(drive, made, _every(drive, _KITTI_EVERY), _KITTI_REACH_M)
    ]
    figures["kitti, other drive"] = {
        "images": len(others),
        "accepted by one cloud": sum(row.alone.ok for row in others),
        "accepted by up to four": sum(row.result.ok for row in others),
    }
    drive, scans = _read_kitchen()
    made = _make(scans, spacing_m=_KITCHEN_SPACING_M)
    kitchen = list(_locate(drive, made, _every(drive, _KITCHEN_EVERY), _KITCHEN_REACH_M, overlay=True))
    alone = [replace(row, result=row.alone, best=row.best_alone) for row in kitchen]
    figures["redkitchen, 1 clouds"] = _summarize(alone)
    for clouds in range(2, MOST_CLOUDS + 1):
        if of_these := [row for row in kitchen if row.clouds == clouds]:
            figures[f"redkitchen, {clouds} clouds"] = _summarize(of_these)
    return figures


@dataclass(frozen=True, slots=True)
class _Row:
    clouds: int
    alone: LocalizationResult
    result: LocalizationResult
    best_alone: Pose | None
    best: Pose | None
    truth: Pose
    score_at_truth: float | None
    scores_around: list[float]
    cpu_s: float
    scans: int = 0


def _summarize(rows: Sequence[_Row]) -> dict[str, Any]:
    truth, scored = [row.truth for row in rows], [row for row in rows if row.score_at_truth is not None]
    figures = {
        "hypotheses": summarize_errors([row.best for row in rows], truth),
        "accepted": summarize_results([row.result for row in rows], truth),
        "cpu_s_median": float(np.median([row.cpu_s for row in rows])),
    }
    if not scored:
        return figures
    return figures | {
        "overlay": {
            "images": len(scored),
            "fits at the truth": sum(row.score_at_truth > MISFIT for row in scored if row.score_at_truth is not None),
            "turned by 10 degrees": 6 * len(scored),
            "turns caught": sum(score <= MISFIT for row in scored for score in row.scores_around[:6]),
            "shifted by 0.3 m": 6 * len(scored),
            "shifts caught": sum(score <= MISFIT for row in scored for score in row.scores_around[6:]),
        },
    }


def _every(drive: _Drive, images: int) -> range:
    return range(images - 1, len(drive.images), images)


def _locate(
    drive: _Drive,
    made: tuple[CameraDriveSearch, MotionStereo],
    chosen: Sequence[int],
    reach_m: float,
    *,
    overlay: bool = False,
) -> Iterator[_Row]:
    """Each of some images by its cloud and those before it, with the CPU seconds that it took."""
    found = find_poses(
        *made,
        drive.images,
        drive.camera,
        drive.odom_from_camera,
        reach_m=reach_m,
        reach_up_m=REACH_UP_M,
        chosen=chosen,
    )
    start = time.process_time()
    for one in found:
        row = _row(drive, one, time.process_time() - start)
        yield _score_overlay(made[0].of_clouds, one, row) if overlay else row
        start = time.process_time()


def _row(drive: _Drive, one: LocatedCamera, cpu_s: float) -> _Row:
    alone, best = (of[0].map_from_camera if of else None for of in (one.found, one.hypotheses))
    truth = drive.map_from_camera[one.number]
    return _Row(one.clouds, one.alone, one.result, alone, best, truth, None, [], cpu_s)


def _score_overlay(search: CameraCloudSearch, one: LocatedCamera, row: _Row) -> _Row:
    if row.best is None:
        return row
    around = [search.check_pose(one.cloud, 0, row.truth @ step) for step in _perturbations()]
    return replace(row, score_at_truth=search.check_pose(one.cloud, 0, row.truth), scores_around=around)


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


def _locate_on_kitti(drive: _Drive, scans: Sequence[PosedScan], stereo: MotionStereo, clouds: int) -> Iterator[_Row]:
    """Images, each by so many clouds in a map without the scans near any image that they are made of.

    Left out are those of whose map no scan is within reach.
    """
    for number in _every(drive, _KITTI_EVERY):
        chosen = _choose_independent(drive, number, stereo, clouds)
        if len(chosen) < clouds:
            continue
        used = range(_first_used(drive, chosen[0], stereo), number + 1)
        kept = [scan for k, scan in enumerate(scans) if not _is_near(scan, k, drive, used)]
        position = drive.map_from_camera[number].translation
        away_m = [np.linalg.norm(s.map_from_sensor.translation - position) for s in kept if s.map_from_sensor]
        if not away_m or min(away_m) > _KITTI_REACH_M:
            continue
        made = _make(kept, spacing_m=_KITTI_SPACING_M)
        last = list(_locate(drive, made, chosen, _KITTI_REACH_M, overlay=clouds == 1))[-1]
        if last.clouds == clouds:
            yield replace(last, scans=len(kept))


def _choose_independent(drive: _Drive, number: int, stereo: MotionStereo, clouds: int) -> list[int]:
    """An image and as many before it as there are, up to so many clouds, that share no images."""
    chosen = [number]
    while len(chosen) < clouds and (before := _first_used(drive, chosen[0], stereo) - 1) >= _KITTI_EVERY - 1:
        chosen.insert(0, before)
    return chosen


def _first_used(drive: _Drive, number: int, stereo: MotionStereo) -> int:
    """The first image that the cloud of another one may be made of: those of its way, and their partners."""
    positions = np.array([pose.translation for pose in drive.odom_from_camera[: number + 1]])
    steps = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    left_m = np.concatenate([np.cumsum(steps[::-1])[::-1], [0.0]])
    return int(np.flatnonzero(left_m <= stereo.path_m + stereo.baseline_m + steps.max(initial=0.0))[0])


def _is_near(scan: PosedScan, number: int, drive: _Drive, used: range) -> bool:
    """Whether a scan, or none with a pose, is near any of the images that are used."""
    if scan.map_from_sensor is None:
        return True
    at = scan.map_from_sensor.translation
    away_m = min(float(np.linalg.norm(drive.map_from_camera[k].translation - at)) for k in used)
    return away_m <= _LEFT_OUT_M or min(abs(number - k) for k in used) <= _LEFT_OUT_S * _RATE_HZ


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


def _make(scans: Sequence[PosedScan], *, spacing_m: float) -> tuple[CameraDriveSearch, MotionStereo]:
    landmark_map = make_lidar_map(scans, name="camera_in_lidar", spacing_m=spacing_m)
    return build_camera_drive_search(LocalizerConfig(), landmark_map)
