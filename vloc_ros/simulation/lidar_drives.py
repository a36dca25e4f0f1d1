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

"""Drives and walks of a LiDAR through worlds: scans with exact poses, for maps and for queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.driving import BASE_FROM_CAMERA, drive_route, plan_route
from vloc_ros.simulation.lidar import Spinning, scan_points
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.trajectories import walk

# above the base of a car, and of a robot
_ON_CAR_M, _ON_ROBOT_M = 1.73, 0.9
ON_CAR, ON_ROBOT = Spinning(32, -0.43, 0.18, 900), Spinning(16, -0.26, 0.26, 900)


@dataclass(frozen=True, slots=True, eq=False)
class LidarDrive:
    """Poses of a LiDAR in a world.

    Attributes:
        world: the surfaces.
        pattern: of the beams.
        map_from_lidar: N poses, x forward, y left, z up.
        seed: of the noise.
    """

    world: World
    pattern: Spinning
    map_from_lidar: tuple[Pose, ...]
    seed: int

    def __len__(self) -> int:
        return len(self.map_from_lidar)

    def scan(self, number: int, *, every_ring: int = 1) -> Array:
        """(N, 3) float32 points of a scan, in its own frame; with fewer rings where not every one is there."""
        pattern = self.pattern
        if every_ring > 1:
            pattern = Spinning(pattern.rings // every_ring, pattern.lowest_rad, pattern.highest_rad, pattern.columns)
        return scan_points(self.world, self.map_from_lidar[number], pattern, seed=self.seed, scan=number)


def drive_with_lidar(
    world: World, *, spacing_m: float, seed: int, backwards: bool = False, longest_m: float = np.inf
) -> LidarDrive:
    """A drive through the streets of a world, or a walk through its rooms.

    Args:
        world: with roads, or floors.
        spacing_m: from scan to scan of a drive; a walk has longest_m / spacing_m scans on its lap, 60 at most.
        seed: of the way, and of the noise.
        backwards: the route is driven in the opposite direction, in the other lane.
        longest_m: where the drive ends, along the route; backwards, where it begins; of a walk see spacing_m.
    """
    if not world.roads:
        return _walk_with_lidar(world, spacing_m=spacing_m, seed=seed, longest_m=longest_m)
    route: Sequence[tuple[float, float]] = plan_route(world)
    poses = drive_route(world, route[::-1] if backwards else route, spacing_m=spacing_m, seed=seed)
    count = int(min(len(poses), longest_m / spacing_m + 1))
    up = Pose(np.eye(3), np.array([0.0, 0.0, _ON_CAR_M]))
    some = poses[-count:] if backwards else poses[:count]
    return LidarDrive(world, ON_CAR, tuple(pose @ BASE_FROM_CAMERA.inverse() @ up for pose in some), seed)


def _walk_with_lidar(world: World, *, spacing_m: float, seed: int, longest_m: float) -> LidarDrive:
    """A walk of a robot that keeps its LiDAR level and turns with the camera's view."""
    frames = int(np.clip(longest_m / spacing_m, 2, 60))
    poses = []
    for camera in walk(world, frames, seed=seed):
        ahead = camera.rotation[:, 2]
        yaw = float(np.arctan2(ahead[1], ahead[0]))
        place = np.array([*camera.translation[:2], _ON_ROBOT_M])
        poses.append(Pose.from_rotation_vector([0.0, 0.0, yaw], place))
    return LidarDrive(world, ON_ROBOT, tuple(poses), seed)
