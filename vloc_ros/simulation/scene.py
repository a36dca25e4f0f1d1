"""What a simulated world is made of: textured rectangles, lamps, and the floor where one can walk.

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
    """A flat textured rectangle, seen from one side only.

    Attributes:
        origin: its top-left corner as it is seen, metres in the map.
        edge_u, edge_v: from there to its right and to its lower corner; `cross(edge_v, edge_u)` points to the viewer.
        texture: what is on it.
        window: (left, top, right, bottom) part of the texture that it shows, as fractions.
    """

    origin: Vector
    edge_u: Vector
    edge_v: Vector
    texture: Texture
    window: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Lamp:
    """A point light in the map; `power` 1 lights a white wall at one metre fully."""

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
        """(N,) whether (N, 2) points lie inside, at least `margin_m` from the border (negative: beyond it)."""
        low, high = np.array([self.x_min, self.y_min]) + margin_m, np.array([self.x_max, self.y_max]) - margin_m
        return np.asarray(((xy >= low) & (xy <= high)).all(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A place with exact truth.

    Attributes:
        name: kind and seeds.
        kind: what `make_world` calls it.
        style: seed of its materials; look-alikes share it.
        rectangles: all surfaces.
        lamps: all lights.
        floors: the walkable areas, overlapping at doors.
        obstacles: what stands on them.
        outdoor: whether daylight comes from everywhere.
    """

    name: str
    kind: str
    style: int
    rectangles: tuple[Rectangle, ...]
    lamps: tuple[Lamp, ...]
    floors: tuple[Area, ...]
    obstacles: tuple[Area, ...] = field(default=())
    outdoor: bool = False

    def is_free(self, xy: Array, *, margin_m: float) -> Array:
        """(N,) whether a disc of radius `margin_m` at (N, 2) points stands on a floor and touches no obstacle.

        The floors are taken together: the border between two that overlap is no wall.
        """
        on_floor = np.zeros(len(xy), bool)
        for area in self.floors:
            on_floor |= area.contains(xy, margin_m=margin_m)
        for area in self.obstacles:
            on_floor &= ~area.contains(xy, margin_m=-margin_m)
        return on_floor
