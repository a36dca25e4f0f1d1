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

"""Recorded hypotheses of moving cameras: the drives of every world in its own map, and those of other places in it.

What is found for a map is kept with the constants that it depends on; kept hypotheses of other constants are refused.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from training.acceptance import kept_hypotheses
from training.acceptance.camera_worlds import (
    REACH_M,
    CameraDrive,
    CameraSplit,
    CameraWorld,
    constants_of_clouds,
    context_of,
    quality_of,
    simulate,
)
from training.acceptance.evidence_table import FOREIGN
from training.acceptance.kept_arrays import check_constants, list_constants
from training.acceptance.kept_hypotheses import RecordedDrive, load_drives, save_drives
from vloc_ros.assembly import build_camera_cloud_search
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization import (
    camera_cloud_alignment,
    camera_cloud_covariance,
    camera_cloud_evidence,
    camera_cloud_lattice,
    camera_cloud_search,
    camera_drive_following,
    occupancy_grid,
)
from vloc_ros.core.localization.acceptance import CAMERA_KIND, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.camera_cloud_evidence import CAMERA_EVIDENCE
from vloc_ros.core.localization.camera_cloud_search import CameraCloudSearch
from vloc_ros.core.localization.camera_drive_following import DriveCloud, DriveFollower
from vloc_ros.core.sources import PosedScan
from vloc_ros.mapping.maps.lidar_places import make_lidar_map

_RIGHT_VOXELS, _RIGHT_RAD, _WRONG_VOXELS, _WRONG_RAD = 2.5, np.radians(5.0), 5.0, np.radians(10.0)
# raise it where what is kept changes its meaning, though no constant does
_MEANING = 2
_NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))


def constants_of_hypotheses() -> dict[str, str]:
    """Constants that the kept hypotheses depend on, by their names."""
    return constants_of_clouds() | list_constants(
        camera_cloud_alignment,
        camera_cloud_covariance,
        camera_cloud_evidence,
        camera_cloud_lattice,
        camera_cloud_search,
        camera_drive_following,
        occupancy_grid,
        kept_hypotheses,
        sys.modules[__name__],
    )


def collect(folder: Path, split: CameraSplit, *, maps: int, others: int) -> list[RecordedDrive]:
    """Simulate and search what has not been yet, and load what was found.

    Args:
        folder: where it is kept.
        split: of the worlds.
        maps: so many of the split's are searched at most, streets and rooms in turns.
        others: for the drives of so many other worlds each at most.

    Raises:
        VlocError: some was kept with other constants.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recorded = list[RecordedDrive]()
    for number in take_turns(split)[:maps]:
        for other in (number, *next_alike(split, number)[:others]):
            for world in (number, other):
                simulate(folder, split, world)
            search_map(folder, split, number, other)
            drives = list(drives_of(folder, split, number, other))
            path, voxel_m = found_path(folder, split, number, other), context_of(split, number).voxel_m
            recorded += load_drives(path, drives, world=other, map_number=number, voxel_m=voxel_m)
    return recorded


def take_turns(split: CameraSplit) -> list[int]:
    """The numbers of a split's worlds, streets and others in turns."""
    return sorted(split.numbers, key=lambda number: number - (0 if split.is_outdoors(number) else split.outdoors - 0.5))


def next_alike(split: CameraSplit, number: int) -> list[int]:
    """The worlds alike another one, the next first."""
    return sorted(split.alike(number), key=lambda other: (other - number) % len(split.numbers))


def label_pose(found: Pose, truth: Pose | None, *, voxel_m: float) -> int:
    """1 right, 0 wrong, -1 between; wrong where the camera is at another place."""
    if truth is None:
        return 0
    distance_m, angle_rad = found.distance_to(truth)
    if distance_m <= _RIGHT_VOXELS * voxel_m and angle_rad <= _RIGHT_RAD:
        return 1
    return 0 if distance_m > _WRONG_VOXELS * voxel_m or angle_rad > _WRONG_RAD else -1


def drives_of(folder: Path, split: CameraSplit, number: int, other: int) -> Iterator[tuple[int, CameraDrive]]:
    """Kind and drive of a world that a map is searched for: all of them, which in other maps are of another place."""
    for one in CameraWorld.load(folder, split, other).drives:
        yield one.kind if number == other else FOREIGN, one


def make_search(world: CameraWorld, split: CameraSplit, number: int) -> CameraCloudSearch:
    """A search in the map of a world."""
    posed = [
        PosedScan(f"{k:06d}", partial(PointCloud, points), pose)
        for k, (points, pose) in enumerate(zip(world.scans, world.map_from_scan, strict=True))
    ]
    landmark_map = make_lidar_map(
        posed,
        name=f"{split.name}-{number}",
        spacing_m=0.9 * quality_of(split, number).place_m,
        context=context_of(split, number),
    )
    terms = {name: _NOTHING for name in CAMERA_EVIDENCE if name != "margin"}
    nothing = AcceptanceModel("none", 0.0, terms, _NOTHING, 0, np.zeros(1), np.full(1, np.inf), 0, CAMERA_KIND)
    return build_camera_cloud_search(
        LocalizerConfig(), landmark_map, acceptance=nothing, calibration=CovarianceCalibration()
    )[0]


def search_map(folder: Path, split: CameraSplit, number: int, other: int) -> None:
    """Search a map for the drives of a world, and keep what is found; what is kept already stays.

    Raises:
        VlocError: it was kept with other constants.
    """
    path = found_path(folder, split, number, other)
    if path.exists():
        check_constants(path, constants_of_hypotheses())
        return
    search = make_search(CameraWorld.load(folder, split, number), split, number)
    follower, reach_m, kept = DriveFollower(search), REACH_M[split.is_outdoors(number)], []
    for _, drive in drives_of(folder, split, number, other):
        clouds = [
            DriveCloud(cloud, odom, search.find(cloud, odom.rotation, reach_m=reach_m))
            for cloud, odom in zip(drive.clouds, drive.odom_from_camera, strict=True)
        ]
        # as on a robot: the clouds so far
        drives = [follower.find(clouds[:count]) for count in range(2, len(clouds) + 1)]
        kept.append(([one.found for one in clouds], drives))
    save_drives(path, kept, constants_of_hypotheses())


def found_path(folder: Path, split: CameraSplit, number: int, other: int) -> Path:
    """Of what the search of a map found for the drives of a world."""
    return folder / f"{split.name}-{number:02}-by-{other:02}-found.npz"
