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
from collections.abc import Sequence
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
from training.acceptance.evidence_table import ALIASED, FOREIGN, OWN
from training.acceptance.kept_arrays import check_constants, list_constants
from training.acceptance.kept_hypotheses import Clouds, Drives, RecordedDrive, load_drives, save_drives
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
    camera_errors,
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
_MEANING = 3
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
        camera_errors,
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
    mapped = take_turns(split)[:maps]
    for number in mapped:
        visiting = [number, *[other for other in split.others(number) if other in mapped][:others]]
        for world in visiting:
            simulate(folder, split, world)
        search_map(folder, split, number, visiting)
        for world in visiting:
            drives = CameraWorld.load(folder, split, world).drives
            path, kind = found_path(folder, split, number, world), kind_of(split, number, world)
            recorded += load_drives(
                path, drives, kind=kind, world=world, map_number=number, voxel_m=context_of(split, number).voxel_m
            )
    return recorded


def take_turns(split: CameraSplit) -> list[int]:
    """The numbers of a split's worlds, streets and others in turns."""
    return sorted(split.numbers, key=lambda number: number - (0 if split.is_outdoors(number) else split.outdoors - 0.5))


def kind_of(split: CameraSplit, number: int, world: int) -> int:
    """Of the queries of a world in a map: a world of the map's kind looks like it, no surface of it being the same."""
    if number == world:
        return OWN
    return ALIASED if split.kind(number) == split.kind(world) else FOREIGN


def label_pose(found: Pose, truth: Pose | None, *, voxel_m: float) -> int:
    """1 right, 0 wrong, -1 between; wrong where the camera is at another place."""
    if truth is None:
        return 0
    distance_m, angle_rad = found.distance_to(truth)
    if distance_m <= _RIGHT_VOXELS * voxel_m and angle_rad <= _RIGHT_RAD:
        return 1
    return 0 if distance_m > _WRONG_VOXELS * voxel_m or angle_rad > _WRONG_RAD else -1


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


def search_map(folder: Path, split: CameraSplit, number: int, worlds: Sequence[int]) -> None:
    """Search a map for the drives of some worlds, and keep what is found; what is kept already stays.

    Raises:
        VlocError: it was kept with other constants.
    """
    paths = {world: found_path(folder, split, number, world) for world in worlds}
    for path in paths.values():
        if path.exists():
            check_constants(path, constants_of_hypotheses())
    missing = [world for world in worlds if not paths[world].exists()]
    if not missing:
        return
    search = make_search(CameraWorld.load(folder, split, number), split, number)
    for world in missing:
        drives, reach_m = CameraWorld.load(folder, split, world).drives, REACH_M[split.is_outdoors(number)]
        kept = [_search_drive(search, drive, reach_m) for drive in drives]
        save_drives(paths[world], kept, constants_of_hypotheses())


def _search_drive(search: CameraCloudSearch, drive: CameraDrive, reach_m: float) -> tuple[Clouds, Drives]:
    clouds = [
        DriveCloud(cloud, odom, search.find(cloud, odom.rotation, reach_m=reach_m))
        for cloud, odom in zip(drive.clouds, drive.odom_from_camera, strict=True)
    ]
    follower = DriveFollower(search)
    # as on a robot: the clouds so far
    return [one.found for one in clouds], [follower.find(clouds[:count]) for count in range(2, len(clouds) + 1)]


def found_path(folder: Path, split: CameraSplit, number: int, other: int) -> Path:
    """Of what the search of a map found for the drives of a world."""
    return folder / f"{split.name}-{number:02}-by-{other:02}-found.npz"
