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

"""Drives of cameras in simulated worlds, each of several clouds, and scans for maps of these worlds.

They are what the acceptance of such clouds, and of such drives, is fitted to.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path

import numpy as np

from training.acceptance import recording_quality
from training.acceptance.kept_arrays import check_constants, list_constants, save_with_constants
from training.acceptance.recording_quality import MapQuality, draw_camera_quality, draw_map_quality
from training.acceptance.rough_recordings import RoughRecording, scan_roughly
from vloc_ros.core.clouds import motion_stereo
from vloc_ros.core.clouds.motion_stereo import CameraCloud, MotionStereo, MovingView
from vloc_ros.core.clouds.scan_context import ScanContext
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation import lidar_noise
from vloc_ros.simulation.driving import drive_route, plan_route
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.trajectories import walk
from vloc_ros.simulation.world import make_world

CONDITIONS = ("street, same direction", "street, opposite direction", "indoors")
SAME_DIRECTION, OPPOSITE_DIRECTION, INDOORS = range(len(CONDITIONS))
_OUTDOOR, _INDOOR = ("town", "street"), ("room", "apartment", "corridor", "apartment", "yard")
# of a map, by whether it is of streets: how far it is driven, how far scans reach, and how far from the places a camera
# is searched for
_LONGEST_M, _RANGE_M = {True: 120.0, False: 25.0}, {True: 40.0, False: 10.0}
REACH_M = {True: 6.0, False: 1.0}
# clouds of a drive, and how far apart they are, in ways of which each is made: they share no images
CLOUDS, _APART = 4, (1.25, 1.9)
# on a robot the camera is somewhat below or above the LiDAR
_HEIGHT_M = (0.65, 1.1)
_CAMERAS = {
    True: (Camera("PINHOLE", 620, 200, (360.0, 360.0, 310.0, 90.0)),
           Camera("PINHOLE", 480, 320, (390.0, 390.0, 240.0, 160.0))),
    False: (Camera("PINHOLE", 480, 360, (390.0, 390.0, 240.0, 180.0)),
            Camera("PINHOLE", 512, 320, (320.0, 320.0, 256.0, 160.0))),
}  # fmt: skip
_SPACING_M = {True: (0.7, 1.2), False: (0.08, 0.12)}
_LEAST_POINTS, _TRIES, _LAP_FRAMES = 300, 4, 200


@dataclass(frozen=True, slots=True)
class CameraSplit:
    """Worlds of one purpose, by their numbers; their seeds follow that of the split.

    Attributes:
        name: of the purpose.
        seed: of the split.
        outdoors: number of worlds with streets; they come first.
        indoors: number of the others.
        drives: of each world; in the maps of other worlds they are negatives.
    """

    name: str
    seed: int
    outdoors: int
    indoors: int
    drives: int = 3

    @property
    def numbers(self) -> range:
        """Of all worlds."""
        return range(self.outdoors + self.indoors)

    def is_outdoors(self, number: int) -> bool:
        """Whether a world has streets."""
        return number < self.outdoors

    def kind(self, number: int) -> str:
        """Of a world."""
        if self.is_outdoors(number):
            return _OUTDOOR[number % len(_OUTDOOR)]
        return _INDOOR[(number - self.outdoors) % len(_INDOOR)]

    def others(self, number: int) -> list[int]:
        """The other worlds on the same side of the door, those of the same kind and of another one in turns."""
        count, found = len(self.numbers), list[list[int]]([[], []])
        for other in sorted(self.numbers, key=lambda other: (other - number) % count):
            if other != number and self.is_outdoors(other) == self.is_outdoors(number):
                found[self.kind(other) != self.kind(number)].append(other)
        pairs = zip_longest(*found)
        return [other for pair in pairs for other in pair if other is not None]


SPLITS = {
    one.name: one
    for one in (
        CameraSplit("fit", 172000, 6, 10),
        CameraSplit("choose", 182000, 8, 15),
        CameraSplit("report", 202000, 6, 10),
    )
}


@dataclass(frozen=True, slots=True, eq=False)
class CameraDrive:
    """The clouds of one drive of a camera.

    Attributes:
        condition: number in `CONDITIONS`.
        clouds: in the optical frames.
        odom_from_camera: of each, by odometry.
        map_from_camera: the true poses.
    """

    condition: int
    clouds: tuple[CameraCloud, ...]
    odom_from_camera: tuple[Pose, ...]
    map_from_camera: tuple[Pose, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CameraWorld:
    """The scans and the camera's drives of one world.

    Attributes:
        scans: of the map, each (N, 3) float32.
        map_from_scan: their poses.
        drives: in it.
    """

    scans: tuple[Array, ...]
    map_from_scan: tuple[Pose, ...]
    drives: tuple[CameraDrive, ...]

    @staticmethod
    def load(folder: Path, split: CameraSplit, number: int) -> CameraWorld:
        """That which `simulate` stored.

        Raises:
            VlocError: it was made with other constants.
        """
        check_constants(_path(folder, split, number), constants_of_clouds())
        with np.load(_path(folder, split, number)) as arrays:
            drives = [
                CameraDrive(
                    int(condition),
                    tuple(_cloud(arrays[f"drive-{k}-{cloud}"]) for cloud in range(len(arrays[f"truth-{k}"]))),
                    tuple(map(_pose, arrays[f"odometry-{k}"])),
                    tuple(map(_pose, arrays[f"truth-{k}"])),
                )
                for k, condition in enumerate(arrays["conditions"])
            ]
            poses = tuple(_pose(matrix) for matrix in arrays["map-poses"])
            return CameraWorld(tuple(arrays[f"map-{k}"] for k in range(len(poses))), poses, tuple(drives))


def quality_of(split: CameraSplit, number: int) -> MapQuality:
    """Of the scans of a world's map."""
    return draw_map_quality(np.random.default_rng([split.seed + number, 23]), outdoors=split.is_outdoors(number))


def context_of(split: CameraSplit, number: int) -> ScanContext:
    """How far the places of a world's map reach: clouds made for one map fit those of all worlds alike."""
    return ScanContext(_RANGE_M[split.is_outdoors(number)])


def constants_of_clouds() -> dict[str, str]:
    """Constants that the stored scans and clouds depend on, by their names."""
    return list_constants(motion_stereo, lidar_noise, recording_quality, sys.modules[__name__])


def simulate(folder: Path, split: CameraSplit, number: int) -> None:
    """Scan a world for its map, move a camera in it, and store scans and clouds.

    Raises:
        VlocError: they are stored already, and were made with other constants.
    """
    path = _path(folder, split, number)
    if path.exists():
        check_constants(path, constants_of_clouds())
        return
    scans, poses = scan_roughly(
        _world(split, number),
        quality_of(split, number),
        seed=split.seed + number,
        longest_m=_LONGEST_M[split.is_outdoors(number)],
        range_m=_RANGE_M[split.is_outdoors(number)],
    )
    arrays = {f"map-{k}": points for k, points in enumerate(scans)}
    arrays["map-poses"] = np.array([pose.matrix for pose in poses])
    drives = list(_drives(split, number))
    for k, one in enumerate(drives):
        for j, cloud in enumerate(one.clouds):
            rows = np.column_stack([cloud.points, cloud.stds_m, cloud.rays, cloud.centres]).astype(np.float32)
            arrays[f"drive-{k}-{j}"] = rows
        arrays[f"odometry-{k}"] = np.array([pose.matrix for pose in one.odom_from_camera])
        arrays[f"truth-{k}"] = np.array([pose.matrix for pose in one.map_from_camera])
    arrays["conditions"] = np.array([one.condition for one in drives], int)
    save_with_constants(path, constants_of_clouds(), arrays)


@lru_cache(maxsize=2)
def _world(split: CameraSplit, number: int) -> World:
    return make_world(split.kind(number), split.seed + number)


def _drives(split: CameraSplit, number: int) -> Iterator[CameraDrive]:
    world, seed, outdoors = _world(split, number), split.seed + number + 500, split.is_outdoors(number)
    today = with_other_cars(world, seed) if outdoors else world
    for k in range(split.drives):
        condition = (SAME_DIRECTION, OPPOSITE_DIRECTION)[k % 2] if outdoors else INDOORS
        yield from _drive(today, seed + 51 * k, condition)


def _drive(world: World, seed: int, condition: int) -> Iterator[CameraDrive]:
    """A drive with odometry that drifts, if enough of it is seen."""
    rng, outdoors = np.random.default_rng([seed, condition]), bool(world.roads)
    step_m, camera = rng.uniform(*_SPACING_M[outdoors]), _CAMERAS[outdoors][seed % 2]
    poses = _way(world, step_m, seed, backwards=condition == OPPOSITE_DIRECTION)
    stereo = MotionStereo.of_voxels(_RANGE_M[outdoors] / 100.0)
    window = int(np.ceil((stereo.path_m + 2 * stereo.baseline_m) / step_m)) + 1
    apart = max(window + 1, round(rng.uniform(*_APART) * stereo.path_m / step_m))
    length = window + (CLOUDS - 1) * apart
    if length >= len(poses):
        return
    recording = RoughRecording(world, camera, poses, step_m, draw_camera_quality(rng, outdoors=outdoors), seed)
    for _ in range(_TRIES):
        first = int(rng.integers(0, len(poses) - length))
        last = [first + window + k * apart for k in range(CLOUDS)]
        odometry = recording.simulate_odometry(first, last[-1])
        calibrated = recording.quality.calibrate(camera)
        clouds = list[CameraCloud]()
        for end in last:
            used = range(end - window, end + 1)
            clouds.append(
                stereo.reconstruct([MovingView(recording.image(k), odometry[k - first]) for k in used], calibrated)
            )
            if len(clouds[-1]) < _LEAST_POINTS:
                break
        else:
            of_clouds = tuple(odometry[end - first] for end in last)
            yield CameraDrive(condition, tuple(clouds), of_clouds, tuple(poses[end] for end in last))
            return


def _way(world: World, step_m: float, seed: int, *, backwards: bool) -> list[Pose]:
    """Poses of the camera where the map has been driven: of a street the first part, of rooms a lap."""
    if world.roads:
        route = plan_route(world)
        poses = drive_route(world, route[::-1] if backwards else route, spacing_m=step_m, seed=seed)
        count = int(_LONGEST_M[True] / step_m)
        return poses[-count:] if backwards else poses[:count]
    height_m = float(np.random.default_rng([seed, 17]).uniform(*_HEIGHT_M))
    lap = np.array([pose.translation for pose in walk(world, _LAP_FRAMES, seed, height_m=height_m)])
    length_m = float(np.linalg.norm(np.diff(lap, axis=0), axis=1).sum())
    return walk(world, int(length_m / step_m), seed, height_m=height_m)


def _cloud(rows: Array) -> CameraCloud:
    values = rows.astype(float)
    return CameraCloud(values[:, :3], values[:, 3], values[:, 4:7], values[:, 7:])


def _pose(matrix: Array) -> Pose:
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    return Pose(u @ vt, matrix[:3, 3])


def _path(folder: Path, split: CameraSplit, number: int) -> Path:
    return folder / f"{split.name}-{number:02}.npz"
