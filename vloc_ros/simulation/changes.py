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

"""What changes between two days: furniture that stands elsewhere, bins and hedges of a street."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.furniture import Materials, make_box, make_cupboard
from vloc_ros.simulation.scene import Rectangle, World

# from the path, by whether it is outdoors, and the sizes that are drawn, metres
_AWAY_M, _CLEAR_M = {True: (2.5, 6.0), False: (0.9, 2.5)}, {True: 1.8, False: 0.7}
_LEAST, _MOST = {True: (0.4, 0.4, 0.7), False: (0.4, 0.35, 0.5)}, {True: (3.5, 1.5, 2.0), False: (1.4, 0.7, 1.9)}
_TRIES = 8


def with_other_things(world: World, path: Array, count: int, *, seed: int) -> World:
    """The world with some things more beside a path, which stay clear of it.

    Args:
        world: any.
        path: (N, 2) positions.
        count: of the things, fewer where there is no room for them.
        seed: of them.
    """
    rng, things = np.random.default_rng([seed, 19]), list[Rectangle]()
    materials = Materials(seed, rng)
    for _ in range(count):
        for _ in range(_TRIES):
            away_m, turn = rng.uniform(*_AWAY_M[world.outdoor]), rng.uniform(0.0, 2 * np.pi)
            place = path[rng.integers(len(path))] + away_m * np.array([np.cos(turn), np.sin(turn)])
            size = rng.uniform(_LEAST[world.outdoor], _MOST[world.outdoor])
            if np.linalg.norm(path - place, axis=1).min() > _CLEAR_M[world.outdoor] + max(size[:2]) / 2:
                things += _make(materials, place, size, float(turn), outdoors=world.outdoor)
                break
    return replace(world, name=f"{world.name}-things-{seed}", rectangles=(*world.rectangles, *things))


def _make(materials: Materials, place: Array, size: Array, yaw: float, *, outdoors: bool) -> list[Rectangle]:
    x, y = (float(value) for value in place)
    length, width, height = (float(value) for value in size)
    if not outdoors:
        return make_cupboard(materials, (x, y), (length, width, height), yaw)
    pattern = "foliage" if materials.rng.random() < 0.5 else "panel"
    side, end, top = (
        materials.make_surface(pattern, 90, *of, 60.0) for of in ((length, height), (width, height), (length, width))
    )
    return make_box((x, y, 0.0), (length, width, height), yaw, (side, end, top))
