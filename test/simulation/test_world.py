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

"""Worlds by kind and seed, aliased worlds and variants."""

from __future__ import annotations

import numpy as np
import pytest

from vloc_ros.core.errors import InputError
from vloc_ros.simulation.textures import Texture, get_mip_map, paint_texture
from vloc_ros.simulation.world import make_aliased_world, make_variant, make_world

KINDS = ("room", "corridor", "yard", "apartment", "street", "town")


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_give_equal_worlds(kind: str) -> None:
    assert make_world(kind, 4).rectangles == make_world(kind, 4).rectangles
    assert make_world(kind, 4).rectangles != make_world(kind, 5).rectangles


@pytest.mark.parametrize("kind", KINDS)
def test_an_aliased_world_shares_products_and_materials_but_not_the_layout(kind: str) -> None:
    world = make_world(kind, 4)
    other = make_aliased_world(world, 0)
    assert other.kind == kind
    assert {r.texture for r in world.rectangles} & {r.texture for r in other.rectangles}
    makes = [{(r.texture.pattern, r.texture.style) for r in w.rectangles} for w in (world, other)]
    assert len(makes[0] & makes[1]) >= 5
    places = [{(r.origin, r.edge_u, r.edge_v) for r in w.rectangles} for w in (world, other)]
    assert len(places[0] & places[1]) <= 0.1 * len(places[0])
    assert make_aliased_world(world, 1).rectangles != other.rectangles


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"castle.*room"):
        make_world("castle", 0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_surfaces_of_a_world_are_rectangles_of_some_size(kind: str) -> None:
    for r in make_world(kind, 2).rectangles:
        u, v = np.array(r.edge_u), np.array(r.edge_v)
        assert min(np.linalg.norm(u), np.linalg.norm(v)) > 0.01
        assert abs(u @ v) < 1e-9


def test_equal_textures_have_equal_pixels_and_pieces_of_one_material_differ() -> None:
    one, same, piece = (Texture("brick", 3, seed, 1.0, 1.0, 100.0) for seed in (1, 1, 2))
    assert np.array_equal(paint_texture(one), paint_texture(same))
    assert not np.array_equal(paint_texture(one), paint_texture(piece))
    assert abs(paint_texture(one).mean() - paint_texture(piece).mean()) < 12


def test_a_mip_map_halves_its_levels_and_keeps_the_mean() -> None:
    pyramid = get_mip_map(Texture("poster", 3, 1, 0.6, 0.85, 300.0))
    assert np.allclose(pyramid.widths[1:], np.ceil(pyramid.widths[:-1] / 2))
    for k in (0, len(pyramid.tops) - 1):
        top, height, width = (int(a[k]) for a in (pyramid.tops, pyramid.heights, pyramid.widths))
        assert abs(pyramid.image[top : top + height, :width].mean() - 127) < 100
    first = pyramid.image[: int(pyramid.heights[0]), : int(pyramid.widths[0])].mean()
    second = pyramid.image[int(pyramid.tops[1]) : int(pyramid.tops[2]), : int(pyramid.widths[1])].mean()
    assert abs(first - second) < 2


def test_a_variant_differs_in_walls_and_in_a_share_of_its_products() -> None:
    world = make_world("room", 3)
    same, other = make_variant(world, 1, different=0.0), make_variant(world, 1, different=0.5)
    assert make_variant(world, 1, different=0.5).rectangles == other.rectangles
    products = [i for i, r in enumerate(world.rectangles) if r.texture.pattern == "poster"]
    walls = [i for i, r in enumerate(world.rectangles) if r.texture.pattern in ("plaster", "wallpaper", "brick")]
    assert len(products) > 4
    assert all(same.rectangles[i] == world.rectangles[i] for i in products)
    changed = sum(other.rectangles[i] != world.rectangles[i] for i in products)
    assert 0.2 * len(products) <= changed <= 0.8 * len(products)
    assert all(same.rectangles[i].texture.seed != world.rectangles[i].texture.seed for i in walls)
    for a, b in zip(world.rectangles, other.rectangles, strict=True):
        assert (a.origin, a.edge_u, a.edge_v) == (b.origin, b.edge_u, b.edge_v)
        assert (a.texture.pattern, a.texture.style) == (b.texture.pattern, b.texture.style)
