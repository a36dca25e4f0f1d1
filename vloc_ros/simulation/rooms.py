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

"""Rooms: floor, ceiling, walls with doors, pictures on them, furniture along them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.simulation.furniture import (
    Materials,
    make_bookcase,
    make_cupboard,
    make_horizontal,
    make_picture,
    make_table,
    make_wall,
)
from vloc_ros.simulation.scene import Area, Lamp, Rectangle, Road
from vloc_ros.simulation.textures import Texture

DOOR_WIDTH_M = 1.0
DOOR_HEIGHT_M = 2.05
WALL_THICKNESS_M = 0.12
_SIDES = ("south", "east", "north", "west")
_DOOR_CLEARANCE_M = 0.75


@dataclass(frozen=True, slots=True)
class Door:
    """An opening in the wall of a room.

    Attributes:
        side: the wall: south, east, north or west.
        middle: coordinate of its middle along the wall, x or y in the map, metres.
    """

    side: str
    middle: float


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a world.

    Attributes:
        rectangles: its surfaces.
        floors: the walkable areas.
        obstacles: areas that furniture covers.
        lamps: its lights.
        roads: centre lines of its streets.
    """

    rectangles: tuple[Rectangle, ...]
    floors: tuple[Area, ...]
    obstacles: tuple[Area, ...]
    lamps: tuple[Lamp, ...]
    roads: tuple[Road, ...] = ()


def make_room(
    materials: Materials,
    area: Area,
    height: float,
    *,
    doors: tuple[Door, ...],
    furniture: int,
    picture_share: float,
    rows: int = 1,
) -> Part:
    """A furnished room with walls around `area`."""
    rng = materials.rng
    size = area.x_max - area.x_min, area.y_max - area.y_min
    floor_pattern = str(np.random.default_rng(materials.style).choice(["wood", "tiles", "carpet"]))
    rectangles = [
        make_horizontal(area, 0.0, materials.make_surface(floor_pattern, 10, *size, 220.0)),
        make_horizontal(area, height, materials.make_surface("plaster", 11, *size, 80.0), seen_from_above=False),
    ]
    wall_pattern = str(rng.choice(["plaster", "plaster", "wallpaper", "brick"]))
    for side in _SIDES:
        walls = _wall(materials, area, side, height, wall_pattern, [d for d in doors if d.side == side])
        rectangles += walls
        rectangles += [p for wall in walls for p in _pictures(materials, wall, picture_share, rows)]
    furniture_rectangles, obstacles = _furnish(materials, area, doors, furniture)
    lamps = _ceiling_lamps(area, height)
    return Part((*rectangles, *furniture_rectangles), (area,), tuple(obstacles), lamps)


def _ceiling_lamps(area: Area, height: float) -> tuple[Lamp, ...]:
    """Place about one lamp per twelve square metres."""
    columns = max(1, round((area.x_max - area.x_min) / 3.5))
    rows = max(1, round((area.y_max - area.y_min) / 3.5))
    xs = area.x_min + (np.arange(columns) + 0.5) * (area.x_max - area.x_min) / columns
    ys = area.y_min + (np.arange(rows) + 0.5) * (area.y_max - area.y_min) / rows
    return tuple(Lamp((float(x), float(y), height - 0.2), 1.0) for x in xs for y in ys)


def _corners(area: Area, side: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ends of a wall, the left one first as seen from inside."""
    a = area
    return {
        "south": ((a.x_max, a.y_min), (a.x_min, a.y_min)),
        "east": ((a.x_max, a.y_max), (a.x_max, a.y_min)),
        "north": ((a.x_min, a.y_max), (a.x_max, a.y_max)),
        "west": ((a.x_min, a.y_min), (a.x_min, a.y_max)),
    }[side]


def _wall(
    materials: Materials, area: Area, side: str, height: float, pattern: str, doors: list[Door]
) -> list[Rectangle]:
    """The pieces of a wall around its doors, with lintels above them."""
    left, right = (np.array(corner) for corner in _corners(area, side))
    length = float(np.linalg.norm(right - left))
    axis = (right - left) / length
    texel = 130.0 if pattern == "plaster" else 260.0

    def piece(start: float, end: float, bottom: float) -> Rectangle:
        a, b = left + axis * start, left + axis * end
        texture = materials.make_surface(pattern, 20, end - start, height - bottom, texel)
        return make_wall((float(a[0]), float(a[1])), (float(b[0]), float(b[1])), (bottom, height), texture)

    pieces, done = [], 0.0
    along_axis = 0 if side in ("south", "north") else 1
    middles = sorted(abs(door.middle - float(left[along_axis])) for door in doors)
    for middle in middles:
        start, end = middle - DOOR_WIDTH_M / 2, middle + DOOR_WIDTH_M / 2
        pieces += [piece(done, start, 0.0), piece(start, end, DOOR_HEIGHT_M)]
        done = end
    return [*pieces, piece(done, length, 0.0)]


def _pictures(materials: Materials, wall: Rectangle, share: float, rows: int) -> list[Rectangle]:
    """Pictures side by side at uneven heights, with gaps; further rows hang below the first."""
    length, height = float(np.linalg.norm(wall.edge_u)), float(-wall.edge_v[2])
    if height < 1.5:
        return []
    rng, pictures = materials.rng, list[Rectangle]()
    for row in range(rows):
        along = 0.15
        while along < length - 0.7:
            if rng.random() < share:
                pictures.append(make_picture(materials, wall, along, float(rng.uniform(1.35, 2.05)) - 0.9 * row))
            along += float(rng.uniform(0.62, 0.8))
    return pictures


def _furnish(
    materials: Materials, area: Area, doors: tuple[Door, ...], count: int
) -> tuple[list[Rectangle], list[Area]]:
    """Place furniture along the walls, clear of the doors and of each other."""
    rng = materials.rng
    rectangles: list[Rectangle] = []
    taken: list[Area] = []
    for _ in range(6 * count):
        if len(taken) == count:
            break
        side = str(rng.choice(_SIDES))
        width, depth = float(rng.uniform(0.7, 1.5)), float(rng.uniform(0.3, 0.6))
        place = _along_wall(rng, area, side, width, depth)
        if place is None or _is_blocked(place, taken, area, doors):
            continue
        taken.append(place)
        yaw = 0.0 if side in ("south", "north") else np.pi / 2
        rectangles += _piece(materials, place.centre, (width, depth), yaw)
    return rectangles, taken


def _piece(materials: Materials, centre: tuple[float, float], size: tuple[float, float], yaw: float) -> list[Rectangle]:
    choice, rng = materials.rng.random(), materials.rng
    if choice < 0.45:
        return make_table(materials, centre, size, yaw)
    if choice < 0.7:
        return make_cupboard(materials, centre, (*size, float(rng.uniform(0.8, 1.3))), yaw)
    return make_bookcase(materials, centre, (*size, float(rng.uniform(1.2, 2.0))), yaw)


def _along_wall(rng: np.random.Generator, area: Area, side: str, width: float, depth: float) -> Area | None:
    horizontal = side in ("south", "north")
    size_x, size_y = (width, depth) if horizontal else (depth, width)
    room_x, room_y = area.x_max - area.x_min - size_x, area.y_max - area.y_min - size_y
    if min(room_x, room_y) < 1.5:
        return None
    gap = 0.02
    x = area.x_min + (float(rng.uniform(0, room_x)) if horizontal else gap if side == "west" else room_x - gap)
    y = area.y_min + (float(rng.uniform(0, room_y)) if not horizontal else gap if side == "south" else room_y - gap)
    return Area(x, y, x + size_x, y + size_y)


def _is_blocked(place: Area, taken: list[Area], area: Area, doors: tuple[Door, ...]) -> bool:
    others = [Area(a.x_min - 0.1, a.y_min - 0.1, a.x_max + 0.1, a.y_max + 0.1) for a in taken]
    others += [_door_clearance(door, area) for door in doors]
    return any(_overlaps(place, other) for other in others)


def _door_clearance(door: Door, area: Area) -> Area:
    reach = DOOR_WIDTH_M / 2 + 0.3
    if door.side in ("south", "north"):
        y = area.y_min if door.side == "south" else area.y_max
        return Area(door.middle - reach, y - _DOOR_CLEARANCE_M, door.middle + reach, y + _DOOR_CLEARANCE_M)
    x = area.x_min if door.side == "west" else area.x_max
    return Area(x - _DOOR_CLEARANCE_M, door.middle - reach, x + _DOOR_CLEARANCE_M, door.middle + reach)


def _overlaps(a: Area, b: Area) -> bool:
    return a.x_min < b.x_max and b.x_min < a.x_max and a.y_min < b.y_max and b.y_min < a.y_max


def make_doorway(materials: Materials, side: str, wall_at: float, middle: float) -> Part:
    """The passage through a wall that starts at `wall_at`: along x for an east door, along y for a north door."""
    low, high = middle - DOOR_WIDTH_M / 2, middle + DOOR_WIDTH_M / 2
    near, far = wall_at, wall_at + WALL_THICKNESS_M
    jamb = materials.make_surface("wood", 30, WALL_THICKNESS_M, DOOR_HEIGHT_M, 200.0)
    if side == "east":
        passage = Area(near, low, far, high)
        jambs = [_jamb((near, high), (far, high), jamb), _jamb((far, low), (near, low), jamb)]
    else:
        passage = Area(low, near, high, far)
        jambs = [_jamb((low, near), (low, far), jamb), _jamb((high, far), (high, near), jamb)]
    threshold = materials.make_surface("wood", 31, passage.x_max - passage.x_min, passage.y_max - passage.y_min, 200.0)
    sill, lintel = (
        make_horizontal(passage, 0.0, threshold),
        make_horizontal(passage, DOOR_HEIGHT_M, threshold, seen_from_above=False),
    )
    reach = 0.8
    walk = Area(near - reach, low, far + reach, high) if side == "east" else Area(low, near - reach, high, far + reach)
    return Part((*jambs, sill, lintel), (walk,), (), ())


def _jamb(a: tuple[float, float], b: tuple[float, float], texture: Texture) -> Rectangle:
    return make_wall(a, b, (0.0, DOOR_HEIGHT_M), texture)
