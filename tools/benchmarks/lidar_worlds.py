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

"""Simulated scans in maps of LiDAR places: towns, streets and rooms, other sensors, and places that are not mapped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.simulation.lidar import Rosette, Spinning, scan_points
from vloc_ros.simulation.lidar_drives import ON_CAR, LidarDrive, drive_with_lidar
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_aliased_world, make_world

CONDITIONS = ("same direction", "opposite direction", "half the rings")
_QUERIES = 8


@dataclass(frozen=True, slots=True)
class MappedWorld:
    """A world of a kind, of which none was used to fit or choose the decision."""

    kind: str
    seed: int

    @property
    def outdoors(self) -> bool:
        """Whether a car drives there."""
        return self.kind in ("town", "street")

    @property
    def mapped_m(self) -> float:
        """How far the map's drive goes."""
        return 100.0 if self.outdoors else 25.0

    @property
    def place_m(self) -> float:
        """From place to place."""
        return 5.0 if self.outdoors else 1.0

    @property
    def name(self) -> str:
        """Of files."""
        return f"{self.kind}-{self.seed}"


OUTDOORS = (MappedWorld("town", 97001), MappedWorld("street", 97101))
INDOORS = (MappedWorld("yard", 97103), MappedWorld("apartment", 97104))
# those whose scans and maps are of different places
OF_NEGATIVES = (
    (*OUTDOORS, *(MappedWorld(kind, 98000 + k) for k, kind in enumerate(("town", "street", "town", "street")))),
    (*INDOORS, *(MappedWorld(kind, 98100 + k) for k, kind in enumerate(("room", "corridor", "yard", "apartment")))),
)
_SCANS_ALIKE = 6
# scans like none that the decision was fitted on: 16 to 128 rings, and a pattern of prisms that looks ahead only
SENSORS: dict[str, Spinning | Rosette] = {
    "16 rings": replace(ON_CAR, rings=16),
    "64 rings": replace(ON_CAR, rings=64),
    "128 rings": replace(ON_CAR, rings=128),
    "rosette of 70 degrees": Rosette(24_000, np.radians(35.0)),
}


def make_map(world: MappedWorld, folder: Path, *, alone: int | None = None) -> LandmarkMap:
    """A map of a world's drive, or of one of its scans alone; the scans are kept in a folder."""
    scans, poses = _keep(folder / f"{world.name}-map.npz", partial(_mapped, world))
    posed = [
        PosedScan(f"{k:04d}", partial(PointCloud, points), pose, k * 10**9)
        for k, (points, pose) in enumerate(zip(scans, poses, strict=True))
        if alone in (None, k)
    ]
    return make_lidar_map(posed, name=world.name, spacing_m=0.9 * world.place_m)


def mapped_scans(world: MappedWorld, folder: Path) -> list[Array]:
    """The scans that a map was made of."""
    return _keep(folder / f"{world.name}-map.npz", partial(_mapped, world))[0]


def scans_alike(world: MappedWorld, folder: Path) -> list[Array]:
    """Scans of another place that looks like a world."""
    return _keep(folder / f"{world.name}-alike.npz", partial(_alike, world))[0]


def queries(world: MappedWorld, condition: str, folder: Path) -> list[tuple[Array, Pose]]:
    """Scans of another day, at places that the map's drive passed, and their poses."""
    path = folder / f"{world.name}-{condition.replace(' ', '-')}.npz"
    return list(zip(*_keep(path, partial(_queried, world, condition)), strict=True))


def sensor_queries(world: MappedWorld, sensor: str, folder: Path) -> list[tuple[Array, Pose]]:
    """Scans of another sensor on the same drive, and their poses."""
    path = folder / f"{world.name}-{sensor.replace(' ', '-')}.npz"
    return list(zip(*_keep(path, partial(_of_sensor, world, SENSORS[sensor])), strict=True))


@lru_cache(maxsize=1)
def _drive(world: MappedWorld) -> LidarDrive:
    return drive_with_lidar(
        make_world(world.kind, world.seed), spacing_m=world.place_m, seed=world.seed, longest_m=world.mapped_m
    )


def _mapped(world: MappedWorld) -> Iterator[tuple[Array, Pose]]:
    drive = _drive(world)
    for k in range(len(drive)):
        yield drive.scan(k), drive.map_from_lidar[k]


def _alike(world: MappedWorld) -> Iterator[tuple[Array, Pose]]:
    alike = make_aliased_world(make_world(world.kind, world.seed), world.seed + 3)
    drive = drive_with_lidar(alike, spacing_m=world.place_m, seed=world.seed + 3, longest_m=world.mapped_m)
    for k in np.random.default_rng(world.seed).choice(len(drive), _SCANS_ALIKE, replace=False):
        yield drive.scan(int(k)), drive.map_from_lidar[k]


def _query_drive(world: MappedWorld, *, every: int = 1, backwards: bool = False) -> LidarDrive:
    scene = make_world(world.kind, world.seed)
    scene = with_other_cars(scene, world.seed + 1) if world.outdoors else scene
    return drive_with_lidar(
        scene,
        spacing_m=3.7 if world.outdoors else 0.7,
        seed=world.seed + 5 + every + backwards,
        backwards=backwards,
        longest_m=world.mapped_m - 10.0 * world.outdoors,
    )


def _queried(world: MappedWorld, condition: str) -> Iterator[tuple[Array, Pose]]:
    every = 2 if condition == "half the rings" else 1
    drive = _query_drive(world, every=every, backwards=condition == "opposite direction")
    for k in np.random.default_rng(world.seed).choice(len(drive), _QUERIES, replace=False):
        yield drive.scan(int(k), every_ring=every), drive.map_from_lidar[k]


def _of_sensor(world: MappedWorld, pattern: Spinning | Rosette) -> Iterator[tuple[Array, Pose]]:
    drive = _query_drive(world)
    for k in np.random.default_rng(world.seed + 1).choice(len(drive), _QUERIES, replace=False):
        pose = drive.map_from_lidar[k]
        yield scan_points(drive.world, pose, pattern, seed=world.seed, scan=int(k)), pose


def _keep(path: Path, scan: Any) -> tuple[list[Array], list[Pose]]:
    """Scans and poses, made once."""
    if not path.exists():
        made = list(scan())
        arrays = {f"scan-{k}": points for k, (points, _) in enumerate(made)}
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part.npz")
        np.savez(unfinished, poses=np.array([pose.matrix for _, pose in made]), **arrays)
        unfinished.replace(path)
    with np.load(path) as arrays:
        poses = [Pose(matrix[:3, :3], matrix[:3, 3]) for matrix in arrays["poses"]]
        return [arrays[f"scan-{k}"] for k in range(len(poses))], poses
