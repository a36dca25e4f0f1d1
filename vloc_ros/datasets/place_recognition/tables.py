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

"""`places.csv`: images with their places as a table, for people's own images.

Needed are the columns `path` and `x`, `y` (metres) or `latitude`, `longitude` (degrees, projected to the UTM zone of
the first image, of whose central meridian all are within 6 degrees). Optional are `split` (train, val, test; default
test), `role` (database, queries, or a further set of queries such as queries_night; default database) and the other
fields of the layout: zone, letter, pano, tile, heading, pitch, roll, height, timestamp, note.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vloc_ros.core.errors import InputError
from vloc_ros.datasets.place_recognition.place_images import DATABASE, FIELDS, QUERIES, SPLITS, PlaceImage, parse_image
from vloc_ros.datasets.utm import UtmPosition, degrees_from_zone, to_utm
from vloc_ros.storage.text import number_of, read_text

TABLE = "places.csv"
_COLUMNS = ("path", "split", "role", *FIELDS)
_GEODETIC = ("latitude", "longitude")
# farther from the central meridian metres of the zone are longer than those on the ground by more than 0.5 %
_LARGEST_OFFSET_DEG = 6.0


@dataclass(frozen=True, slots=True)
class TableRow:
    """A row.

    Attributes:
        split: train, val or test.
        role: database, or the name of a set of queries.
        image: with its path below the folder of the table.
    """

    split: str
    role: str
    image: PlaceImage


def read_table(table: Path) -> list[TableRow]:
    """All rows.

    Raises:
        InputError: a column is missing or unknown, or a row cannot be used; the message names the line.
    """
    rows = csv.DictReader(io.StringIO(read_text(table)))
    columns = [column.strip() for column in rows.fieldnames or ()]
    if unknown := [column for column in columns if column not in _COLUMNS]:
        raise InputError(f"{table}: has a column {unknown[0]!r}, expected some of {', '.join(_COLUMNS)}; rename it")
    missing = [column for column in ("path", "x", "y") if column not in columns]
    projected = bool(missing) and set(_GEODETIC) <= set(columns) and "path" in columns
    if missing and not projected:
        raise InputError(
            f"{table}: has no column {missing[0]!r}, expected path, x, y, or path, latitude, longitude; write them"
        )
    rows.fieldnames = columns
    return list(_read_rows(table, rows, projected=projected))


def _read_rows(table: Path, rows: Iterable[dict[str, str | None]], *, projected: bool) -> Iterator[TableRow]:
    first: UtmPosition | None = None
    for number, row in enumerate(rows, start=2):
        where = f"{table}, line {number}"
        fields = {name: (value or "").strip() for name, value in row.items() if name in _COLUMNS}
        path, split = fields.get("path", ""), fields.get("split") or "test"
        role = fields.get("role") or DATABASE
        if split not in SPLITS or not (role == DATABASE or role.startswith(QUERIES)) or "/" in role:
            raise InputError(
                f"{where}: found split {split!r} and role {role!r}, expected one of {', '.join(SPLITS)}, and database "
                "or queries; correct it"
            )
        if not path or ".." in PurePosixPath(path).parts or PurePosixPath(path).is_absolute():
            raise InputError(f"{where}: path is {path!r}, expected one below the folder of the table; correct it")
        if projected:
            first = _project(fields, first, where)
        yield TableRow(split, role, parse_image(table.parent / path, path, fields, where=where))


def _project(fields: dict[str, str], first: UtmPosition | None, where: str) -> UtmPosition:
    """Fill in x, y and the zone from latitude and longitude; the position whose zone and hemisphere all have."""
    try:
        latitude, longitude = (number_of(fields[name]) for name in _GEODETIC)
    except ValueError:
        latitude = longitude = math.nan
    try:
        if first is None:
            position = first = to_utm(latitude, longitude)
        else:
            position = to_utm(latitude, longitude, zone=first.zone, northern=first.letter >= "N")
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    if (degrees := abs(degrees_from_zone(longitude, first.zone))) > _LARGEST_OFFSET_DEG:
        raise InputError(
            f"{where}: longitude {longitude:g} is {degrees:.1f} degrees from the central meridian of zone "
            f"{first.zone}, which the first row is in, expected at most {_LARGEST_OFFSET_DEG:g}: distances would be "
            "wrong; write a table for each city, or x, y and zone of each image and test with --separate-zones"
        )
    fields |= {
        "x": repr(position.easting_m),
        "y": repr(position.northing_m),
        "zone": str(position.zone),
        "letter": position.letter,
    }
    return first


def format_table(rows: Iterable[TableRow]) -> str:
    """The text of a table; paths are the names of the images."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([row.image.name, row.split, row.role, *row.image.fields] for row in rows)
    return text.getvalue()
