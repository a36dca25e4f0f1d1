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

"""Ground of Web Mercator tiles, brought to square metres part by part: no more than some tiles are in memory."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import MOST_FROM_DATUM_M, Datum
from vloc_ros.core.geometry.pose import Array
from vloc_ros.geo.aerial_sources import AerialSource, check_not_finer
from vloc_ros.geo.ground_images import check_coarser, interpolate_nodes
from vloc_ros.geo.xyz_folders import Tile, XyzFolder, open_xyz_folder, read_tile

# pixels between places that are projected; those between are interpolated, to some thousandths of a pixel
_STEP_PX = 64
# parallels and meridians bend by less than a pixel within so many
_BENT_PX = 1024
# of a pixel that is of ground alone, of 255
_ALL_GROUND = 250
# tiles in memory: a row of parts is read along three rows of tiles. Some hundred of 256 pixels, whatever their size
_KEPT_BYTES, _MOST_KEPT = 1 << 27, 4096
# points along each edge of the rectangle whose places are looked at: parallels are no straight lines
_EDGE_POINTS = 65
# a blur of less is none
_LEAST_BLUR_PX = 0.15


def read_xyz(
    path: Path, *, zoom: int | None = None, ground_size_m: float | None = None, tms: bool = False
) -> AerialSource:
    """Web Mercator tiles, see `open_xyz_folder`, as ground around the middle of their rectangle.

    Raises:
        InputError: see `open_xyz_folder`; the tiles lie too far apart, or are coarser than the ground size.
    """
    folder = open_xyz_folder(path, zoom=zoom, ground_size_m=ground_size_m, tms=tms)
    datum = Datum(*folder.middle)
    ground = XyzGround.of(folder, datum)
    if ground_size_m is not None:
        check_not_finer(path, ground_size_m, ground.ground_size_m)
    size = f"{ground.ground_size_m:.4g} m on the ground at latitude {datum.latitude:.4f}"
    return AerialSource((ground,), datum, (*folder.notes, f"pixels of {size}"))


class XyzGround:
    """Tiles of one zoom as a `GroundRaster` along the axes of a datum whose x axis points east."""

    def __init__(
        self, folder: XyzFolder, datum: Datum, box: tuple[float, float, float, float], ground_size_m: float
    ) -> None:
        """Ground of some size of a pixel.

        Args:
            folder: the tiles.
            datum: of the map frame.
            box: left, right, bottom and top of what the tiles cover, metres in the map.
            ground_size_m: side of a pixel on the ground.
        """
        self._folder, self._datum, self._box = folder, datum, box
        self.left_m, self.top_m, self.ground_size_m = box[0], box[3], ground_size_m
        shrink = ground_size_m / folder.ground_size_m
        # tiles are halved as often as that leaves something of them, and blurred for the rest
        self._halved = min(int(np.log2(shrink * (1.0 + 1e-9))), int(np.log2(folder.tile_px)))
        self._blur_px = 0.5 * np.sqrt(max((shrink / 2**self._halved) ** 2 - 1.0, 0.0))
        tile_bytes = 4 * (folder.tile_px >> self._halved) ** 2
        self._read_tile = lru_cache(maxsize=min(_KEPT_BYTES // tile_bytes, _MOST_KEPT))(self._read_file)

    @staticmethod
    def of(folder: XyzFolder, datum: Datum) -> XyzGround:
        """In pixels no finer than those of the tiles.

        Raises:
            InputError: a tile is too far from the datum.
        """
        along = np.linspace(0.0, 1.0, _EDGE_POINTS)
        zeros, ones = np.zeros(_EDGE_POINTS), np.ones(_EDGE_POINTS)
        x = np.concatenate([along, along, zeros, ones]) * folder.columns + folder.west
        y = np.concatenate([zeros, ones, along, along]) * folder.rows + folder.north
        corners = datum.local(*folder.geodetic(x * folder.tile_px, y * folder.tile_px))[:, :2]
        away_m = float(np.abs(corners).max())
        # of ground on the other side of the Earth the tangent plane says nothing
        wide_m = folder.ground_size_m * folder.tile_px * max(folder.columns, folder.rows) / 2
        if max(away_m, wide_m) > MOST_FROM_DATUM_M:
            raise InputError(
                f"{folder.path}: the tiles of zoom {folder.zoom} reach {max(away_m, wide_m) / 1000:.0f} km from their "
                f"middle, expected at most {MOST_FROM_DATUM_M / 1000:g} km; make maps of parts, or give a finer --zoom"
            )
        (left, bottom), (right, top) = corners.min(axis=0), corners.max(axis=0)
        box = (float(left), float(right), float(bottom), float(top))
        return XyzGround(folder, datum, box, folder.ground_size_m)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height, pixels."""
        left, right, bottom, top = self._box
        return max(1, round((right - left) / self.ground_size_m)), max(1, round((top - bottom) / self.ground_size_m))

    def resample(self, ground_size_m: float) -> XyzGround:
        """See `GroundRaster`."""
        check_coarser(ground_size_m, self._folder.ground_size_m)
        return XyzGround(self._folder, self._datum, self._box, ground_size_m)

    def may_show(self, rows: slice, columns: slice) -> bool:
        """See `GroundRaster`."""
        width, height = self.size
        (left, right, _), (top, bottom, _) = columns.indices(width), rows.indices(height)
        x, y = (np.linspace(a, b, 3 + (b - a) // _BENT_PX) for a, b in ((left, right), (top, bottom)))
        low, high = (tile.tolist() for tile in self._tiles_of(self._project(x, y)))
        columns_wide, rows_high = high[0] - low[0], high[1] - low[1]
        files, world = self._folder.files, 1 << self._folder.zoom
        if (columns_wide + 1) * (rows_high + 1) > len(files):
            return any(
                (column - low[0]) % world <= columns_wide and 0 <= row - low[1] <= rows_high for column, row in files
            )
        return any(
            self._file_of((column, row)) is not None
            for row in range(low[1], high[1] + 1)
            for column in range(low[0], high[0] + 1)
        )

    def read(self, rows: slice, columns: slice) -> tuple[Array, Array]:
        """See `GroundRaster`."""
        width, height = self.size
        across, down = range(*columns.indices(width)), range(*rows.indices(height))
        column_nodes, of_columns = interpolate_nodes(across, _STEP_PX)
        row_nodes, of_rows = interpolate_nodes(down, _STEP_PX)
        pixels = self._project(column_nodes, row_nodes)
        canvas, shown, origin = self._lay(pixels)
        if not shown.any():
            return np.zeros((len(down), len(across), 3), np.uint8), np.zeros((len(down), len(across)), bool)
        # OpenCV's pixel centres are whole numbers
        on_canvas = (pixels - origin) / 2**self._halved - 0.5
        to = [(of_rows.T @ on_canvas[..., k] @ of_columns).astype(np.float32) for k in range(2)]
        image = cv2.remap(canvas, *to, cv2.INTER_LINEAR)
        covered = cv2.remap(shown, *to, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        return np.asarray(image), np.asarray(covered >= _ALL_GROUND)

    def _project(self, columns: Array, rows: Array) -> Array:
        """(R, C, 2) columns and rows of the world's pixels, of (C,) columns and (R,) rows of this ground."""
        x = self.left_m + self.ground_size_m * (columns + 0.5)
        y = self.top_m - self.ground_size_m * (rows + 0.5)
        places = np.stack(np.meshgrid(x, y), axis=-1)
        return np.stack(self._folder.pixels(*self._datum.geodetic_of_ground(places)), axis=-1)

    def _tiles_of(self, pixels: Array) -> tuple[Array, Array]:
        """(2,) column and row of the first and of the last tile that (R, C, 2) pixels of the world need."""
        beyond = 2.0 ** (self._halved + 1)
        low, high = pixels.min(axis=(0, 1)) - beyond, pixels.max(axis=(0, 1)) + beyond
        return (low // self._folder.tile_px).astype(int), (high // self._folder.tile_px).astype(int)

    def _file_of(self, tile: Tile) -> Path | None:
        return self._folder.files.get((tile[0] % (1 << self._folder.zoom), tile[1]))

    def _lay(self, pixels: Array) -> tuple[Array, Array, Array]:
        """The tiles that pixels of the world lie in, side by side and nearly as coarse as this ground.

        Returns:
            (H, W, 3) uint8 pixels, (H, W) uint8 255 where there is ground, and (2,) the world's column and row of their
            upper left corner.
        """
        side = self._folder.tile_px >> self._halved
        low, high = self._tiles_of(pixels)
        columns, rows = (high - low + 1).tolist()
        canvas, shown = (
            np.zeros((rows * side, columns * side, 3), np.uint8),
            np.zeros((rows * side, columns * side), np.uint8),
        )
        for row in range(rows):
            for column in range(columns):
                tile = self._read_tile((int(low[0]) + column, int(low[1]) + row))
                if tile is not None:
                    part = np.s_[row * side : (row + 1) * side, column * side : (column + 1) * side]
                    canvas[part], shown[part] = tile
        if self._blur_px > _LEAST_BLUR_PX:
            canvas = np.asarray(cv2.GaussianBlur(canvas, (0, 0), self._blur_px))
        return canvas, shown, low * self._folder.tile_px

    def _read_file(self, tile: Tile) -> tuple[Array, Array] | None:
        """Pixels of a tile, halved as often as the canvas's, and 255 where it is opaque; None where there is none."""
        folder, file = self._folder, self._file_of(tile)
        if file is None:
            return None
        image, opaque = read_tile(file)
        if image.shape[:2] != (folder.tile_px, folder.tile_px):
            raise InputError(
                f"{file}: has {image.shape[1]}x{image.shape[0]} pixels, expected {folder.tile_px}x{folder.tile_px} as "
                "of the other tiles; leave it out, or convert it"
            )
        shown, side = np.where(opaque, 255, 0).astype(np.uint8), folder.tile_px >> self._halved
        if self._halved:
            image, shown = (
                np.asarray(cv2.resize(one, (side, side), interpolation=cv2.INTER_AREA)) for one in (image, shown)
            )
        return image, shown
