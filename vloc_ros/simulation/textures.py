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

"""Textures: a small description, and its image pyramid (mip map), made on first use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.simulation.patterns import PATTERNS

_CACHED_TEXTURES = 1024
_MAX_SIDE_PX = 8192
_SMALLEST_LEVEL_PX = 4


@dataclass(frozen=True, slots=True)
class Texture:
    """A surface of a physical size; equal descriptions give equal pixels.

    Attributes:
        pattern: a name of `patterns.PATTERNS`.
        style: seed of what all pieces of a product share: tone, stripe width, brick size.
        seed: seed of what is individual to a piece.
        width_m: physical width, metres.
        height_m: physical height, metres.
        px_per_m: resolution, pixels per metre.
    """

    pattern: str
    style: int
    seed: int
    width_m: float
    height_m: float
    px_per_m: float


@dataclass(frozen=True, slots=True, eq=False)
class MipMap:
    """All levels of a texture in one image.

    Attributes:
        image: (H, W, 3) uint8 BGR, the levels beneath each other.
        tops: (L,) float32 first row of each level.
        widths: (L,) float32 width of each level, texels.
        heights: (L,) float32 height of each level, texels.
    """

    image: Array
    tops: Array
    widths: Array
    heights: Array


def paint_texture(texture: Texture) -> Array:
    """Paint the finest level of a texture, (H, W, 3) uint8 BGR."""
    width = int(np.clip(round(texture.width_m * texture.px_per_m), 4, _MAX_SIDE_PX))
    height = int(np.clip(round(texture.height_m * texture.px_per_m), 4, _MAX_SIDE_PX))
    kind = list(texture.pattern.encode())
    style, rng = np.random.default_rng([texture.style, *kind]), np.random.default_rng([texture.seed, 1, *kind])
    return PATTERNS[texture.pattern](style, rng, height, width, width / texture.width_m)


@lru_cache(maxsize=_CACHED_TEXTURES)
def get_mip_map(texture: Texture) -> MipMap:
    """The pyramid of a texture, each level half the size of the one before; cached."""
    return build_mip_map(paint_texture(texture))


def build_mip_map(image: Array) -> MipMap:
    """Build the pyramid of an (H, W, 3) uint8 image."""
    levels = [image]
    while min(levels[-1].shape[:2]) >= 2 * _SMALLEST_LEVEL_PX:
        height, width = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], ((width + 1) // 2, (height + 1) // 2), interpolation=cv2.INTER_AREA))
    heights = np.array([level.shape[0] for level in levels])
    widths = np.array([level.shape[1] for level in levels])
    tops = np.concatenate([[0], np.cumsum(heights)[:-1]])
    canvas = np.zeros((int(heights.sum()), int(widths[0]), 3), np.uint8)
    for level, top in zip(levels, tops, strict=True):
        canvas[top : top + level.shape[0], : level.shape[1]] = level
    as_float = [np.asarray(a, dtype=np.float32) for a in (tops, widths, heights)]
    return MipMap(canvas, *as_float)
