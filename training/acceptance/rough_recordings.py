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

"""Scans of a map and drives of a camera as rough as their quality says, in simulated worlds."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from training.acceptance.recording_quality import CameraQuality, MapQuality
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.changes import with_other_things
from vloc_ros.simulation.lidar import scan_world
from vloc_ros.simulation.lidar_drives import drive_with_lidar
from vloc_ros.simulation.lidar_noise import degrade_scan, without_glass
from vloc_ros.simulation.moving_objects import MovingObject, draw_moving_objects, path_of, place_moving_objects
from vloc_ros.simulation.odometry import shift_clock, simulate_camera_odometry
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World


def scan_roughly(
    world: World, quality: MapQuality, *, seed: int, longest_m: float, range_m: float
) -> tuple[list[Array], list[Pose]]:
    """Scans of a world on another day, (N, 3) float32 each, and their poses as they were registered.

    Args:
        world: that is mapped.
        quality: of the scans.
        seed: of the drive and its errors.
        longest_m: see `drive_with_lidar`.
        range_m: how far the map's places reach; the sensor sees somewhat further.
    """
    drive = drive_with_lidar(world, spacing_m=quality.place_m, seed=seed, longest_m=longest_m)
    path, rng = path_of(drive.map_from_lidar), np.random.default_rng([seed, 29])
    changed = with_other_things(world, path, quality.changed, seed=seed)
    changed = without_glass(changed) if quality.glass else changed
    scans, poses = list[Array](), list[Pose]()
    for k, pose in enumerate(drive.map_from_lidar):
        of_scan = draw_moving_objects(
            rng,
            quality.moving,
            outdoors=bool(world.roads),
            at_m=k * quality.place_m,
            speed_m_s=float(rng.uniform(1.0, 10.0)),
        )
        surfaces = (*changed.rectangles, *place_moving_objects(of_scan, path, time_s=0.0))
        scan = scan_world(
            replace(changed, rectangles=surfaces),
            pose,
            quality.pattern,
            seed=seed,
            scan=k,
            range_m=range_m + 10.0,
            noise_m=0.0,
        )
        scans.append(degrade_scan(scan, quality.errors, range_m=range_m, rng=rng))
        off = [quality.posed_rad * rng.standard_normal(3), quality.posed_m * rng.standard_normal(3)]
        poses.append(pose @ Pose.from_rotation_vector(*off))
    return scans, poses


class RoughRecording:
    """Images and odometry of a drive, as rough as its quality says.

    Attributes:
        quality: of the drive.
    """

    def __init__(
        self, world: World, camera: Camera, poses: list[Pose], step_m: float, quality: CameraQuality, seed: int
    ) -> None:
        """A drive.

        Args:
            world: that it is in.
            camera: that takes the images.
            poses: map_from_camera of each image.
            step_m: from image to image.
            quality: of the drive.
            seed: of what is drawn.
        """
        self.quality, self._camera, self._poses, self._step_m, self._seed = quality, camera, poses, step_m, seed
        self._path, self._moving = path_of(poses), list[MovingObject]()
        self._world = with_other_things(world, self._path, quality.changed, seed=seed)
        self._first = 0

    def simulate_odometry(self, first: int, last: int) -> list[Pose]:
        """Of some images, and of the one after them where there is one; cars and people start then."""
        self._first, quality = first, self.quality
        self._moving = draw_moving_objects(
            np.random.default_rng([self._seed, first, 31]),
            quality.moving,
            outdoors=bool(self._world.roads),
            at_m=first * self._step_m,
            speed_m_s=quality.speed_m_s,
        )
        drifted = simulate_camera_odometry(self._poses[first : last + 2], 1000 * self._seed, drift=quality.drift)
        late = shift_clock(drifted, quality.clock_s * quality.speed_m_s / self._step_m)
        return [pose @ quality.odometry_from_true for pose in late]

    def image(self, number: int) -> Array:
        """(H, W) uint8 grey image of a pose."""
        time_s = (number - self._first) * self._step_m / self.quality.speed_m_s
        surfaces = tuple(place_moving_objects(self._moving, self._path, time_s=time_s))
        image = render(
            self._world,
            self._camera,
            self._poses[number],
            lighting=self.quality.lighting,
            seed=10_000 * self._seed + number,
            moving=replace(self._world, rectangles=surfaces),
        )
        return self.quality.compress(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))
