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

"""Worlds by kind and seed: rooms, an apartment, a yard, streets; and aliased worlds that look like them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import pairwise

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.simulation.furniture import (
    Materials,
    make_box,
    make_horizontal,
    make_parcel,
    make_picture,
    make_sky,
    make_table,
    make_wall,
)
from vloc_ros.simulation.rooms import WALL_THICKNESS_M, Door, Part, make_doorway, make_room
from vloc_ros.simulation.scene import Area, Lamp, Rectangle, World
from vloc_ros.simulation.textures import Texture
from vloc_ros.simulation.town import make_street, make_town

_SKY_M = 60.0
_PRODUCTS = ("poster", "print", "books", "panel")
_NEW_SEEDS = 2**31


def make_world(kind: str, seed: int) -> World:
    """Make a world of a kind: room, corridor, yard, apartment, street or town. Equal seeds give equal worlds.

    Raises:
        InputError: an unknown kind.
    """
    if kind not in _BUILDERS:
        raise InputError(f"unknown kind of world {kind!r}, expected one of {', '.join(_BUILDERS)}")
    return _build(kind, style=seed, layout=0, name=f"{kind}-{seed}")


def make_aliased_world(world: World, seed: int) -> World:
    """Make another place that looks like a world: the same kind, paint, bricks and wood, and some of the same products.

    The layout differs: other sizes, other positions, other pieces of wall.
    """
    return _build(world.kind, style=world.style, layout=seed + 1, name=f"{world.name}-aliased-{seed}")


def make_variant(world: World, seed: int, *, different: float) -> World:
    """Make a near duplicate of a world, like the next room of a hotel.

    The geometry is the same. Products are the same pixel for pixel, except for a share `different` of them. Walls and
    floors have the same materials, with their own grain and marks.
    """
    rng = np.random.default_rng([world.style, seed, 3])
    rectangles = tuple(
        replace(r, texture=replace(r.texture, seed=int(rng.integers(_NEW_SEEDS))))
        if not is_product(r) or rng.random() < different
        else r
        for r in world.rectangles
    )
    return replace(world, name=f"{world.name}-variant-{seed}", rectangles=rectangles)


def is_product(rectangle: Rectangle) -> bool:
    """Whether a surface shows a mass-produced thing, such as a poster, a book or a parcel."""
    return rectangle.texture.pattern in _PRODUCTS


def _build(kind: str, *, style: int, layout: int, name: str) -> World:
    materials = Materials(style, np.random.default_rng([style, layout, *kind.encode()]))
    part = _BUILDERS[kind](materials)
    return World(
        name, kind, style, part.rectangles, part.lamps, part.floors, part.obstacles, kind in _OUTDOOR, part.roads
    )


def _room(materials: Materials) -> Part:
    rng = materials.rng
    area = Area(0.0, 0.0, float(rng.uniform(4.5, 6.0)), float(rng.uniform(4.0, 5.5)))
    return make_room(materials, area, float(rng.uniform(2.5, 2.9)), doors=(), furniture=9, picture_share=0.8)


def _corridor(materials: Materials) -> Part:
    rng = materials.rng
    long, side_length = float(rng.uniform(14.0, 18.0)), float(rng.uniform(6.0, 9.0))
    width, height = float(rng.uniform(1.9, 2.4)), 2.6
    bend_y = width + WALL_THICKNESS_M
    middle = long - width / 2
    first = make_room(materials, Area(0.0, 0.0, long, width), height, doors=(Door("north", middle),),
                      furniture=0, picture_share=0.9, rows=2)  # fmt: skip
    second = make_room(materials, Area(long - width, bend_y, long, bend_y + side_length), height,
                       doors=(Door("south", middle),), furniture=0, picture_share=0.9, rows=2)  # fmt: skip
    return _join_parts([first, second, make_doorway(materials, "north", width, middle)])


def _apartment(materials: Materials) -> Part:
    """Four rooms, two by two, connected by four doors."""
    rng = materials.rng
    x, y = (float(v) for v in rng.uniform(3.6, 5.0, 2))
    x_end, y_end = x + float(rng.uniform(3.6, 5.0)), y + float(rng.uniform(3.6, 5.0))
    x2, y2 = x + WALL_THICKNESS_M, y + WALL_THICKNESS_M
    south, north = float(rng.uniform(1.2, y - 1.2)), float(rng.uniform(y2 + 1.2, y_end - 1.2))
    west, east = float(rng.uniform(1.2, x - 1.2)), float(rng.uniform(x2 + 1.2, x_end - 1.2))
    plans = [
        (Area(0.0, 0.0, x, y), (Door("east", south), Door("north", west))),
        (Area(x2, 0.0, x_end, y), (Door("west", south), Door("north", east))),
        (Area(0.0, y2, x, y_end), (Door("east", north), Door("south", west))),
        (Area(x2, y2, x_end, y_end), (Door("west", north), Door("south", east))),
    ]
    rooms = [make_room(materials, area, 2.6, doors=doors, furniture=6, picture_share=0.8) for area, doors in plans]
    passages = [("east", x, south), ("east", x, north), ("north", y, west), ("north", y, east)]
    return _join_parts([*rooms, *(make_doorway(materials, *passage) for passage in passages)])


def _yard(materials: Materials) -> Part:
    """A courtyard between house fronts, with a lawn, benches and crates, under a sky."""
    rng = materials.rng
    size_x, size_y = (float(v) for v in rng.uniform(12.0, 18.0, 2))
    ground = Area(0.0, 0.0, size_x, size_y)
    lawn = Area(0.3 * size_x, 0.3 * size_y, 0.65 * size_x, 0.7 * size_y)
    rectangles = [
        make_horizontal(ground, 0.0, materials.make_surface("stone", 40, size_x, size_y, 120.0)),
        make_horizontal(
            lawn, 0.01, materials.make_surface("grass", 41, lawn.x_max - lawn.x_min, lawn.y_max - lawn.y_min, 120.0)
        ),
        *_fronts(materials, size_x, size_y),
        *make_sky(materials, (size_x / 2, size_y / 2), _SKY_M),
    ]
    obstacles = []
    for _ in range(9):
        x, y = float(rng.uniform(1.2, size_x - 1.2)), float(rng.uniform(1.2, size_y - 1.2))
        yaw = float(rng.uniform(0, np.pi))
        rectangles += (
            make_table(materials, (x, y), (1.4, 0.6), yaw) if rng.random() < 0.4 else _crate(materials, x, y, yaw)
        )
        obstacles.append(Area(x - 0.8, y - 0.8, x + 0.8, y + 0.8))
    lamps = [Lamp((x, y, 4.0), 4.0) for x in (1.0, size_x - 1.0) for y in (1.0, size_y - 1.0)]
    return Part(tuple(rectangles), (ground,), tuple(obstacles), tuple(lamps))


def _fronts(materials: Materials, size_x: float, size_y: float) -> list[Rectangle]:
    rng, rectangles = materials.rng, []
    ends = [(0.0, 0.0), (0.0, size_y), (size_x, size_y), (size_x, 0.0), (0.0, 0.0)]
    for index, (a, b) in enumerate(pairwise(ends)):
        length, height = abs(b[0] - a[0]) + abs(b[1] - a[1]), float(rng.uniform(5.5, 9.0))
        front = make_wall(a, b, (0.0, height), materials.make_surface("facade", 42 + index, length, height, 130.0))
        rectangles.append(front)
        for along in np.arange(1.0, length - 1.0, 2.5):
            if rng.random() < 0.5:
                rectangles.append(make_picture(materials, front, float(along), float(rng.uniform(1.2, 2.2))))
    return rectangles


def _crate(materials: Materials, x: float, y: float, yaw: float) -> list[Rectangle]:
    seed = materials.draw_product_seed()
    size = tuple(float(v) for v in np.random.default_rng([seed, 9]).uniform((0.6, 0.5, 0.5), (1.1, 0.9, 1.2)))
    side = Texture("poster", seed, seed, size[0], size[2], 300.0)
    end, top = (materials.make_surface("wood", 45, size[1], size[i], 250.0) for i in (2, 0))
    return make_box((x, y, 0.0), (size[0], size[1], size[2]), yaw, (side, end, top)) + make_parcel(
        materials, (x, y, size[2]), yaw
    )


def _join_parts(parts: Iterable[Part]) -> Part:
    parts = list(parts)
    return Part(
        tuple(r for p in parts for r in p.rectangles),
        tuple(f for p in parts for f in p.floors),
        tuple(o for p in parts for o in p.obstacles),
        tuple(lamp for p in parts for lamp in p.lamps),
    )


_BUILDERS: dict[str, Callable[[Materials], Part]] = {
    "room": _room,
    "corridor": _corridor,
    "yard": _yard,
    "apartment": _apartment,
    "street": make_street,
    "town": make_town,
}
_OUTDOOR = ("yard", "street", "town")
