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

"""Images of places without 3D points: where each was taken, as its file name says it.

The names are those of the Deep Visual Geo-localization Benchmark (Berton et al. 2022):
`@utm_e@utm_n@zone@letter@latitude@longitude@pano@tile@heading@pitch@roll@height@timestamp@note@.jpg`. Only the first
two fields are needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.text import number_of

FIELDS = (
    *("x", "y", "zone", "letter", "latitude", "longitude", "pano", "tile"),
    *("heading", "pitch", "roll", "height", "timestamp", "note"),
)
SPLITS = ("train", "val", "test")
DATABASE, QUERIES = "database", "queries"
_AT = "@"
_FIRST_NORTHERN_BAND = "N"
# more than UTM coordinates of one zone can differ by
_BETWEEN_ZONES_M = 1e8


@dataclass(frozen=True, slots=True)
class PlaceImage:
    """An image file and where it was taken.

    Attributes:
        path: of the file.
        name: below the folder of the data set.
        fields: text of each of `FIELDS`; empty where it is not known.
        easting_m: UTM, or x of a local frame.
        northing_m: UTM, or y of a local frame.
        heading_deg: of the optical axis, clockwise from north (the y axis); None where it is not known.
    """

    path: Path
    name: str
    fields: tuple[str, ...]
    easting_m: float
    northing_m: float
    heading_deg: float | None = None

    @property
    def zone(self) -> str:
        """Number and hemisphere, such as `17 north`: what a coordinate system is; empty for a local frame."""
        number, letter = self.fields[2].strip(), self.fields[3].strip().upper()
        if not number:
            return ""
        hemisphere = "" if not letter else " north" if letter[0] >= _FIRST_NORTHERN_BAND else " south"
        return f"{number.lstrip('0')}{hemisphere}"


@dataclass(frozen=True, slots=True, eq=False)
class PlaceSplit:
    """The images of train, val or test.

    Attributes:
        name: of the split.
        database: images whose places are known.
        queries: images whose places are to be found.
    """

    name: str
    database: Sequence[PlaceImage]
    queries: Sequence[PlaceImage]


def parse_image(path: Path, name: str, fields: Mapping[str, str], *, where: str) -> PlaceImage:
    """An image of the text of its fields.

    Args:
        path: of the file.
        name: below the folder of the data set.
        fields: by name; those that are missing are empty.
        where: the fields stand, for messages.

    Raises:
        InputError: a coordinate or the heading is no finite number.
    """
    values = tuple(fields.get(field, "") for field in FIELDS)
    heading = fields.get("heading", "").strip()
    return PlaceImage(
        path,
        name,
        values,
        _number(values[0], "x", where),
        _number(values[1], "y", where),
        _number(heading, "heading", where) if heading else None,
    )


def fields_of_name(file_name: str) -> dict[str, str] | None:
    """The fields of a file name of the layout; None for one without `@`."""
    parts = file_name.split(_AT)
    if len(parts) < 4 or parts[0]:
        return None
    return dict(zip(FIELDS, parts[1:-1], strict=False))


def name_of_fields(fields: Sequence[str], suffix: str) -> str:
    """The file name of the text of `FIELDS`; characters that would end a field or a folder are replaced."""
    cleaned = (field.replace(_AT, "-").replace("/", "-").replace("\0", "") for field in fields)
    return f"{_AT}{_AT.join(cleaned)}{_AT}{suffix}"


def positions_of(images: Sequence[PlaceImage]) -> Array:
    """(N, 2) float64 metres east and north."""
    return np.array([[image.easting_m, image.northing_m] for image in images], np.float64).reshape(-1, 2)


def headings_of(images: Sequence[PlaceImage]) -> Array:
    """(N,) float64 degrees; NaN where one is not known."""
    return np.array([np.nan if image.heading_deg is None else image.heading_deg for image in images], np.float64)


def check_one_zone(split: PlaceSplit) -> None:
    """Refuse images of several UTM zones: their coordinates cannot be compared.

    Raises:
        InputError: there are several.
    """
    counts: dict[str, int] = {}
    for image in (*split.database, *split.queries):
        counts[image.zone] = counts.get(image.zone, 0) + 1
    if len(counts) > 1:
        found = ", ".join(f"{zone or 'without a zone'} ({count})" for zone, count in sorted(counts.items()))
        raise InputError(
            f"{split.name}: has images of {len(counts)} UTM zones: {found}; expected one, since metres of two zones "
            "cannot be compared. Write latitude and longitude into a places.csv without x and y, which is projected "
            "to one zone; or, for cities far from each other, give --separate-zones"
        )


def move_zones_apart(split: PlaceSplit) -> PlaceSplit:
    """The split with each UTM zone but the first moved east, so far that no distance takes two for neighbours."""
    zones = sorted({image.zone for image in (*split.database, *split.queries)})
    offsets = {zone: k * _BETWEEN_ZONES_M for k, zone in enumerate(zones)}

    def moved(images: Sequence[PlaceImage]) -> list[PlaceImage]:
        return [replace(image, easting_m=image.easting_m + offsets[image.zone]) for image in images]

    return PlaceSplit(split.name, moved(split.database), moved(split.queries))


def distance_or_none(distance_m: float) -> float | None:
    """A distance; None of one between two zones of `move_zones_apart`, which is no distance."""
    return distance_m if distance_m < _BETWEEN_ZONES_M / 2 else None


def _number(text: str, field: str, where: str) -> float:
    try:
        value = number_of(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{where}: {field} is {text!r}, expected a finite number; correct it, or leave the image out")
    return value
