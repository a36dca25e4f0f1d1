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

"""Tiles of ground rasters: squares that overlap by half, with the keypoints that a view of the same ground would have.

Tiles beside each other are cut from one block, whose keypoints are found once: of each tile by itself, those of all
ground would be found four times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.features.rootsift import RootSift
from vloc_ros.core.geometry.pose import Array
from vloc_ros.geo.ground_images import SIZE_TOLERANCE, GroundRaster

# a tile with less ground, or fewer keypoints, shows no place: the edge of a mosaic, or water
_LEAST_SHOWN, LEAST_KEYPOINTS = 0.25, 40
# keypoints so near to the edge of a mosaic are of the edge
_EDGE_PX = 6
# tiles of a block, each way
_TOGETHER = 4
# of a block, whose size is limited already
_MOST_KEYPOINTS, _MOST_MEGAPIXELS = 20_000, 1000.0


@dataclass(frozen=True, slots=True, eq=False)
class GroundTile:
    """A tile with its keypoints.

    Attributes:
        name: number of the raster, ground size, row and column.
        centre: (2,) metres in the map.
        side_m: of the square.
        features: with pixels from its middle, y down.
    """

    name: str
    centre: Array
    side_m: float
    features: Features


@dataclass(frozen=True, slots=True, eq=False)
class TileBlock:
    """Squares of a raster beside each other, each of which may be a tile.

    Attributes:
        name: number of the raster, and ground size.
        raster: that they are cut from.
        squares: row and column of each, in the raster's grid of squares.
        half: of a square's side, pixels. Neighbours overlap by so much, and the first ones reach out of the raster by
            half of it, so that all ground is in the middle of one.
    """

    name: str
    raster: GroundRaster
    squares: tuple[tuple[int, int], ...]
    half: int

    def middle(self, square: tuple[int, int]) -> Array:
        """(2,) row and column of a square's middle, pixels of the raster."""
        return self.half // 2 + self.half * np.array(square)

    @property
    def first(self) -> Array:
        """(2,) row and column of its upper left pixel in the raster."""
        return np.asarray(np.maximum(self.middle(self.squares[0]) - self.half, 0))

    def read(self) -> tuple[Array, Array]:
        """Its pixels as far as the raster has them, and where they show ground."""
        return self.raster.read(*self.part)

    @property
    def part(self) -> tuple[slice, slice]:
        """Its rows and columns in the raster, whose lower right edge they may exceed."""
        (top, left), (bottom, right) = self.first.tolist(), (self.middle(self.squares[-1]) + self.half).tolist()
        return slice(top, bottom), slice(left, right)


def lay_blocks(ground: Sequence[GroundRaster], sizes_m: Sequence[float], *, tile_px: int) -> Iterator[TileBlock]:
    """All ground in squares, at each of the ground sizes that a raster can show; blocks without any are left out."""
    half = tile_px // 2
    for number, one in enumerate(ground):
        for size_m in sizes_m:
            if size_m < one.ground_size_m / SIZE_TOLERANCE:
                continue
            raster = one.resample(max(size_m, one.ground_size_m))
            columns, rows = (range(-(-length // half)) for length in raster.size)
            for top in rows[::_TOGETHER]:
                strip = []
                for left in columns[::_TOGETHER]:
                    across = columns[left : left + _TOGETHER]
                    squares = tuple((row, column) for row in rows[top : top + _TOGETHER] for column in across)
                    strip.append(TileBlock(f"{number}/{size_m:g}m", raster, squares, half))
                yield from _shown(strip)


def _shown(strip: Sequence[TileBlock]) -> Iterator[TileBlock]:
    """Those of blocks beside each other that may show ground; many without any are left out at once."""
    (rows, first), (_, last) = strip[0].part, strip[-1].part
    if not strip[0].raster.may_show(rows, slice(first.start, last.stop)):
        return
    if len(strip) == 1:
        yield strip[0]
        return
    yield from _shown(strip[: len(strip) // 2])
    yield from _shown(strip[len(strip) // 2 :])


class TileFinder:
    """Finds the tiles of blocks, by RootSIFT."""

    def __init__(self, config: RootSiftConfig) -> None:
        """With the configuration of views: a tile keeps the keypoints that a view of its size would."""
        self._of_views = RootSift(config)
        self._all = RootSift(
            replace(
                config,
                contrast_threshold=config.min_contrast_threshold,
                min_keypoints=0,
                max_keypoints=_MOST_KEYPOINTS,
                max_megapixels=_MOST_MEGAPIXELS,
            )
        )

    def find(self, block: TileBlock, image: Array, shown: Array) -> list[GroundTile]:
        """The tiles of a block, see `TileBlock.read`."""
        if shown.sum() < _LEAST_SHOWN * (2 * block.half) ** 2:
            return []
        found = _on_ground(self._all.extract(image), shown)
        tiles = (self._cut(block, square, found, shown) for square in block.squares)
        return [tile for tile in tiles if tile is not None]

    def _cut(self, block: TileBlock, square: tuple[int, int], found: Features, shown: Array) -> GroundTile | None:
        middle, size_m = block.middle(square), block.raster.ground_size_m
        top, left = np.maximum(middle - block.half, 0) - block.first
        bottom, right = middle + block.half - block.first
        area = shown[top:bottom, left:right]
        (x, y), scores = found.xy.T, found.scores
        kept = np.flatnonzero((x >= left) & (x < right) & (y >= top) & (y < bottom))
        kept = kept[: self._of_views.count_kept(scores[kept], area.size)]
        if area.sum() < _LEAST_SHOWN * (2 * block.half) ** 2 or len(kept) < LEAST_KEYPOINTS:
            return None
        xy = found.xy[kept] - (middle - block.first)[::-1].astype(np.float32)
        return GroundTile(
            f"{block.name}/{square[0]}-{square[1]}",
            np.array([block.raster.left_m + size_m * middle[1], block.raster.top_m - size_m * middle[0]]),
            2 * block.half * size_m,
            Features(xy, found.descriptors[kept], scores[kept]),
        )


def _on_ground(features: Features, shown: Array) -> Features:
    """Those that lie on shown ground, and not at its edge."""
    ground = np.pad(shown.astype(np.uint8), 1)  # what lies outside of the image may be ground
    ground[[0, -1], :], ground[:, [0, -1]] = 1, 1
    distance = cv2.distanceTransform(ground, cv2.DIST_L2, 3)[1:-1, 1:-1]
    column, row = features.xy.astype(int).T
    kept = distance[np.clip(row, 0, shown.shape[0] - 1), np.clip(column, 0, shown.shape[1] - 1)] > _EDGE_PX
    return Features(features.xy[kept], features.descriptors[kept], features.scores[kept])
