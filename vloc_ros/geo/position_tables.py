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

"""Tables of positions on Earth: one a row, with a header, comma-separated.

Columns are `latitude` and `longitude` (WGS 84 degrees), or `easting` and `northing` with a coordinate system. Heights
are read from a column only when it is named, together with what the heights are measured from.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.geodetic import check_geodetic
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.text import number_of, read_text

ELLIPSOIDAL, ORTHOMETRIC, RELATIVE = "ellipsoidal", "orthometric", "relative"
HEIGHT_REFERENCES = (ELLIPSOIDAL, ORTHOMETRIC, RELATIVE)
_GEODETIC, _PROJECTED = ("latitude", "longitude"), ("easting", "northing")
# of the geoid above the ellipsoid, anywhere on Earth
_MOST_UNDULATION_M = 120.0


@dataclass(frozen=True, slots=True)
class Heights:
    """What a column of heights means.

    Attributes:
        column: its name in the header.
        reference: a name of `HEIGHT_REFERENCES`; `orthometric` is above sea level, `relative` above any one level.
        undulation_m: of the geoid above the ellipsoid, which orthometric heights need to become ellipsoidal.
    """

    column: str
    reference: str
    undulation_m: float | None = None

    def __post_init__(self) -> None:
        if self.reference not in HEIGHT_REFERENCES:
            raise InputError(f"heights are {self.reference!r}, expected one of {', '.join(HEIGHT_REFERENCES)}")
        if (self.reference == ORTHOMETRIC) != (self.undulation_m is not None):
            raise InputError(
                f"heights are {self.reference} with geoid undulation {self.undulation_m}, expected an undulation with "
                "orthometric heights and with no others; a geoid calculator gives it for a place"
            )
        if self.undulation_m is not None and not abs(self.undulation_m) <= _MOST_UNDULATION_M:
            raise InputError(
                f"the geoid undulation is {self.undulation_m:g} m, expected -{_MOST_UNDULATION_M:g} to "
                f"{_MOST_UNDULATION_M:g} m"
            )


class Row(dict[str, str]):
    """The cells of a row by the header, and the number of its line in the file."""

    def __init__(self, cells: dict[str, str], *, line: int) -> None:
        """A row that was read from a line; the first line is 1."""
        super().__init__(cells)
        self.line = line


@dataclass(frozen=True, slots=True, eq=False)
class EarthPositions:
    """N positions on Earth.

    Attributes:
        names: of the rows, empty strings where the table has no `name`.
        latitude: (N,) WGS 84 degrees.
        longitude: (N,) WGS 84 degrees.
        altitude_m: (N,) metres, ellipsoidal, or above an unknown level where `relative`; None for none.
        relative: whether the heights' level is unknown.
    """

    names: tuple[str, ...]
    latitude: Array
    longitude: Array
    altitude_m: Array | None
    relative: bool = False


def read_positions(path: Path, *, heights: Heights | None = None, crs: str | None = None) -> EarthPositions:
    """The positions of a table.

    Args:
        path: of the table.
        heights: their column and reference; None ignores heights.
        crs: of eastings and northings, as pyproj reads it, such as EPSG:25832.

    Raises:
        InputError: a column is missing, a value is no number, whose line the message names, or no place on Earth.
    """
    rows = read_table(path)
    wanted = _PROJECTED if crs else _GEODETIC
    first, second = (column_of(path, rows, name) for name in wanted)
    if crs:
        first, second = _to_geodetic(first, second, crs)
    altitude = None if heights is None else column_of(path, rows, heights.column)
    if altitude is not None and heights is not None and heights.undulation_m is not None:
        altitude = altitude + heights.undulation_m
    try:
        check_geodetic(first, second, altitude)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    names = tuple(row.get("name", "").strip() for row in rows)
    return EarthPositions(names, first, second, altitude, heights is not None and heights.reference == RELATIVE)


def keep_positions(positions: EarthPositions, rows: Sequence[int]) -> EarthPositions:
    """Some of the positions, by their rows."""
    altitude = None if positions.altitude_m is None else positions.altitude_m[rows]
    names = tuple(positions.names[k] for k in rows)
    return EarthPositions(names, positions.latitude[rows], positions.longitude[rows], altitude, positions.relative)


def read_table(path: Path) -> list[Row]:
    """The rows of a table by its header; empty lines and those that begin with # are skipped.

    Raises:
        InputError: it has no rows, one of another length than the header, or two columns of one name.
    """
    lines = [(number, line) for number, line in enumerate(read_text(path).split("\n"), start=1) if line.strip()]
    split = [(number, _split(path, number, line)) for number, line in lines if not line.startswith("#")]
    if len(split) < 2:
        raise InputError(f"{path}: has no rows below a header, expected one position a row")
    header = split[0][1]
    repeated = sorted({name for name in header if header.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}: has several columns {', '.join(repeated)}, expected one of a name; rename the others"
        )
    rows = []
    for number, words in split[1:]:
        if len(words) != len(header):
            raise InputError(f"{path}, line {number}: {len(words)} columns, expected {len(header)} as in the header")
        rows.append(Row(dict(zip(header, words, strict=True)), line=number))
    return rows


def _split(path: Path, number: int, line: str) -> list[str]:
    try:
        return [word.strip() for word in next(csv.reader([line], skipinitialspace=True))]
    except csv.Error as error:
        raise InputError(f"{path}, line {number}: is not comma-separated ({error}); correct it") from error


def image_of(path: Path, row: Row, folder: Path) -> Path:
    """The image that a row names in its column `name`, which lies below a folder.

    Raises:
        InputError: the name is empty, or leads out of the folder; the message names the line.
    """
    name = row.get("name", "")
    check_image_name(name, folder, where=f"{path}, line {row.line}")
    return folder / name


def check_image_name(name: str, folder: Path, *, where: str) -> None:
    """Raise InputError, which says where the name is from, if it is empty or leads out of the folder."""
    if not name or "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise InputError(f"{where}: name is {name!r}, expected an image below {folder}; correct it")


def column_of(path: Path, rows: Sequence[Row], name: str) -> Array:
    """(N,) a column as finite numbers.

    Raises:
        InputError: it is missing, or a value is no finite number; the message names the line.
    """
    if name not in rows[0]:
        raise InputError(f"{path}: has no column {name}, found {', '.join(rows[0])}; name it in the header")
    values = []
    for row in rows:
        try:
            value = number_of(row[name])
        except ValueError:
            value = np.nan
        if not np.isfinite(value):
            raise InputError(f"{path}, line {row.line}: {name} is {row[name]!r}, expected a finite number")
        values.append(value)
    return np.array(values)


def _to_geodetic(easting: Array, northing: Array, crs: str) -> tuple[Array, Array]:
    """(N,) latitudes and longitudes; one coordinate system holds for all rows, so zones are never mixed."""
    import pyproj
    from pyproj.exceptions import CRSError

    try:
        system = pyproj.CRS.from_user_input(crs)
    except CRSError as error:
        raise InputError(f"the coordinate system is {crs!r}, expected one such as EPSG:25832 ({error})") from None
    longitude, latitude = pyproj.Transformer.from_crs(system, "EPSG:4326", always_xy=True).transform(easting, northing)
    if not np.isfinite([latitude, longitude]).all():
        raise InputError(f"eastings and northings are out of the range of {crs}; are they swapped, or of another zone?")
    area = system.area_of_use
    if area is not None:
        inside = (latitude >= area.south - 1) & (latitude <= area.north + 1)
        if area.west <= area.east:  # else it crosses the date line
            inside &= (longitude >= area.west - 3) & (longitude <= area.east + 3)
        if not inside.all():
            raise InputError(
                f"{int((~inside).sum())} of {len(inside)} positions lie outside of where {crs} is used "
                f"({area.name}); are they of another zone, or swapped?"
            )
    return np.asarray(latitude), np.asarray(longitude)
