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

"""Scans of simulated worlds for the acceptance table of scans: what is mapped, and what is queried."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from training.acceptance.evidence_table import ALIASED, OWN
from training.acceptance.kept_arrays import check_constants, list_constants, save_with_constants
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation import lidar, lidar_drives
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_aliased_world, make_world

CONDITIONS = ("same direction", "opposite direction", "half the rings", "far away", "far away, half the rings")
_OUTDOOR, _INDOOR = ("town", "street"), ("room", "corridor", "apartment", "yard")
# by whether they are of an outdoor world
_LONGEST_M, _PLACE_M, _QUERY_M = {True: 200.0, False: 25.0}, {True: 6.0, False: 1.0}, {True: 3.1, False: 0.7}
_QUERIES = 5
# maps of one scan: how many a world has, how far from it its queries are, and every which ring each of them has
_LONE_PLACES, _FAR_M, _EVERY_RING = 4, {True: (5.0, 25.0), False: (1.0, 6.0)}, (1, 1, 2)
_FAR_AWAY = CONDITIONS.index("far away")
WHOLE_MAP = -1


@dataclass(frozen=True, slots=True)
class ScanSplit:
    """Worlds of one purpose, by their numbers; their seeds follow that of the split."""

    name: str
    seed: int
    outdoors: tuple[int, ...]
    indoors: tuple[int, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of all worlds."""
        return (*self.outdoors, *self.indoors)

    @property
    def kinds(self) -> list[str]:
        """Of all worlds."""
        return [self.kind(number) for number in self.numbers]

    def kind(self, number: int) -> str:
        """Of a world."""
        return _OUTDOOR[number % 2] if number in self.outdoors else _INDOOR[number % 4]

    def spacing_m(self, number: int) -> float:
        """From place to place of a world's map."""
        return _PLACE_M[number in self.outdoors]

    def alike(self, number: int) -> list[int]:
        """The other worlds on the same side of the door."""
        return [other for other in (self.outdoors if number in self.outdoors else self.indoors) if other != number]


SPLITS = {
    one.name: one
    for one in (
        ScanSplit("fit", 71000, (0, 1, 9, 11, 13), (4, 5, 6, 7)),
        ScanSplit("choose", 81000, (0, 1, 2, 3, 9, 11, 13), (4, 5, 6, 7)),
        ScanSplit("report", 91000, (0, 1), (3, 4, 5)),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class WorldScans:
    """The scans of one world.

    Attributes:
        mapped: of the map, each (N, 3) float32.
        map_from_mapped: their poses.
        queries: each (N, 3) float32.
        kinds: (Q, 3) of each query the kind, the condition, and the number of the scan that alone is its map, else
            `WHOLE_MAP`.
        map_from_query: their poses, those of an aliased world in that world.
    """

    mapped: tuple[Array, ...]
    map_from_mapped: tuple[Pose, ...]
    queries: tuple[Array, ...]
    kinds: Array
    map_from_query: tuple[Pose, ...]

    @staticmethod
    def load(folder: Path, split: ScanSplit, number: int) -> WorldScans:
        """Those that `simulate` stored."""
        with np.load(_path(folder, split, number)) as arrays:
            return WorldScans(
                _numbered(arrays, "map"),
                tuple(_pose(matrix) for matrix in arrays["map-poses"]),
                _numbered(arrays, "query"),
                arrays["query-kinds"],
                tuple(_pose(matrix) for matrix in arrays["query-poses"]),
            )


def constants_of_scans() -> dict[str, str]:
    """Constants that the stored scans depend on, by their names."""
    return list_constants(lidar, lidar_drives, sys.modules[__name__])


def simulate(folder: Path, split: ScanSplit, number: int) -> None:
    """Scan a world for its map and its queries, and store both.

    Raises:
        VlocError: they are stored already, and were made with other constants.
    """
    path = _path(folder, split, number)
    if path.exists():
        check_constants(path, constants_of_scans())
        return
    arrays: dict[str, Array] = {}
    drive = _map_drive(split, number)
    for k in range(len(drive)):
        arrays[f"map-{k}"] = drive.scan(k)
    arrays["map-poses"] = np.array([pose.matrix for pose in drive.map_from_lidar])
    rows, poses = [], []
    queries = [*_queries(split, number), *_far_queries(split, number)]
    for k, (kind, condition, of, position, every, place) in enumerate(queries):
        arrays[f"query-{k}"] = of.scan(position, every_ring=every)
        rows.append((kind, condition, place))
        poses.append(of.map_from_lidar[position].matrix)
    arrays["query-kinds"], arrays["query-poses"] = np.array(rows), np.array(poses)
    save_with_constants(path, constants_of_scans(), arrays)


@lru_cache(maxsize=2)
def _world(split: ScanSplit, number: int) -> World:
    return make_world(split.kind(number), split.seed + number)


def _map_drive(split: ScanSplit, number: int) -> LidarDrive:
    world, spacing_m = _world(split, number), split.spacing_m(number)
    longest_m = _LONGEST_M[bool(world.roads)]
    return drive_with_lidar(world, spacing_m=spacing_m, seed=split.seed + number, longest_m=longest_m)


_PlannedQuery = tuple[int, int, LidarDrive, int, int, int]


def _queries(split: ScanSplit, number: int) -> Iterator[_PlannedQuery]:
    """Kind, condition, drive, number in it, every which ring, and map, of all queries of the map of a world."""
    seed = split.seed + number + 500
    for condition in range(_FAR_AWAY):
        drive = _query_drive(split, number, condition)
        for k in np.random.default_rng([seed, condition]).choice(len(drive), _QUERIES, replace=False):
            yield OWN, condition, drive, int(k), 1 + (condition == 2), WHOLE_MAP
    aliased = _aliased_drive(split, number)
    for k in np.random.default_rng([seed, 9]).choice(len(aliased), _QUERIES, replace=False):
        yield ALIASED, 0, aliased, int(k), 1, WHOLE_MAP


def _far_queries(split: ScanSplit, number: int) -> Iterator[_PlannedQuery]:
    """The same of maps of one scan each, which the queries are far from."""
    mapped, rng = _map_drive(split, number), np.random.default_rng([split.seed + number, 77])
    drives, aliased = [_query_drive(split, number, condition) for condition in (0, 1)], _aliased_drive(split, number)
    least_m, most_m = _FAR_M[number in split.outdoors]
    for place in rng.choice(len(mapped), _LONE_PLACES, replace=False):
        for every in _EVERY_RING:
            drive = drives[int(rng.integers(len(drives)))]
            offset_m = np.array([pose.distance_to(mapped.map_from_lidar[place])[0] for pose in drive.map_from_lidar])
            far = np.flatnonzero((offset_m > least_m) & (offset_m < most_m))
            for k in rng.choice(far, min(1, len(far))):
                yield OWN, _FAR_AWAY + (every > 1), drive, int(k), every, int(place)
        yield ALIASED, _FAR_AWAY, aliased, int(rng.integers(len(aliased))), 1, int(place)


@lru_cache(maxsize=4)
def _query_drive(split: ScanSplit, number: int, condition: int) -> LidarDrive:
    """Of another day, in the opposite direction for that condition."""
    world, seed, outdoor = _world(split, number), split.seed + number + 500, number in split.outdoors
    return drive_with_lidar(
        with_other_cars(world, seed) if outdoor else world,
        spacing_m=_QUERY_M[outdoor],
        seed=seed + condition,
        backwards=condition == 1,
        longest_m=_LONGEST_M[outdoor] - 10.0 * outdoor,
    )


@lru_cache(maxsize=1)
def _aliased_drive(split: ScanSplit, number: int) -> LidarDrive:
    """Through a place that looks like the world."""
    seed, outdoor = split.seed + number + 500, number in split.outdoors
    return drive_with_lidar(
        make_aliased_world(_world(split, number), seed),
        spacing_m=_QUERY_M[outdoor],
        seed=seed + 9,
        longest_m=_LONGEST_M[outdoor] - 10.0 * outdoor,
    )


def _path(folder: Path, split: ScanSplit, number: int) -> Path:
    return folder / f"{split.name}-{number:02}.npz"


def _numbered(arrays: Mapping[str, Array], name: str) -> tuple[Array, ...]:
    count = len(arrays[f"{name}-poses"])
    return tuple(arrays[f"{name}-{k}"] for k in range(count))


def _pose(matrix: Array) -> Pose:
    return Pose(matrix[:3, :3], matrix[:3, 3])
