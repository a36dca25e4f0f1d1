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

"""The light on a surface: lamps with falloff, daylight and darker corners, on a coarse grid per rectangle."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.lighting import Lighting
from vloc_ros.simulation.scene import World

_GRID = 12
_LAMP_REACH_M = 1.5
_CORNER_LOSS = 0.25


@lru_cache(maxsize=8)
def compute_irradiance_maps(world: World, lighting: Lighting) -> Array:
    """(R, 12, 12) float32 irradiance on a grid over every rectangle, rows along edge_v; 1 shows white as white.

    Lamps shine through walls: shadows would add more cost than realism.
    """
    frames = np.array([[r.origin, r.edge_u, r.edge_v] for r in world.rectangles])
    share = np.linspace(0.0, 1.0, _GRID)
    origin, edge_u, edge_v = (frames[:, i, None, None, :] for i in range(3))
    points = origin + edge_u * share[None, None, :, None] + edge_v * share[None, :, None, None]
    normals = np.cross(frames[:, 2], frames[:, 1])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    total = np.full(points.shape[:3], lighting.daylight) * _corner_shade(share)
    total += (0.15 * normals[:, 2] * lighting.daylight)[:, None, None]
    for lamp in world.lamps:
        offset = np.array(lamp.position) - points
        distance = np.linalg.norm(offset, axis=3)
        facing = np.clip(np.einsum("nijk,nk->nij", offset, normals) / np.maximum(distance, 1e-6), 0.0, 1.0)
        falloff = 1.0 / (1.0 + (distance / _LAMP_REACH_M) ** 2)
        total += lighting.lamps * lamp.power * (0.3 + 0.7 * facing) * falloff
    return np.asarray(total, dtype=np.float32)


def _corner_shade(share: Array) -> Array:
    """(12, 12) factor: less light reaches the corners of a room."""
    edge = np.minimum(share, 1 - share)
    dark = _CORNER_LOSS * np.exp(-edge / 0.12)
    return np.asarray((1 - dark[None]) * (1 - dark[:, None]))
