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

"""Scans in maps of LiDAR places: simulated towns, KITTI, depth images; places that are not mapped; time and bytes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.real import scene

from vloc_ros.assembly import build_localizer
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.depth_scans import read_depth_recording
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.mapping.maps.alignment import level_rotation
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_world
from vloc_ros.storage.maps import map_bytes, write_map

# none of them is among the worlds that the decision was fitted, chosen or reported on
TOWNS, OTHERS = (97001, 97002), (("street", 97101), ("street", 97102), ("yard", 97103), ("apartment", 97104))
_MAPPED_M, _PLACE_M, _QUERIES = 300.0, 5.0, 20
WITHIN_M, WITHIN_RAD = 0.5, np.radians(5.0)
_GAPS, _PAIRS = (4, 8, 15), 11
# of the depth camera of redkitchen, see the readme of the data
_DEPTH_CAMERA = Camera("PINHOLE", 640, 480, (585.0, 585.0, 320.0, 240.0))
_EVERY_QUERY = 5


def lidar(out: Path) -> dict[str, Any]:
    """All of it."""
    drives = [_drive(seed) for seed in TOWNS]
    maps = [_map(drive, out / "maps" / f"lidar-{seed}") for drive, seed in zip(drives, TOWNS, strict=True)]
    figures: dict[str, Any] = {"simulated": {}, "bytes_per_place": [size for _, size in maps]}
    localizers = [build_localizer(LocalizerConfig(), landmark_map) for landmark_map, _ in maps]
    scans: list[list[Array]] = [[] for _ in TOWNS]
    for name in ("same direction", "opposite direction", "half the rings"):
        found = []
        for number, seed in enumerate(TOWNS):
            for points, truth in _town_queries(seed, name):
                scans[number].append(points)
                found.append(_localize(localizers[number], points, truth))
        figures["simulated"][name] = _summarize(found)
    figures["other_places"] = _other_places(localizers, scans)
    figures["kitti"] = {f"{gap} frames": _summarize(list(_kitti(gap))) for gap in _GAPS}
    figures["redkitchen_depth"] = _summarize(list(_depth()))
    return figures


def _drive(seed: int) -> LidarDrive:
    return drive_with_lidar(make_world("town", seed), spacing_m=_PLACE_M, seed=seed, longest_m=_MAPPED_M)


def _map(drive: LidarDrive, folder: Path) -> tuple[LandmarkMap, float]:
    """A map of a drive, and its bytes a place on disk."""
    scans = [
        PosedScan(f"{k:04d}", partial(_scan, drive, k), pose, k * 10**9) for k, pose in enumerate(drive.map_from_lidar)
    ]
    landmark_map = make_lidar_map(scans, name=folder.name, spacing_m=0.9 * _PLACE_M)
    write_map(landmark_map, folder)
    return landmark_map, map_bytes(folder) / len(landmark_map.places["lidar"])


def _scan(drive: LidarDrive, number: int) -> PointCloud:
    return PointCloud(drive.scan(number))


def _town_queries(seed: int, name: str) -> Iterator[tuple[Array, Pose]]:
    """Scans of another day, at places that the map's drive passed."""
    world = with_other_cars(make_world("town", seed), seed + 1)
    backwards, every = name == "opposite direction", 2 if name == "half the rings" else 1
    drive = drive_with_lidar(
        world, spacing_m=3.7, seed=seed + 5 + every + backwards, backwards=backwards, longest_m=_MAPPED_M - 10.0
    )
    for k in np.random.default_rng(seed).choice(len(drive), _QUERIES, replace=False):
        yield drive.scan(int(k), every_ring=every), drive.map_from_lidar[k]


def _localize(localizer: Localizer, points: Array, truth: Pose | None) -> dict[str, Any]:
    """One query: whether it is accepted, its errors, the squared Mahalanobis distance, and CPU seconds."""
    start = time.process_time()
    result = localizer.localize(Query((), cloud=PointCloud(points)))
    row: dict[str, Any] = {"accepted": result.ok, "cpu_s": time.process_time() - start}
    if result.map_from_rig is not None and truth is not None:
        assert result.covariance is not None
        row["metres"], row["radians"] = result.map_from_rig.distance_to(truth)
        error = result.map_from_rig.error_to(truth)
        row["squared_distance"] = float(squared_mahalanobis_distances(error[None], result.covariance[None])[0])
    return row


def _summarize(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts of right and wrong accepted poses, median errors, mean squared Mahalanobis distance, and CPU time."""
    accepted = [row for row in rows if row["accepted"]]
    right = [row for row in accepted if row["metres"] <= WITHIN_M and row["radians"] <= WITHIN_RAD]
    return {
        "queries": len(rows),
        "right": len(right),
        "wrong": len(accepted) - len(right),
        "median_m": float(np.median([row["metres"] for row in accepted])) if accepted else None,
        "median_deg": float(np.degrees(np.median([row["radians"] for row in accepted]))) if accepted else None,
        "nees": float(np.mean([row["squared_distance"] for row in right])) if right else None,
        "cpu_s_median": float(np.median([row["cpu_s"] for row in rows])),
        "cpu_s_p95": float(np.quantile([row["cpu_s"] for row in rows], 0.95)),
    }


def _other_places(localizers: Sequence[Localizer], scans: Sequence[Sequence[Array]]) -> dict[str, Any]:
    """Scans of one town in the map of the other, and of streets and rooms in both."""
    queries, accepted = 0, 0
    elsewhere = [points for kind, seed in OTHERS for points in _scans_of(kind, seed)]
    for number, localizer in enumerate(localizers):
        for points in [*(p for k, one in enumerate(scans) if k != number for p in one), *elsewhere]:
            queries += 1
            accepted += _localize(localizer, points, None)["accepted"]
    return {"queries": queries, "accepted": accepted}


def _scans_of(kind: str, seed: int) -> list[Array]:
    drive = drive_with_lidar(
        make_world(kind, seed), spacing_m=9.0 if kind == "street" else 1.0, seed=seed, longest_m=110.0
    )
    return [drive.scan(k) for k in range(min(len(drive), 12))]


def _kitti(gap: int) -> Iterator[dict[str, Any]]:
    """A scan in a map of one place, the scan so many frames before, turned about z at random."""
    rng = np.random.default_rng(gap)
    for name in ("drive_04", "drive_0009"):
        scans = read_kitti_recording(scene(f"kitti/{name}")).scans
        for first in np.linspace(0, len(scans) - 1 - gap, _PAIRS).astype(int):
            place, query = scans[first], scans[first + gap]
            assert place.map_from_sensor is not None
            assert query.map_from_sensor is not None
            localizer = build_localizer(LocalizerConfig(), make_lidar_map([place], name="pair"))
            turn = Pose.from_rotation_vector([0.0, 0.0, rng.uniform(-np.pi, np.pi)], np.zeros(3))
            points = turn.inverse().apply(query.load().points).astype(np.float32)
            yield _localize(localizer, points, query.map_from_sensor @ turn)


def _depth() -> Iterator[dict[str, Any]]:
    """Every so many of the depth images, in a map of the others but their neighbours."""
    folder = scene("redkitchen") / "map"
    recording = read_depth_recording(folder / "depth", _DEPTH_CAMERA, poses=folder / "poses_tum.txt")
    poses = [scan.map_from_sensor for scan in recording.scans]
    optical = np.array([p.rotation[:, [1, 2, 0]] * np.array([-1.0, -1.0, 1.0]) for p in poses if p is not None])
    level_from_map = Pose(level_rotation(optical), np.zeros(3))
    scans = [replace(s, map_from_sensor=level_from_map @ p) for s, p in zip(recording.scans, poses, strict=True) if p]
    queries = range(_EVERY_QUERY // 2, len(scans), _EVERY_QUERY)
    mapped = [scan for k, scan in enumerate(scans) if min(abs(k - query) for query in queries) > 1]
    localizer = build_localizer(LocalizerConfig(), make_lidar_map(mapped, name="redkitchen", spacing_m=0.02))
    for query in queries:
        yield _localize(localizer, scans[query].load().points, scans[query].map_from_sensor)
