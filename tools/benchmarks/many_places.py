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

"""LiDAR places by the ten thousands: those of a simulated drive, and places put together from scans of other towns.

Simulating a hundred thousand scans takes hours. A place is made of arcs of several scans of other towns, each turned,
moved nearer or farther and thinned, so that all of them differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.sources import PosedScan
from vloc_ros.simulation.lidar_drives import ON_CAR, LidarDrive, drive_with_lidar
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_world

SPACING_M, RINGS = 5.0, 16
_TOWN, _OTHER_TOWNS, _OTHER_SPACING_M = 98_301, (98_302, 98_303), 12.0
# of a place that is put together
_ARCS, _STRETCH, _KEPT, _NOISE_M = 4, (0.75, 1.3), (0.8, 1.0), 0.02
# far from the drive, in rows
_FIRST_M, _A_ROW, _ROW_M = 3000.0, 400, 20.0
_QUERY_SPACING_M, _HEIGHT_M = 3.7, 1.73


@dataclass(frozen=True, slots=True, eq=False)
class ManyPlaces:
    """Scans of places.

    Attributes:
        drive: simulated, through the town where queries are.
        others: (N, 3) scans of other towns, the points of each in the order of their azimuth.
    """

    drive: LidarDrive
    others: Sequence[Array] = ()

    @staticmethod
    def simulate(longest_m: float = np.inf, *, others: bool = True) -> ManyPlaces:
        """The drives, the way of each so long at most; without others, no more places than the drive's can be made."""
        drive = _drive(_TOWN, spacing_m=SPACING_M, longest_m=longest_m)
        towns = _OTHER_TOWNS if others else ()
        drives = [_drive(town, spacing_m=_OTHER_SPACING_M, longest_m=longest_m) for town in towns]
        scans = [one.scan(k) for one in drives for k in range(len(one))]
        return ManyPlaces(drive, [points[np.argsort(_azimuth(points))] for points in scans])

    def scans(self, count: int) -> list[PosedScan]:
        """So many places, the first of them those of the drive; a scan is made when it is read."""
        driven = [
            PosedScan(f"drive/{k:04d}", partial(self._load_driven, k), pose, k * 10**9)
            for k, pose in enumerate(self.drive.map_from_lidar[:count])
        ]
        made = [
            PosedScan(f"made/{k:06d}", partial(self._load_made, k), _place_made(k), k * 10**9)
            for k in range(len(driven), count)
        ]
        return [*driven, *made]

    def made(self, number: int) -> Array:
        """(N, 3) float32 a place put together; each number gives another one."""
        rng = np.random.default_rng([_TOWN, number])
        borders, parts = np.sort(rng.uniform(-np.pi, np.pi, _ARCS)), []
        widths = np.diff(borders, append=borders[0] + 2 * np.pi)
        for other, border, width in zip(rng.choice(len(self.others), _ARCS), borders, widths, strict=True):
            first = rng.uniform(-np.pi, np.pi)
            points = _cut_arc(self.others[other], first, width)
            points = points[rng.random(len(points)) < rng.uniform(*_KEPT)]
            turn = Pose.from_rotation_vector([0.0, 0.0, border - first], np.zeros(3)).rotation
            stretch = np.diag([*(rng.uniform(*_STRETCH),) * 2, 1.0])
            parts.append(points @ (stretch @ turn).T.astype(np.float32))
        points = np.concatenate(parts)
        return np.asarray(points + _NOISE_M * rng.standard_normal(points.shape, np.float32))

    def queries(self, count: int) -> list[tuple[Array, Pose]]:
        """Scans of another day at places of the drive, half of them in the opposite direction, with their poses."""
        world, found = with_other_cars(make_world("town", _TOWN), _TOWN + 1), []
        length_m = SPACING_M * (len(self.drive) - 1)
        for backwards in (False, True):
            drive = drive_with_lidar(
                world, spacing_m=_QUERY_SPACING_M, seed=_TOWN + 5 + backwards, backwards=backwards, longest_m=length_m
            )
            drive = replace(drive, pattern=replace(ON_CAR, rings=RINGS))
            for k in np.random.default_rng(_TOWN + backwards).choice(len(drive), count // 2, replace=False):
                found.append((drive.scan(int(k)), drive.map_from_lidar[k]))
        return found

    def _load_driven(self, number: int) -> PointCloud:
        return PointCloud(self.drive.scan(number))

    def _load_made(self, number: int) -> PointCloud:
        return PointCloud(self.made(number))


def _azimuth(points: Array) -> Array:
    return np.asarray(np.arctan2(points[:, 1], points[:, 0]))


def _cut_arc(points: Array, first: float, width: float) -> Array:
    """The points from an azimuth on, of (N, 3) in the order of theirs."""
    azimuth = _azimuth(points)
    start, last = np.searchsorted(azimuth, first), first + width
    if last <= np.pi:
        return points[start : np.searchsorted(azimuth, last)]
    return np.concatenate([points[start:], points[: np.searchsorted(azimuth, last - 2 * np.pi)]])


def _drive(town: int, *, spacing_m: float, longest_m: float) -> LidarDrive:
    drive = drive_with_lidar(make_world("town", town), spacing_m=spacing_m, seed=town, longest_m=longest_m)
    return replace(drive, pattern=replace(ON_CAR, rings=RINGS))


def _place_made(number: int) -> Pose:
    row, column = divmod(number, _A_ROW)
    position = np.array([_FIRST_M + SPACING_M * column, _ROW_M * row, _HEIGHT_M])
    return Pose(np.eye(3), position)
