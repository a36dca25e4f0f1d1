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

"""A lap of a robot or a drive of a car through the simulated world, as the frames of a new bag."""

from __future__ import annotations

from collections.abc import Sequence

import cv2

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.datasets.recordings import RecordingFrame, SourceRecording, space_stamps
from vloc_ros.simulation.driving import BASE_FROM_CAMERA, drive_route, plan_route, route_length
from vloc_ros.simulation.lighting import CLEAR_DAY, DAY, Lighting
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.trajectories import drive
from vloc_ros.simulation.world import make_world

_CAMERA = Camera("OPENCV", 640, 480, (525.0, 525.0, 322.0, 238.0, -0.12, 0.03, 0.0005, -0.0003))
_JPEG_QUALITY = 95


def record_simulated_lap(
    kind: str,
    *,
    frames: int,
    seed: int = 0,
    lap_seed: int = 0,
    camera: Camera | None = None,
    base_from_camera: Pose | None = None,
    rate_hz: float | None = None,
) -> SourceRecording:
    """A lap of a wheeled robot through a simulated world, or a drive of a car where it has roads.

    Args:
        kind: of the world: room, corridor, yard, apartment, street or town.
        frames: number of images.
        seed: of the world.
        lap_seed: of the path.
        camera: its calibration; None takes one of 640x480 pixels.
        base_from_camera: its extrinsics; None takes those of the simulated robot or car.
        rate_hz: images per second; None is 10 Hz.

    Raises:
        InputError: the kind of world is unknown, or there are too few frames.
    """
    world = make_world(kind, seed)
    camera = camera or _CAMERA
    if world.roads:
        map_from_base, mounted, lighting = *_drive_car(world, frames, lap_seed), CLEAR_DAY
    else:
        lap = drive(world, frames, lap_seed)
        map_from_base, mounted, lighting = lap.map_from_base, lap.base_from_camera, DAY
    base_from_camera = base_from_camera or mounted
    recorded = [
        _frame_of_world(world, camera, lighting, index, int(stamp), pose @ base_from_camera)
        for index, (stamp, pose) in enumerate(zip(space_stamps(frames, rate_hz), map_from_base, strict=True))
    ]
    return SourceRecording(camera, base_from_camera, recorded)


def _drive_car(world: World, frames: int, seed: int) -> tuple[Sequence[Pose], Pose]:
    """map_from_base of so many frames along the roads, and the extrinsics."""
    route = plan_route(world)
    spacing_m = route_length(route) / max(frames, 1)
    cameras = drive_route(world, route, spacing_m=spacing_m, seed=seed)[:frames]
    return [pose @ BASE_FROM_CAMERA.inverse() for pose in cameras], BASE_FROM_CAMERA


def _frame_of_world(
    world: World, camera: Camera, lighting: Lighting, index: int, stamp_ns: int, map_from_camera: Pose
) -> RecordingFrame:
    def pixels() -> Array:
        return render(world, camera, map_from_camera, lighting=lighting, seed=index)

    def encoded() -> bytes:
        done, data = cv2.imencode(".jpg", pixels(), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        assert done
        return bytes(data)

    return RecordingFrame(f"frame {index} of {world.name}", stamp_ns, map_from_camera, pixels, encoded)
