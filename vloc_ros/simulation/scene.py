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

"""The parts of a simulated world: textured rectangles, lamps, and the floor to walk on.

The map frame has z up and its origin on the floor; metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.textures import Texture

Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A flat textured rectangle, visible from one side only: the side that `cross(edge_v, edge_u)` points to.

    Attributes:
        origin: the top-left corner from that side, metres in the map.
        edge_u: vector from the origin to the top-right corner, metres.
        edge_v: vector from the origin to the bottom-left corner, metres.
        texture: the texture on it.
        window: (left, top, right, bottom) part of the texture that is shown, as fractions.
    """

    origin: Vector
    edge_u: Vector
    edge_v: Vector
    texture: Texture
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A point light in the map; with `power` 1 it fully lights a white wall at one metre."""

    position: Vector
    power: float


@dataclass(frozen=True, slots=True)
class Area:
    """An axis-aligned rectangle of the floor, metres."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float

    @property
    def centre(self) -> tuple[float, float]:
        """Its middle."""
        return (self.x_min + self.x_max) / 2, (self.y_min + self.y_max) / 2

    def contains(self, xy: Array, *, margin_m: float = 0.0) -> Array:
        """(N,) whether (N, 2) points lie inside, at least `margin_m` from the border (outside it if negative)."""
        low, high = np.array([self.x_min, self.y_min]) + margin_m, np.array([self.x_max, self.y_max]) - margin_m
        return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


@dataclass(frozen=True, slots=True)
class Road:
    """The centre line of a straight street, from `start` to `end`, metres."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length_m(self) -> float:
        """From end to end."""
        return float(np.hypot(self.end[0] - self.start[0], self.end[1] - self.start[1]))


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A place with exact truth.

    Attributes:
        name: kind and seeds.
        kind: kind of world, a name of `make_world`.
        style: seed of its materials; aliased worlds share it.
        rectangles: all surfaces.
        lamps: all lights.
        floors: the walkable areas, overlapping at doors.
        obstacles: areas that furniture covers.
        outdoor: whether it is under the sky.
        roads: centre lines of its streets, which meet at their ends.
    """

    name: str
    kind: str
    style: int
    rectangles: tuple[Rectangle, ...]
    lamps: tuple[Lamp, ...]
    floors: tuple[Area, ...]
    obstacles: tuple[Area, ...] = field(default=())
    outdoor: bool = False
    roads: tuple[Road, ...] = ()

    def is_free(self, xy: Array, *, margin_m: float) -> Array:
        """(N,) whether a disc of radius `margin_m` at (N, 2) points stands on a floor and touches no obstacle.

        A point needs to be inside one floor: two rooms connect where a doorway's floor overlaps both.
        """
        on_floor = np.zeros(len(xy), bool)
        for area in self.floors:
            on_floor |= area.contains(xy, margin_m=margin_m)
        for area in self.obstacles:
            on_floor &= ~area.contains(xy, margin_m=-margin_m)
        return on_floor
