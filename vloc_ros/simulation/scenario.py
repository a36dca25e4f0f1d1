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

"""A simulated scenario in one call: a world, a camera, a lap for the map and a lap of queries."""

from __future__ import annotations

from dataclasses import dataclass

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.lighting import DAY, Lighting
from vloc_ros.simulation.render import render
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.trajectories import make_stamps, walk
from vloc_ros.simulation.world import make_aliased_world, make_world

DEFAULT_CAMERA = Camera("OPENCV", 640, 480, (525.0, 525.0, 320.0, 240.0, -0.03, 0.01, 0.0, 0.0))
_RATE_HZ = 5.0
_LAP_GAP_NS = 60_000_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Lap:
    """Images along a walk, rendered on demand.

    Attributes:
        world: the place.
        camera: the camera of all images.
        lighting: the light and the sensor.
        map_from_camera: N true poses.
        stamps_ns: (N,) int64 nanoseconds.
        seed: seed of the sensor; each frame derives its own from it.
    """

    world: World
    camera: Camera
    lighting: Lighting
    map_from_camera: tuple[Pose, ...]
    stamps_ns: Array
    seed: int

    def __len__(self) -> int:
        return len(self.map_from_camera)

    def name(self, index: int) -> str:
        """File name of a frame. Names sort in the order of the walk."""
        return f"frame-{index:06d}.png"

    def image(self, index: int) -> Array:
        """Render a frame, (H, W, 3) uint8 BGR."""
        pose = self.map_from_camera[index]
        return render(self.world, self.camera, pose, lighting=self.lighting, seed=100_003 * self.seed + index)


@dataclass(frozen=True, slots=True, eq=False)
class Scenario:
    """A lap to build a map from, and another lap of the same world to localize."""

    map_lap: Lap
    query_lap: Lap


def make_scenario(
    kind: str,
    seed: int,
    *,
    map_frames: int = 100,
    query_frames: int = 40,
    camera: Camera = DEFAULT_CAMERA,
    query_lighting: Lighting = DAY,
) -> Scenario:
    """A world with a map lap by day, and a query lap along another path and in `query_lighting`."""
    world = make_world(kind, seed)
    map_lap = make_lap(world, map_frames, 2 * seed, camera=camera)
    start_ns = int(map_lap.stamps_ns[-1]) + _LAP_GAP_NS
    query_lap = make_lap(world, query_frames, 2 * seed + 1, camera=camera, lighting=query_lighting, start_ns=start_ns)
    return Scenario(map_lap, query_lap)


def make_aliased_lap(world: World, frames: int, seed: int, *, camera: Camera = DEFAULT_CAMERA) -> Lap:
    """A lap of another world that looks like `world` (perceptual aliasing): every pose accepted in its map is false."""
    return make_lap(make_aliased_world(world, seed), frames, seed, camera=camera)


def make_lap(
    world: World,
    frames: int,
    seed: int,
    *,
    camera: Camera = DEFAULT_CAMERA,
    lighting: Lighting = DAY,
    start_ns: int = 1_000_000_000,
) -> Lap:
    """One lap of a world."""
    poses = tuple(walk(world, frames, seed))
    return Lap(world, camera, lighting, poses, make_stamps(frames, rate_hz=_RATE_HZ, start_ns=start_ns), seed)
