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

"""Scans in maps of LiDAR places: simulated worlds, KITTI, depth images; places that are not mapped; time and bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks.lidar_worlds import (
    CONDITIONS,
    INDOORS,
    OF_NEGATIVES,
    OUTDOORS,
    SENSORS,
    MappedWorld,
    make_map,
    mapped_scans,
    queries,
    scans_alike,
    sensor_queries,
)
from benchmarks.real import scene

from vloc_ros.assembly import build_localizer
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedScan
from vloc_ros.datasets.depth_scans import read_depth_recording
from vloc_ros.datasets.lidar_kitti import read_kitti_recording
from vloc_ros.inference.cloud_registration import KissGicpRegistration
from vloc_ros.mapping.maps.alignment import level_rotation
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.storage.atomic import write_bytes_atomically
from vloc_ros.storage.maps import map_bytes, write_map

WITHIN_M, WITHIN_RAD = 0.5, np.radians(5.0)
_DRIVES, _GAPS, _PAIRS = ("drive_04", "drive_0009"), (4, 8, 15), 11
_ODOMETRY_VOXEL_M = 0.3
# of each world, so many scans are queries in the map of each other one on the same side of the door, and in one of its
# scans alone; of a drive of KITTI, so many in the map of the other
_SCANS_IN_MAP, _SCANS_IN_SCAN, _SCANS_OF_DRIVE = 10, 8, 20
# standard deviations of a map's poses, metres and radians, which the covariance assumes; the simulated ones are exact
_OF_MAP_POSES = np.repeat([0.03, np.radians(0.2)], 3)
# of the depth camera of redkitchen, see the readme of the data
_DEPTH_CAMERA = Camera("PINHOLE", 640, 480, (585.0, 585.0, 320.0, 240.0))
_EVERY_QUERY = 5

Row = dict[str, Any]


def lidar(out: Path) -> dict[str, Any]:
    """All of it. Every part is kept in a folder: an interrupted run goes on where it stopped."""
    folder = out / "lidar"
    town, street = OUTDOORS
    figures: dict[str, Any] = {"simulated": {}, "sensors": {}, "kitti": {}}
    for name, worlds in (("town", (town,)), ("street of equal houses", (street,)), ("apartment and yard", INDOORS)):
        for condition in CONDITIONS:
            rows = [row for world in worlds for row in _kept(folder, world, condition)]
            figures["simulated"][f"{name}, {condition}"] = _summarize(rows)
    for sensor in SENSORS:
        figures["sensors"][sensor] = _summarize(
            _kept_part(folder, f"{sensor}", lambda name=sensor: _sensor(name, folder))
        )
    figures["bytes_per_place"] = _kept_part(folder, "bytes", lambda: [_bytes_per_place(folder)])[0]
    figures["other_places"] = _other_places(folder)
    for gap in _GAPS:
        figures["kitti"][f"{gap} frames"] = _summarize(
            _kept_part(folder, f"kitti-{gap}", lambda k=gap: list(_kitti(k)))
        )
    figures["redkitchen_depth"] = _summarize(_kept_part(folder, "redkitchen", lambda: list(_depth())))
    return figures


def _kept_part(folder: Path, name: str, measure: Callable[[], list[Any]]) -> list[Any]:
    """What a part gave, measured once."""
    path = folder / "parts" / f"{name.replace(' ', '-')}.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes_atomically(path, json.dumps(measure()).encode())
    print(f"   lidar: {name}", flush=True)
    return list(json.loads(path.read_bytes()))


def _kept(folder: Path, world: MappedWorld, condition: str) -> list[Row]:
    def measure() -> list[Row]:
        localizer = build_localizer(LocalizerConfig(), make_map(world, folder))
        rng = np.random.default_rng(world.seed)
        return [_localize(localizer, *query, noise=rng) for query in queries(world, condition, folder)]

    return _kept_part(folder, f"{world.name} {condition}", measure)


def _sensor(sensor: str, folder: Path) -> list[Row]:
    """Scans of another sensor in the map of a town."""
    world = OUTDOORS[0]
    localizer, rng = build_localizer(LocalizerConfig(), make_map(world, folder)), np.random.default_rng(1)
    return [_localize(localizer, *query, noise=rng) for query in sensor_queries(world, sensor, folder)]


def _bytes_per_place(folder: Path) -> float:
    """Bytes a place of a town's map on disk."""
    landmark_map = make_map(OUTDOORS[0], folder)
    write_map(landmark_map, folder / "map")
    return map_bytes(folder / "map") / len(landmark_map.places["lidar"])


def _other_places(folder: Path) -> dict[str, Any]:
    """Scans in maps of other places, by their kind: how many, and how many are accepted."""
    maps, lone, alike = [], [], []
    for worlds in OF_NEGATIVES:
        for world in worlds:
            others = [one for one in worlds if one != world]
            accepted = _kept_part(
                folder, f"{world.name} others", lambda w=world, o=others: _accept_others(w, o, folder)
            )
            maps += [one for row in accepted for one in row["map"]]
            lone += [one for row in accepted for one in row["scan"]]
            alike += _kept_part(folder, f"{world.name} alike", lambda w=world: _accept_alike(w, folder))
    drives = _kept_part(folder, "kitti-others", lambda: list(_accept_other_drives()))
    kinds = {"map of a drive or walk": maps, "map of one scan": lone, "KITTI, the other drive": drives}
    rows = {name: {"queries": len(found), "accepted": sum(found)} for name, found in kinds.items()}
    return {"rows": rows, "alike": {"queries": len(alike), "accepted": sum(alike)}} | {
        name: sum(row[name] for row in rows.values()) for name in ("queries", "accepted")
    }


def _accept_others(world: MappedWorld, others: Sequence[MappedWorld], folder: Path) -> list[dict[str, list[bool]]]:
    """Which scans of each other world are accepted in the map of a world, and in maps of one of its scans each."""
    whole, rows = build_localizer(LocalizerConfig(), make_map(world, folder)), []
    mapped = len(mapped_scans(world, folder))
    for number, other in enumerate(others):
        scans = mapped_scans(other, folder)
        alone = int(np.random.default_rng([world.seed, number]).integers(mapped))
        lone = build_localizer(LocalizerConfig(), make_map(world, folder, alone=alone))
        rows.append(
            {
                "map": [_is_accepted(whole, scans[k]) for k in _spread(len(scans), _SCANS_IN_MAP)],
                "scan": [_is_accepted(lone, scans[k]) for k in _spread(len(scans), _SCANS_IN_SCAN)],
            }
        )
    return rows


def _accept_alike(world: MappedWorld, folder: Path) -> list[bool]:
    """Which scans of a place that looks like a world are accepted in its map."""
    localizer = build_localizer(LocalizerConfig(), make_map(world, folder))
    return [_is_accepted(localizer, points) for points in scans_alike(world, folder)]


def _accept_other_drives() -> Iterator[bool]:
    """Which scans of one drive of KITTI are accepted in the map of the other."""
    for name, other in (_DRIVES, _DRIVES[::-1]):
        mapped = read_kitti_recording(scene(f"kitti/{name}")).scans
        localizer = build_localizer(LocalizerConfig(), make_lidar_map(mapped, name=name))
        scans = read_kitti_recording(scene(f"kitti/{other}")).scans
        for k in _spread(len(scans), _SCANS_OF_DRIVE):
            yield _is_accepted(localizer, scans[k].load().points)


def _spread(count: int, most: int) -> list[int]:
    """So many numbers below a count at most, as far apart as possible."""
    return [int(k) for k in np.linspace(0, count - 1, min(most, count))]


def _is_accepted(localizer: Localizer, points: Array) -> bool:
    return bool(_localize(localizer, points, None)["accepted"])


def _localize(
    localizer: Localizer, points: Array, truth: Pose | None, *, noise: np.random.Generator | None = None
) -> Row:
    """One query: whether it is accepted, its errors, the squared Mahalanobis distance, and CPU seconds.

    With noise the map's poses count as known as well as the covariance assumes, for that distance only.
    """
    start = time.process_time()
    result = localizer.localize(Query((), cloud=PointCloud(points)))
    row: Row = {"accepted": result.ok, "status": result.status.name, "cpu_s": time.process_time() - start}
    if result.map_from_rig is not None and truth is not None:
        assert result.covariance is not None
        row["metres"], row["radians"] = result.map_from_rig.distance_to(truth)
        error = result.map_from_rig.error_to(truth)
        error = error if noise is None else error + noise.normal(size=6) * _OF_MAP_POSES
        row["squared_distance"] = float(squared_mahalanobis_distances(error[None], result.covariance[None])[0])
    return row


def _summarize(rows: Sequence[Row]) -> dict[str, Any]:
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


def _kitti(gap: int) -> Iterator[Row]:
    """A scan in a map of one place, the scan so many frames before, turned about z at random.

    The reference is GICP from scan to scan: the GPS of one of the drives is off by 4 % of the way.
    """
    rng = np.random.default_rng(gap)
    for name in _DRIVES:
        scans = read_kitti_recording(scene(f"kitti/{name}")).scans
        map_from_sensor = _odometry(scans)
        for first in np.linspace(0, len(scans) - 1 - gap, _PAIRS).astype(int):
            place = replace(scans[first], map_from_sensor=map_from_sensor[first])
            localizer = build_localizer(LocalizerConfig(), make_lidar_map([place], name="pair"))
            turn = Pose.from_rotation_vector([0.0, 0.0, rng.uniform(-np.pi, np.pi)], np.zeros(3))
            points = turn.inverse().apply(scans[first + gap].load().points).astype(np.float32)
            yield _localize(localizer, points, map_from_sensor[first + gap] @ turn)


def _odometry(scans: Sequence[PosedScan]) -> list[Pose]:
    """Poses of a drive by GICP from each scan to the next, beginning at the pose of the first and guessed by theirs."""
    registration = KissGicpRegistration(voxel_m=_ODOMETRY_VOXEL_M)
    known = [scan.map_from_sensor for scan in scans]
    poses, clouds = [known[0]], (registration.prepare(scan.load().points) for scan in scans)
    for (target, source), (before, after) in zip(pairwise(clouds), pairwise(known), strict=True):
        assert before is not None
        assert after is not None
        assert poses[-1] is not None
        near, _ = registration.approach(source, target, before.inverse() @ after)
        poses.append(poses[-1] @ registration.refine(source, target, near))
    return [pose for pose in poses if pose is not None]


def _depth() -> Iterator[Row]:
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
