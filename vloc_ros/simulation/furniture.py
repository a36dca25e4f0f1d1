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

"""Furniture made of boxes: tables, bookcases, cupboards, parcels; and pictures on walls."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.scene import Area, Rectangle, Vector
from vloc_ros.simulation.textures import Texture

_SHARED_SHARE = 0.4
_POOL = 6
_NEW_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Materials:
    """The texture library of a style. The pieces of a layout are drawn with the layout's own generator.

    Attributes:
        style: seed of the library.
        rng: the layout's generator.
    """

    style: int
    rng: np.random.Generator

    def make_surface(self, pattern: str, variant: int, width_m: float, height_m: float, px_per_m: float) -> Texture:
        """A piece of a material. All worlds of a style share its tone and pattern; no two pieces are equal."""
        return Texture(
            pattern, 97 * self.style + variant, int(self.rng.integers(_NEW_SEED)), width_m, height_m, px_per_m
        )

    def draw_product_seed(self) -> int:
        """Seed of a mass-produced thing. Often it is one of a few that worlds of the style share, pixel for pixel."""
        if self.rng.random() < _SHARED_SHARE:
            return 97 * self.style + int(self.rng.integers(_POOL))
        return int(self.rng.integers(_POOL, _NEW_SEED))


def make_wall(a: tuple[float, float], b: tuple[float, float], z: tuple[float, float], texture: Texture) -> Rectangle:
    """A wall from `a` (at the viewer's left) to `b`, between the heights `z`."""
    return Rectangle((*a, z[1]), (b[0] - a[0], b[1] - a[1], 0.0), (0.0, 0.0, z[0] - z[1]), texture)


def make_horizontal(area: Area, z: float, texture: Texture, *, seen_from_above: bool = True) -> Rectangle:
    """A floor, or a ceiling if `seen_from_above` is False."""
    size_x, size_y = area.x_max - area.x_min, area.y_max - area.y_min
    if seen_from_above:
        return Rectangle((area.x_min, area.y_max, z), (size_x, 0.0, 0.0), (0.0, -size_y, 0.0), texture)
    return Rectangle((area.x_min, area.y_min, z), (size_x, 0.0, 0.0), (0.0, size_y, 0.0), texture)


def make_sky(materials: Materials, centre: tuple[float, float], reach_m: float) -> list[Rectangle]:
    """Four distant walls of sky and a ceiling, seen from inside."""
    (x, y), far = centre, reach_m
    side = materials.make_surface("sky", 46, 2 * far, 2 * far, 6.0 * 60.0 / far)
    ends = [(x - far, y - far), (x - far, y + far), (x + far, y + far), (x + far, y - far), (x - far, y - far)]
    walls = [make_wall(a, b, (-1.0, 2 * far), side) for a, b in pairwise(ends)]
    return [*walls, make_horizontal(Area(x - far, y - far, x + far, y + far), 2 * far, side, seen_from_above=False)]


def make_box(centre: Vector, size: Vector, yaw: float, textures: tuple[Texture, Texture, Texture]) -> list[Rectangle]:
    """A box that stands on `centre` (the middle of its bottom), turned by `yaw` radians.

    The three `textures` are for front and back (along its x), for both ends (along its y), and for the top.
    """
    axis_x, axis_y = np.array([np.cos(yaw), np.sin(yaw), 0.0]), np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    half_x, half_y, up = axis_x * size[0] / 2, axis_y * size[1] / 2, np.array([0.0, 0.0, size[2]])
    middle = np.asarray(centre) + up
    front_back, ends, top = textures
    return [
        make_rectangle(middle - half_x - half_y, 2 * half_x, -up, front_back),
        make_rectangle(middle + half_x + half_y, -2 * half_x, -up, front_back),
        make_rectangle(middle + half_x - half_y, 2 * half_y, -up, ends),
        make_rectangle(middle - half_x + half_y, -2 * half_y, -up, ends),
        make_rectangle(middle - half_x + half_y, 2 * half_x, -2 * half_y, top),
    ]


def make_rectangle(origin: Array, edge_u: Array, edge_v: Array, texture: Texture) -> Rectangle:
    """A rectangle of (3,) arrays, see `Rectangle`."""
    return Rectangle(_vector(origin), _vector(edge_u), _vector(edge_v), texture)


def _vector(values: Array) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


def make_table(
    materials: Materials, centre: tuple[float, float], size: tuple[float, float], yaw: float
) -> list[Rectangle]:
    """A table with things on it."""
    rng, height = materials.rng, float(materials.rng.uniform(0.68, 0.78))
    top = materials.make_surface("wood", 1, size[0], size[1], 400.0)
    edge = materials.make_surface("wood", 1, size[0], 0.04, 300.0)
    parts = make_box((*centre, height - 0.04), (size[0], size[1], 0.04), yaw, (edge, edge, top))
    for side in (-1, 1):
        offset = side * (size[0] / 2 - 0.06)
        place = centre[0] + offset * np.cos(yaw), centre[1] + offset * np.sin(yaw)
        leg = materials.make_surface("wood", 1, size[1] * 0.8, height, 200.0)
        parts += make_box((*place, 0.0), (0.04, size[1] * 0.8, height - 0.04), yaw, (leg, leg, leg))
    for _ in range(int(rng.integers(5, 10))):
        along, across = rng.uniform(-0.4, 0.4) * size[0], rng.uniform(-0.35, 0.35) * size[1]
        place = _offset(centre, along, across, yaw)
        parts += make_parcel(materials, (*place, height), yaw + float(rng.normal(0, 0.5)))
    return parts


def _offset(centre: tuple[float, float], along: float, across: float, yaw: float) -> tuple[float, float]:
    x = centre[0] + along * np.cos(yaw) - across * np.sin(yaw)
    y = centre[1] + along * np.sin(yaw) + across * np.cos(yaw)
    return float(x), float(y)


def make_parcel(materials: Materials, centre: Vector, yaw: float) -> list[Rectangle]:
    """A printed carton."""
    seed = materials.draw_product_seed()
    rng = np.random.default_rng([seed, 7])
    x, y, z = (float(v) for v in rng.uniform((0.08, 0.05, 0.1), (0.32, 0.2, 0.34)))
    pattern = "poster" if rng.random() < 0.6 else "print"
    front, end, top = (
        Texture(name, seed, seed, *size, 600.0)
        for name, size in ((pattern, (x, z)), ("print", (y, z)), ("panel", (x, y)))
    )
    return make_box(centre, (x, y, z), yaw, (front, end, top))


def make_cupboard(materials: Materials, centre: tuple[float, float], size: Vector, yaw: float) -> list[Rectangle]:
    """A closed cupboard with something on top."""
    seed = materials.draw_product_seed()
    front = Texture("panel", seed, seed, 1.0, 1.0, 300.0)
    end = materials.make_surface("wood", 2, size[1], size[2], 250.0)
    parts = make_box(
        (*centre, 0.0), size, yaw, (front, end, materials.make_surface("wood", 2, size[0], size[1], 300.0))
    )
    for along in (-0.3, 0.0, 0.3):
        parts += make_parcel(materials, (*_offset(centre, along * size[0], 0.0, yaw), size[2]), yaw)
    return parts


def make_bookcase(materials: Materials, centre: tuple[float, float], size: Vector, yaw: float) -> list[Rectangle]:
    """A full bookcase."""
    front = materials.make_surface("books", 3, size[0], size[2], 350.0)
    end = materials.make_surface("wood", 3, size[1], size[2], 250.0)
    return make_box((*centre, 0.0), size, yaw, (front, end, end))


def make_picture(materials: Materials, wall: Rectangle, along_m: float, top_m: float) -> Rectangle:
    """A poster or a notice on a wall, `along_m` from the wall's left end, its upper edge at height `top_m`."""
    seed = materials.draw_product_seed()
    rng = np.random.default_rng([seed, 8])
    pattern = "poster" if rng.random() < 0.65 else "print"
    width, height = float(rng.choice([0.3, 0.42, 0.6])), float(rng.choice([0.3, 0.42, 0.6, 0.85]))
    u = np.asarray(wall.edge_u) / np.linalg.norm(wall.edge_u)
    normal = np.cross(wall.edge_v, u) / np.linalg.norm(wall.edge_v)
    origin = np.asarray(wall.origin) + u * along_m + 0.006 * normal
    origin[2] = top_m
    texture = Texture(pattern, seed, seed, width, height, 600.0)
    return make_rectangle(origin, u * width, np.array([0.0, 0.0, -height]), texture)
