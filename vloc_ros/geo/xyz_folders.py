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

"""Folders of Web Mercator tiles, z/x/y.png or .jpg, as QGIS, gdal2tiles and MOBAC write them.

A tile of zoom z is one of 2^z by 2^z that the world is cut into; y counts from the north (XYZ) or from the south (TMS).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.geo.ground_images import SIZE_TOLERANCE
from vloc_ros.storage.images import SUFFIXES, read_image_size, read_opaque_image
from vloc_ros.storage.text import naming_file

_MOST_ZOOM = 26
# side of a tile, pixels: a few kilobytes may hold an image that fills the memory
_MOST_TILE_PX = 2048
_EQUATOR_M, _ECCENTRICITY2 = 6378137.0, 0.00669437999014
# what gdal2tiles writes beside tiles, and the profiles that it calls Web Mercator
_METADATA, _MERCATOR = "tilemapresource.xml", ("mercator", "global-mercator")
# pairs of neighbouring tiles whose seams are compared; the true neighbour has to fit so much better than another
_SEAMS, _CLEARLY_BETTER = 48, 0.6
# mean difference, of 255, of seams without texture
_LEAST_DIFFERENCE = 3.0
# share of another zoom that lies beyond a zoom before it is pointed out, or chosen in its place
_BEYOND = 0.1

Tile = tuple[int, int]


@dataclass(frozen=True, slots=True, eq=False)
class XyzFolder:
    """The tiles of one zoom.

    Attributes:
        path: of the folder.
        zoom: of the tiles.
        files: of each column from the west and row from the north; without those that show no ground.
        west: the westernmost column, of columns that may go on across the date line.
        columns: width of the rectangle around all tiles, in tiles.
        north: the northernmost row.
        rows: height of the rectangle, in tiles.
        tile_px: side of a tile.
        notes: lines for people.
    """

    path: Path
    zoom: int
    files: Mapping[Tile, Path]
    west: int
    columns: int
    north: int
    rows: int
    tile_px: int
    notes: tuple[str, ...]

    @property
    def world_px(self) -> int:
        """Width and height of the world, pixels."""
        return self.tile_px << self.zoom

    def geodetic(self, column_px: Array, row_px: Array) -> tuple[Array, Array]:
        """(...,) latitudes and longitudes of (...,) pixels of the world."""
        latitude = np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * np.asarray(row_px) / self.world_px))))
        longitude = (360.0 * np.asarray(column_px) / self.world_px) % 360.0 - 180.0
        return latitude, longitude

    def pixels(self, latitude: Array, longitude: Array) -> tuple[Array, Array]:
        """(...,) columns and rows of the world's pixels; columns are those nearest to the tiles, east of 180° too."""
        row_px = (1.0 - np.arcsinh(np.tan(np.radians(latitude))) / np.pi) / 2.0 * self.world_px
        middle_px = (self.west + self.columns / 2) * self.tile_px
        away_px = (longitude + 180.0) / 360.0 * self.world_px - middle_px
        half = self.world_px / 2
        return middle_px + (away_px + half) % self.world_px - half, row_px

    @property
    def middle(self) -> tuple[float, float]:
        """Latitude and longitude of the middle of the rectangle."""
        latitude, longitude = self.geodetic(
            np.array((self.west + self.columns / 2) * self.tile_px),
            np.array((self.north + self.rows / 2) * self.tile_px),
        )
        return float(latitude), float(longitude)

    @property
    def ground_size_m(self) -> float:
        """Size of a pixel on the ground in the middle of the rectangle, see `ground_size_of`."""
        return ground_size_of(self.middle[0], self.world_px)


def ground_size_of(latitude: float, world_px: int) -> float:
    """Metres from west to east of a pixel of Web Mercator on the ellipsoid; from south to north up to 0.7 % less.

    Web Mercator is the Mercator projection of a sphere, of latitudes on the ellipsoid: its own metres are longer than
    those on the ground by 1 / cos(latitude), and by the ellipsoid.
    """
    phi = np.radians(latitude)
    normal_m = _EQUATOR_M / np.sqrt(1.0 - _ECCENTRICITY2 * np.sin(phi) ** 2)
    return float(2.0 * np.pi * normal_m * np.cos(phi) / world_px)


def open_xyz_folder(
    path: Path, *, zoom: int | None = None, ground_size_m: float | None = None, tms: bool = False
) -> XyzFolder:
    """The tiles of one zoom of a folder, checked.

    Args:
        path: of the folder that holds the folders of zooms.
        zoom: to read; None for the coarsest that shows `ground_size_m` of nearly all ground of the finer ones, or the
            finest.
        ground_size_m: of the finest pixels that are wanted; None for those of the finest zoom.
        tms: rows count from the south.

    Raises:
        InputError: there are no tiles, none of that zoom, they are of another grid, or the seams of neighbours say that
            rows count from the other side, or that folders are rows.
    """
    _check_profile(path)
    found, others = _list_zooms(path)
    chosen = _choose_zoom(path, found, zoom, ground_size_m, tms=tms)
    listed = _from_north(found[chosen], chosen) if tms else found[chosen]
    tile_px = _tile_size(path, listed)
    files, repeated = _leave_out_repeated(listed)
    if not files:
        raise InputError(f"{path}: all {repeated} tiles of zoom {chosen} show the same, expected ground with texture")
    unknown = _check_seams(path, files, chosen, tms=tms)
    west, columns = _span(sorted({x for x, _ in files}), 1 << chosen)
    rows = [y for _, y in files]
    north, height = min(rows), max(rows) - min(rows) + 1
    notes = [
        f"zoom {chosen} of {', '.join(map(str, sorted(found)))}: {len(files)} tiles of {tile_px} pixels, "
        f"{columns * height - len(files)} of their rectangle of {columns}x{height} missing"
        + (f", {repeated} of them since they repeat one picture" if repeated else "")
    ]
    if unknown:
        notes.append(f"which way rows count is not known: {unknown}")
    notes += [
        f"{count} {suffix} tiles of zoom {zoom} are passed over: convert them to .png"
        for (zoom, suffix), count in sorted(others.items())
    ]
    notes += _wider_zooms(found, chosen)
    return XyzFolder(path, chosen, files, west, columns, north, height, tile_px, tuple(notes))


def _check_profile(path: Path) -> None:
    """Refuse tiles of another projection, where gdal2tiles has left a description."""
    description = path / _METADATA
    if not description.is_file():
        return
    profile = re.search(r'<TileSets\s[^>]*profile="([^"]*)"', description.read_text(errors="replace"))
    if profile and profile[1] not in _MERCATOR:
        raise InputError(
            f"{description}: the tiles are of the profile {profile[1]}, expected mercator; make them again with "
            "`gdal2tiles --profile=mercator --xyz`"
        )


def _list_zooms(path: Path) -> tuple[dict[int, dict[Tile, Path]], Counter[tuple[int, str]]]:
    """The files of each zoom by column and row, as the folder numbers them.

    And how many tiles of each zoom and suffix there are in no format that is read.
    """
    zooms: dict[int, dict[Tile, Path]] = {}
    others = Counter[tuple[int, str]]()
    for number, folder in _numbered(path):
        if number > _MOST_ZOOM:
            raise InputError(
                f"{path}: has a folder {folder.name}, expected zooms up to {_MOST_ZOOM} (z/x/y.png); "
                "if these are the columns of one zoom, name the folder above"
            )
        files, suffixes = zooms.setdefault(number, {}), dict[Tile, str]()
        for tile, file in _list_tiles(folder):
            if file.suffix.lower() not in SUFFIXES:
                suffixes[tile] = file.suffix.lower()
                continue
            _check_tile(tile, file, files.get(tile), number)
            files[tile] = file
        others.update((number, suffix) for tile, suffix in suffixes.items() if tile not in files)
    found = {number: files for number, files in zooms.items() if files}
    if not found:
        listed = ", ".join(f"{count} {suffix} files of zoom {zoom}" for (zoom, suffix), count in sorted(others.items()))
        raise InputError(
            f"{path}: holds no tiles z/x/y.png or .jpg, found {listed or 'none of other formats'}; name the "
            "folder that holds those of the zooms, and convert tiles of other formats"
        )
    return found, others


def _list_tiles(folder: Path) -> Iterator[tuple[Tile, Path]]:
    """Files whose names are numbers, of any suffix, by column and row."""
    for column, of_column in _numbered(folder):
        with os.scandir(of_column) as entries:
            for entry in entries:
                stem, suffix = os.path.splitext(entry.name)
                if not (suffix and stem.isascii() and stem.isdigit()):
                    continue
                if not entry.is_file() and suffix.lower() in SUFFIXES:
                    raise InputError(
                        f"{entry.path}: is a folder, a link to nothing or a device, expected a file with a tile; "
                        "remove it"
                    )
                yield (column, int(stem)), Path(entry.path)


def _check_tile(tile: Tile, file: Path, same: Path | None, zoom: int) -> None:
    count = 1 << zoom
    if max(tile) >= count:
        raise InputError(
            f"{file}: is tile {tile[0]}, {tile[1]} of zoom {zoom}, expected numbers below {count}; are the tiles of "
            "another projection than Web Mercator, such as gdal2tiles' geodetic, or of one image?"
        )
    if same is not None:
        raise InputError(
            f"{file}: is the same tile as {same}, expected one file of tile {tile[0]}, {tile[1]} of zoom {zoom}; "
            "remove one of them"
        )


def _numbered(path: Path) -> list[tuple[int, Path]]:
    """The folders within a folder whose names are numbers, in their order."""
    try:
        entries = [entry for entry in path.iterdir() if entry.name.isascii() and entry.name.isdigit()]
    except OSError as error:
        raise InputError(f"{path}: cannot be listed ({error.strerror}), expected a folder z/x/y.png") from error
    return sorted((int(entry.name), entry) for entry in entries if entry.is_dir())


def _choose_zoom(
    path: Path, found: Mapping[int, Mapping[Tile, Path]], zoom: int | None, size_m: float | None, *, tms: bool
) -> int:
    if zoom is not None:
        if zoom not in found:
            raise InputError(f"{path}: has no tiles of zoom {zoom}, found {', '.join(map(str, sorted(found)))}")
        return zoom
    finest = max(found)
    if size_m is None:
        return finest
    files = _from_north(found[finest], finest) if tms else found[finest]
    row = float(np.mean([y for _, y in files])) + 0.5
    latitude = float(np.degrees(np.arctan(np.sinh(np.pi * (1.0 - 2.0 * row / (1 << finest))))))
    tile_px = _tile_size(path, files)
    fine = sorted(one for one in found if ground_size_of(latitude, tile_px << one) <= SIZE_TOLERANCE * size_m)
    # of the world: of what a zoom shows, and of what finer ones show beyond it
    most = max((len(found[one]) / 4**one for one in fine), default=0.0)
    for one in fine:
        beyond = max((_count_beyond(found, one, finer) / 4**finer for finer in fine if finer > one), default=0.0)
        if beyond <= _BEYOND * most:
            return one
    return finest


def _from_north(files: Mapping[Tile, Path], zoom: int) -> dict[Tile, Path]:
    return {(x, (1 << zoom) - 1 - y): file for (x, y), file in files.items()}


def _tile_size(path: Path, files: Mapping[Tile, Path]) -> int:
    file = next(iter(files.values()))
    width, height = _check_size(file)
    if width != height:
        raise InputError(f"{file}: has {width}x{height} pixels, expected a square tile of {path}")
    return width


def read_tile(file: Path) -> tuple[Array, Array]:
    """(H, W, 3) uint8 BGR pixels of a tile, and (H, W) bool which are opaque.

    Raises:
        InputError: the file is damaged, or its header states a size that no tile has: then it is not decoded.
    """
    _check_size(file)
    return read_opaque_image(file)


def _check_size(file: Path) -> tuple[int, int]:
    """Width and height by the header."""
    with naming_file(file):
        width, height = read_image_size(file.read_bytes())
    if not (1 <= width <= _MOST_TILE_PX and 1 <= height <= _MOST_TILE_PX):
        raise InputError(
            f"{file}: has {width}x{height} pixels, expected 1 to {_MOST_TILE_PX} each way; leave it out, or cut the "
            "image into tiles with `gdal2tiles --xyz`"
        )
    return width, height


def _span(columns: Sequence[int], count: int) -> tuple[int, int]:
    """The westernmost of sorted columns, and how many columns of a world of `count` reach from it to the last."""
    gaps = [
        (following - one) % count or count for one, following in zip(columns, [*columns[1:], columns[0]], strict=True)
    ]
    widest = int(np.argmax(gaps))
    return columns[(widest + 1) % len(columns)], count - gaps[widest] + 1


def _leave_out_repeated(files: Mapping[Tile, Path]) -> tuple[dict[Tile, Path], int]:
    """The tiles without those of which others are copies to the bit, and how many these are: no ground looks so.

    They are what a server sends where it has no imagery, or blank.
    """
    of_size = {tile: file.stat().st_size for tile, file in files.items()}
    sizes = Counter(of_size.values())
    digests = {
        tile: hashlib.sha256(file.read_bytes()).digest() for tile, file in files.items() if sizes[of_size[tile]] > 1
    }
    copies = Counter(digests.values())
    kept = {tile: file for tile, file in files.items() if tile not in digests or copies[digests[tile]] == 1}
    return kept, len(files) - len(kept)


def _count_beyond(found: Mapping[int, Mapping[Tile, Path]], one: int, other: int) -> int:
    """How many tiles of the other zoom show ground beyond a zoom's, by the folder's own numbers: halves each zoom."""
    if other < one:
        covered = {(x >> (one - other), y >> (one - other)) for x, y in found[one]}
        return sum(tile not in covered for tile in found[other])
    return sum((x >> (other - one), y >> (other - one)) not in found[one] for x, y in found[other])


def _wider_zooms(found: Mapping[int, Mapping[Tile, Path]], chosen: int) -> list[str]:
    """What the next coarser and the next finer zoom show beyond the chosen one."""
    beyond = {zoom: _count_beyond(found, chosen, zoom) for zoom in (chosen - 1, chosen + 1) if zoom in found}
    return [
        f"{count} of {len(found[zoom])} tiles of zoom {zoom} show other ground: --zoom {zoom} makes a map of them"
        for zoom, count in beyond.items()
        if count > _BEYOND * len(found[zoom])
    ]


def _check_seams(path: Path, files: Mapping[Tile, Path], zoom: int, *, tms: bool) -> str:
    """Compare tiles with those that their numbers make their neighbours.

    Returns:
        Empty where they fit, or why that cannot be said.

    Raises:
        InputError: they fit in another order.
    """
    pairs = [(tile, (tile[0], tile[1] + 1)) for tile in files if (tile[0], tile[1] + 1) in files]
    drawn = pairs[:: max(1, len(pairs) // _SEAMS)]
    read = ((read_tile(files[one])[0], read_tile(files[other])[0]) for one, other in drawn)  # two at a time in memory
    differences = np.array([_seam_differences(*pair) for pair in read if pair[0].shape == pair[1].shape])
    if not len(differences):
        return "no tile has a neighbour of its size in the next row"
    south, north, east = np.median(differences, axis=0)
    others = min(north, east)
    if min(south, others) > _CLEARLY_BETTER * max(south, others) or max(south, others) < _LEAST_DIFFERENCE:
        return "seams between tiles show no texture"
    if south < others:
        return ""
    if east < north:
        raise InputError(f"{path}: the tiles of zoom {zoom} fit as z/y/x, expected z/x/y; rename the folders and files")
    if tms:
        raise InputError(f"{path}: the rows of zoom {zoom} count from the north (XYZ); leave out --tms")
    raise InputError(f"{path}: the rows of zoom {zoom} count from the south (TMS), expected XYZ; give --tms")


def _seam_differences(tile: Array, following: Array) -> tuple[float, float, float]:
    """How much edges differ if the following row's tile lies south, north or east of a tile, mean of 255."""
    edges = ((tile[-1], following[0]), (tile[0], following[-1]), (tile[:, -1], following[:, 0]))
    south, north, east = (float(np.abs(a.astype(float) - b).mean()) for a, b in edges)
    return south, north, east
