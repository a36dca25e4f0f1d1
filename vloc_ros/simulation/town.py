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

"""Streets: carriageways, house fronts (repeated ones too), roofs, gardens, parked cars, trees, lamp posts and signs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.furniture import Materials, make_box, make_horizontal, make_rectangle, make_sky
from vloc_ros.simulation.rooms import Part
from vloc_ros.simulation.scene import Area, Lamp, Rectangle, Road, World
from vloc_ros.simulation.textures import Texture

SEASONS = ("summer", "autumn", "winter")
_STREET_M, _BLOCK_M, _BLOCKS = 140.0, 60.0, 2
_SKY_M = 300.0
# from the middle of a street: half of the carriageway, where cars are parked, the house fronts without a garden
_HALF_ROAD_M, _PARKED_M, _FRONT_M = 4.5, 3.4, 7.0
_HOUSE_DEPTH_M = 9.0
_CAR = (4.2, 1.75, 0.75)
_LEAVES, _LEAF_SIDE_M = 12, 1.3


def make_street(materials: Materials) -> Part:
    """One street between two rows of houses, closed by houses at both ends."""
    road = Road((0.0, 0.0), (_STREET_M, 0.0))
    return _make_part(materials, (road,))


def make_town(materials: Materials) -> Part:
    """Two by two blocks of houses with streets around and between them."""
    lines = [k * _BLOCK_M for k in range(_BLOCKS + 1)]
    along_x = [Road((a, y), (a + _BLOCK_M, y)) for y in lines for a in lines[:-1]]
    along_y = [Road((x, a), (x, a + _BLOCK_M)) for x in lines for a in lines[:-1]]
    return _make_part(materials, (*along_x, *along_y))


def in_season(world: World, season: str) -> World:
    """The same place in another season, a name of `SEASONS`: leaves turn in autumn and fall in winter, snow lies.

    Raises:
        InputError: an unknown season.
    """
    if season not in SEASONS:
        raise InputError(f"unknown season {season!r}, expected one of {', '.join(SEASONS)}")
    if season == "summer":
        return world
    patterns = {"foliage": "autumn"} if season == "autumn" else {"grass": "snow", "roof": "snow"}
    rectangles = (
        replace(one, texture=replace(one.texture, pattern=patterns.get(one.texture.pattern, one.texture.pattern)))
        for one in world.rectangles
        if season != "winter" or one.texture.pattern != "foliage"
    )
    return replace(world, name=f"{world.name}-{season}", rectangles=tuple(rectangles))


def with_other_cars(world: World, seed: int) -> World:
    """The same streets on another day: other cars are parked in other places."""
    rest = [one for one in world.rectangles if one.texture.pattern not in ("car", "glass")]
    materials = Materials(world.style, np.random.default_rng([world.style, seed, 10]))
    cars, obstacles = _park_cars(materials, world.roads)
    name = f"{world.name}-cars-{seed}"
    return replace(world, name=name, rectangles=(*rest, *cars), obstacles=tuple(obstacles))


def _make_part(materials: Materials, roads: tuple[Road, ...]) -> Part:
    ends = np.array([end for road in roads for end in (road.start, road.end)])
    (x0, y0), (x1, y1) = ends.min(axis=0) - 30.0, ends.max(axis=0) + 30.0
    ground = Area(float(x0), float(y0), float(x1), float(y1))
    rectangles = [
        make_horizontal(ground, -0.03, materials.make_surface("grass", 41, x1 - x0, y1 - y0, 30.0)),
        *make_sky(materials, ground.centre, _SKY_M),
    ]
    lamps, junctions = [], sorted({end for road in roads for end in (road.start, road.end)})
    for road in roads:
        rectangles += _pave(materials, road)
        for side in (-1.0, 1.0):
            rectangles += _row_of_houses(materials, road, side)
            posts, lights = _posts_and_trees(materials, road, side)
            rectangles += posts
            lamps += lights
    for junction in junctions:
        rectangles += _close_junction(materials, junction, roads)
    cars, obstacles = _park_cars(materials, roads)
    floors = [_strip(road, -_HALF_ROAD_M, _HALF_ROAD_M, extra_m=_HALF_ROAD_M) for road in roads]
    return Part((*rectangles, *cars), tuple(floors), tuple(obstacles), tuple(lamps), roads)


def _pave(materials: Materials, road: Road) -> list[Rectangle]:
    """The carriageway, which ends before the junctions, and pavements."""
    length = road.length_m - 2 * _HALF_ROAD_M
    surface = materials.make_surface("asphalt", 60, length, 2 * _HALF_ROAD_M, 60.0)
    paved = [_flat(road, (_HALF_ROAD_M, -_HALF_ROAD_M), (road.length_m - _HALF_ROAD_M, _HALF_ROAD_M), 0.0, surface)]
    for side in (-1.0, 1.0):
        across = sorted((side * _HALF_ROAD_M, side * _FRONT_M))
        tiles = materials.make_surface("tiles", 61, length, _FRONT_M - _HALF_ROAD_M, 70.0)
        paved.append(_flat(road, (_HALF_ROAD_M, across[0]), (road.length_m - _HALF_ROAD_M, across[1]), 0.0, tiles))
    return paved


def _close_junction(materials: Materials, place: tuple[float, float], roads: tuple[Road, ...]) -> list[Rectangle]:
    """The middle of a junction; where a street simply ends, a house stands across it."""
    x, y = place
    half = _HALF_ROAD_M
    paving = materials.make_surface("stone", 62, 2 * half, 2 * half, 60.0)
    closed = [make_horizontal(Area(x - half, y - half, x + half, y + half), 0.0, paving)]
    meeting = [road for road in roads if place in (road.start, road.end)]
    if len(meeting) == 1:
        end = meeting[0].start if place == meeting[0].end else meeting[0].end
        # seen from the street, the house begins at the right end of its front
        away = (np.array(place) - end) / np.linalg.norm(np.array(place) - end)
        left = np.array([-away[1], away[0]])
        start = np.array(place) + (half + 1.0) * away + (_FRONT_M + 5.0) * left
        closed += _house(materials, start, -left, 2 * _FRONT_M + 10.0, away, terraced=False)
    return closed


def _row_of_houses(materials: Materials, road: Road, side: float) -> list[Rectangle]:
    """Detached houses with gardens, or a terrace of equal ones."""
    rng, rectangles = materials.rng, list[Rectangle]()
    along, left = _axes(road)
    terraced = bool(rng.random() < 0.35)
    style = int(rng.integers(3))
    # corners belong to both streets: houses begin behind those of the street across
    at, last = _FRONT_M + _HOUSE_DEPTH_M, road.length_m - _FRONT_M - _HOUSE_DEPTH_M
    if road.length_m == _STREET_M:
        at, last = 1.0, road.length_m - 1.0
    while at < last - 6.0:
        width = 7.0 if terraced else float(rng.uniform(7.0, 13.0))
        width = min(width, last - at)
        garden = 0.0 if terraced else float(rng.choice([0.0, 0.0, 3.0]))
        away = side * left
        # the front runs from its left to its right end as seen from the street
        first = at if side > 0 else at + width
        start = np.array(road.start) + first * along + (_FRONT_M + garden) * away
        rectangles += _house(materials, start, along * side, width, away, terraced=terraced, style=style)
        at += width + (0.0 if terraced else float(rng.choice([0.0, 2.0, 4.0])))
    return rectangles


def _house(
    materials: Materials, start: Array, right: Array, width: float, away: Array, *, terraced: bool, style: int = 3
) -> list[Rectangle]:
    """A house whose front begins at `start` and goes to the right as seen from the street; with a roof of two sides."""
    rng = materials.rng
    height = 6.0 if terraced else float(rng.uniform(5.5, 10.0))
    front = materials.make_surface(
        "terrace" if terraced else "facade",
        63 + style + 10 * int(rng.integers(4) * (not terraced)),
        width,
        height,
        70.0,
    )
    if terraced:
        front = replace(front, seed=front.style)
    side = materials.make_surface("brick", 70 + style, _HOUSE_DEPTH_M, height, 40.0)
    depth = _HOUSE_DEPTH_M * away
    corners = [start, start + width * right, start + width * right + depth, start + depth]
    walls = [
        _upright(corners[0], corners[1], height, front),
        _upright(corners[1], corners[2], height, side),
        _upright(corners[2], corners[3], height, replace(front, pattern="brick")),
        _upright(corners[3], corners[0], height, side),
    ]
    ridge, rise = depth / 2, float(rng.uniform(2.0, 3.5))
    slope = float(np.hypot(_HOUSE_DEPTH_M / 2, rise))
    cover = materials.make_surface("roof", 75 + style, width, slope, 50.0)
    u, up, down = _lift(width * right), np.array([0.0, 0.0, height + rise]), np.array([0.0, 0.0, -rise])
    roof = [
        make_rectangle(_lift(corners[0] + ridge) + up, u, _lift(-ridge) + down, cover),
        make_rectangle(_lift(corners[1] + ridge) + up, -u, _lift(ridge) + down, cover),
    ]
    return [*walls, *roof, *_gables(corners, away, height, rise, side)]


def _gables(corners: list[Array], away: Array, height: float, rise: float, side: Texture) -> list[Rectangle]:
    """The ends below a roof, in steps."""
    steps, found = 3, list[Rectangle]()
    for k in range(steps):
        inset = (k + 0.5) / steps * _HOUSE_DEPTH_M / 2 * away
        piece = replace(side, height_m=rise / steps, seed=side.seed + k)
        low = height + k * rise / steps
        found.append(_upright(corners[1] + inset, corners[2] - inset, rise / steps, piece, low))
        found.append(_upright(corners[3] - inset, corners[0] + inset, rise / steps, piece, low))
    return found


def _posts_and_trees(materials: Materials, road: Road, side: float) -> tuple[list[Rectangle], list[Lamp]]:
    rng, rectangles, lamps = materials.rng, list[Rectangle](), list[Lamp]()
    along, left = _axes(road)
    at = 9.0 + float(rng.uniform(0.0, 6.0))
    while at < road.length_m - 9.0:
        x, y = np.array(road.start) + at * along + side * (_HALF_ROAD_M + 0.7) * left
        kind = rng.random()
        if kind < 0.4:
            rectangles += _tree(materials, (float(x), float(y)))
        elif kind < 0.7:
            post = materials.make_surface("panel", 80, 0.15, 5.0, 60.0)
            rectangles += make_box((float(x), float(y), 0.0), (0.15, 0.15, 5.0), 0.0, (post, post, post))
            lamps.append(Lamp((float(x), float(y), 4.8), 5.0))
        else:
            rectangles += _sign(materials, (float(x), float(y)), float(np.arctan2(along[1], along[0])))
        at += float(rng.uniform(6.0, 14.0))
    return rectangles, lamps


def _sign(materials: Materials, place: tuple[float, float], yaw: float) -> list[Rectangle]:
    """A board on a post; of a few kinds that stand all over the town."""
    seed = materials.draw_product_seed()
    board = Texture("poster", seed, seed, 0.9, 0.7, 200.0)
    post = materials.make_surface("panel", 81, 0.08, 2.2, 60.0)
    return make_box((*place, 0.0), (0.08, 0.08, 2.2), yaw, (post, post, post)) + make_box(
        (*place, 2.2), (0.06, 0.9, 0.7), yaw, (post, board, post)
    )


def _tree(materials: Materials, place: tuple[float, float]) -> list[Rectangle]:
    """A trunk, and a crown of squares of leaves, each seen from both sides."""
    rng = materials.rng
    bark = materials.make_surface("wood", 82, 0.3, 3.0, 120.0)
    rectangles = make_box((*place, 0.0), (0.3, 0.3, 3.0), float(rng.uniform(0, 3)), (bark, bark, bark))
    for _ in range(_LEAVES):
        centre = np.array([*place, 4.2]) + rng.normal(0.0, (0.8, 0.8, 0.7))
        u = rng.normal(size=3)
        u *= _LEAF_SIDE_M / np.linalg.norm(u)
        v = np.cross(u, rng.normal(size=3))
        v *= _LEAF_SIDE_M / np.linalg.norm(v)
        leaves = materials.make_surface("foliage", 83, _LEAF_SIDE_M, _LEAF_SIDE_M, 70.0)
        corner = centre - (u + v) / 2
        rectangles += [make_rectangle(corner, u, v, leaves), make_rectangle(corner, v, u, leaves)]
    return rectangles


def _park_cars(materials: Materials, roads: tuple[Road, ...]) -> tuple[list[Rectangle], list[Area]]:
    rng, cars, obstacles = materials.rng, list[Rectangle](), list[Area]()
    for road in roads:
        along, left = _axes(road)
        yaw = float(np.arctan2(along[1], along[0]))
        for side in (-1.0, 1.0):
            for at in np.arange(9.0, road.length_m - 9.0, 5.6):
                if rng.random() < 0.45:
                    continue
                x, y = np.array(road.start) + (at + rng.normal(0, 0.3)) * along + side * _PARKED_M * left
                cars += _car(rng, (float(x), float(y)), yaw)
                reach = np.abs(along) * _CAR[0] / 2 + np.abs(left) * _CAR[1] / 2
                obstacles.append(Area(*(float(v) for v in (x - reach[0], y - reach[1], x + reach[0], y + reach[1]))))
    return cars, obstacles


def _car(rng: np.random.Generator, place: tuple[float, float], yaw: float) -> list[Rectangle]:
    length, width, height = _CAR
    seed, style = int(rng.integers(2**31)), 0
    body = [Texture("car", style, seed, *size, 90.0) for size in ((length, height), (width, height), (length, width))]
    panes = [Texture("glass", style, seed, *size, 60.0) for size in ((2.3, 0.6), (width - 0.2, 0.6))]
    roof = replace(body[2], width_m=2.3, height_m=width - 0.2)
    return make_box((*place, 0.25), (length, width, height), yaw, (body[0], body[1], body[2])) + make_box(
        (*place, 0.25 + height), (2.3, width - 0.2, 0.6), yaw, (panes[0], panes[1], roof)
    )


def _axes(road: Road) -> tuple[Array, Array]:
    """(2,) directions along a road and to its left."""
    along = (np.array(road.end) - road.start) / road.length_m
    return along, np.array([-along[1], along[0]])


def _strip(road: Road, right_m: float, left_m: float, *, extra_m: float) -> Area:
    along, left = _axes(road)
    corners = np.array(
        [
            np.array(road.start) + at * along + across * left
            for at in (-extra_m, road.length_m + extra_m)
            for across in (right_m, left_m)
        ]
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    return Area(float(low[0]), float(low[1]), float(high[0]), float(high[1]))


def _flat(road: Road, first: tuple[float, float], last: tuple[float, float], z: float, texture: Texture) -> Rectangle:
    """A level rectangle beside a road, seen from above; corners are metres along it and to its left."""
    along, left = _axes(road)
    origin = np.array(road.start) + first[0] * along + last[1] * left
    return make_rectangle(
        np.array([*origin, z]), _lift((last[0] - first[0]) * along), _lift((first[1] - last[1]) * left), texture
    )


def _upright(left_end: Array, right_end: Array, height: float, texture: Texture, bottom: float = 0.0) -> Rectangle:
    """A wall seen from the side on which its ends are left and right."""
    origin = np.array([*left_end, bottom + height])
    return make_rectangle(origin, _lift(right_end - left_end), np.array([0.0, 0.0, -height]), texture)


def _lift(vector: Array) -> Array:
    """(3,) of a level (2,) vector."""
    return np.array([vector[0], vector[1], 0.0])
