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

"""Cars and people that move through a world, along the way of a camera or of a LiDAR, beside it or against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.simulation.furniture import make_box
from vloc_ros.simulation.scene import Rectangle, Vector
from vloc_ros.simulation.textures import Texture

_CAR, _VAN, _PERSON = (4.2, 1.75, 1.45), (5.5, 2.0, 2.3), (0.3, 0.5, 1.7)
# lengths and speeds that are drawn, metres and metres a second
_AHEAD_M, _ONCOMING_M, _ON_FOOT_M = (7.0, 25.0), (10.0, 110.0), (1.5, 7.0)
_ONCOMING_M_S, _WALK_M_S = (5.0, 14.0), (-1.4, 1.4)
_OTHER_LANE_M, _PAVEMENT_M, _BESIDE_M = 2.2, (2.5, 5.0), (-1.0, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class MovingObject:
    """A box that moves along a path.

    Attributes:
        start_m: where it is on the path at first, from the path's beginning.
        speed_m_s: along the path; negative against it.
        left_m: how far it keeps to the left of the path.
        size: along its way, across, and its height, metres.
        textures: of its sides, of its front and back, and of its top.
    """

    start_m: float
    speed_m_s: float
    left_m: float
    size: Vector
    textures: tuple[Texture, Texture, Texture]


def draw_moving_objects(
    rng: np.random.Generator, count: int, *, outdoors: bool, at_m: float, speed_m_s: float
) -> list[MovingObject]:
    """Cars and people of a street, or people of a room, near a sensor that moves along the same path.

    Args:
        rng: of the draw.
        count: of objects.
        outdoors: whether cars drive there.
        at_m: where the sensor is at first, from the path's beginning.
        speed_m_s: of the sensor.
    """
    return [_draw(rng, outdoors=outdoors, at_m=at_m, speed_m_s=speed_m_s) for _ in range(count)]


def place_moving_objects(objects: Sequence[MovingObject], path: Array, *, time_s: float) -> list[Rectangle]:
    """The surfaces of the objects after some time; those that have left the path are gone.

    Args:
        objects: some.
        path: (N, 2) positions, no two in a row equal.
        time_s: since the start.
    """
    travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    surfaces = list[Rectangle]()
    for one in objects:
        at = one.start_m + one.speed_m_s * time_s
        if not 0.0 <= at < travelled[-1]:
            continue
        leg = int(np.clip(np.searchsorted(travelled, at, side="right") - 1, 0, len(path) - 2))
        along = (path[leg + 1] - path[leg]) / (travelled[leg + 1] - travelled[leg])
        x, y = path[leg] + (at - travelled[leg]) * along + one.left_m * np.array([-along[1], along[0]])
        surfaces += make_box((float(x), float(y), 0.05), one.size, float(np.arctan2(along[1], along[0])), one.textures)
    return surfaces


def path_of(poses: Sequence[Pose]) -> Array:
    """(N, 2) positions of some poses, those left out that are where the one before is."""
    positions = np.array([pose.translation[:2] for pose in poses])
    moved = np.linalg.norm(np.diff(positions, axis=0), axis=1) > 1e-6
    return positions[np.concatenate([[True], moved])]


def _draw(rng: np.random.Generator, *, outdoors: bool, at_m: float, speed_m_s: float) -> MovingObject:
    kind = rng.random()
    if not outdoors:
        start_m, left_m = at_m + rng.uniform(*_ON_FOOT_M), rng.uniform(*_BESIDE_M)
        return _make(rng, _PERSON, "print", start_m, rng.uniform(*_WALK_M_S), left_m)
    if kind < 0.3:
        start_m = at_m + rng.uniform(*_AHEAD_M)
        return _make(rng, _VAN if rng.random() < 0.3 else _CAR, "car", start_m, speed_m_s + rng.normal(), 0.0)
    if kind < 0.7:
        start_m = at_m + rng.uniform(*_ONCOMING_M)
        return _make(rng, _CAR, "car", start_m, -rng.uniform(*_ONCOMING_M_S), _OTHER_LANE_M)
    start_m, left_m = at_m + rng.uniform(*_AHEAD_M), rng.choice([-1.0, 1.0]) * rng.uniform(*_PAVEMENT_M)
    return _make(rng, _PERSON, "print", start_m, rng.uniform(*_WALK_M_S), left_m)


def _make(
    rng: np.random.Generator, size: Vector, pattern: str, start_m: float, speed_m_s: float, left_m: float
) -> MovingObject:
    length, width, height = size
    seed = int(rng.integers(2**31))
    sides = ((length, height), (width, height), (length, width))
    side, end, top = (Texture(pattern, 0, seed, *of, 90.0) for of in sides)
    return MovingObject(float(start_m), float(speed_m_s), float(left_m), size, (side, end, top))
