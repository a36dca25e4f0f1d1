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

"""What is wrong with a data set of place recognition: found, counted and named, before hours are spent on it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.sources import Progress, silent
from vloc_ros.datasets.place_recognition.layout import list_files, query_sets, require_dataset
from vloc_ros.datasets.place_recognition.place_images import (
    DATABASE,
    FIELDS,
    SPLITS,
    PlaceImage,
    fields_of_name,
    parse_image,
    positions_of,
)
from vloc_ros.datasets.place_recognition.positives import RADIUS_M, find_positives
from vloc_ros.datasets.place_recognition.tables import TABLE, read_table
from vloc_ros.datasets.utm import to_utm
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import integer_of, number_of

# latitude and longitude of a name may be rounded
_LARGEST_DISAGREEMENT_M = 20.0


@dataclass(frozen=True, slots=True, eq=False)
class PartReport:
    """The images of a split and role.

    Attributes:
        split: train, val or test.
        role: database, or a set of queries.
        images: those whose place is known and that can be read.
        without_place: files without `@utm_e@utm_n@` in their name.
        wrong: a message for each coordinate that cannot be used.
        damaged: a message for each file that cannot be read.
        disagreeing: files whose latitude and longitude are elsewhere than their UTM position.
        zones: number of images by UTM zone.
        sizes: number of images by width and height.
        without_positive: of queries, how many have no database image near; None for a database.
    """

    split: str
    role: str
    images: list[PlaceImage] = field(default_factory=list)
    without_place: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    disagreeing: list[str] = field(default_factory=list)
    zones: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    without_positive: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DatasetReport:
    """A data set.

    Attributes:
        parts: that there are.
        problems: each in one line: what was found, what is expected and what to do. None of a data set without fault.
        notes: what may be meant so.
    """

    parts: list[PartReport]
    problems: list[str]
    notes: list[str]


def check_dataset(folder: Path, *, radius_m: float = RADIUS_M, progress: Progress = silent) -> DatasetReport:
    """Read every image of a data set and compare their places.

    Raises:
        InputError: there is no data set, or its table cannot be read.
    """
    require_dataset(folder)
    roles = [(split, role) for split in SPLITS for role in (DATABASE, *query_sets(folder, split))]
    parts = [part for split, role in roles if (part := _check_part(folder, split, role, progress)) is not None]
    problems, notes = list[str](), list[str]()
    if not parts:
        problems.append(f"{folder}: has no images, expected them in train, val or test; see `vloc place export --help`")
    for split in dict.fromkeys(part.split for part in parts):
        _compare_split([part for part in parts if part.split == split], radius_m, problems, notes)
    _find_leaks(parts, radius_m, notes)
    return DatasetReport([_count_positives(part, parts, radius_m) for part in parts], problems, notes)


def _check_part(folder: Path, split: str, role: str, progress: Progress) -> PartReport | None:
    report = PartReport(split, role)
    if (folder / TABLE).is_file():
        found = [row.image for row in read_table(folder / TABLE) if (row.split, row.role) == (split, role)]
    else:
        found = _parse_names(folder, list_files(folder, split, role), report)
    if not (found or report.without_place or report.wrong):
        return None
    for image in progress(found, description=f"{split}/{role}", total=len(found)):
        try:
            height, width = read_image(image.path).shape[:2]
        except InputError as error:
            report.damaged.append(str(error))
            continue
        report.images.append(image)
        report.zones[image.zone] += 1
        report.sizes[width, height] += 1
        if _disagrees(image):
            report.disagreeing.append(image.name)
    return report


def _parse_names(folder: Path, paths: list[Path], report: PartReport) -> list[PlaceImage]:
    images = []
    for path in paths:
        fields, name = fields_of_name(path.name), path.relative_to(folder).as_posix()
        if fields is None:
            report.without_place.append(name)
            continue
        try:
            images.append(parse_image(path, name, fields, where=name))
        except InputError as error:
            report.wrong.append(str(error))
    return images


def _disagrees(image: PlaceImage) -> bool:
    """Whether the latitude and longitude are elsewhere; not where they or the zone are not given."""
    fields = dict(zip(FIELDS, image.fields, strict=True))
    try:
        zone = integer_of(fields["zone"])
        latitude, longitude = number_of(fields["latitude"]), number_of(fields["longitude"])
        position = to_utm(latitude, longitude, zone=zone)
    except (ValueError, InputError):
        return False
    offset = np.hypot(position.easting_m - image.easting_m, position.northing_m - image.northing_m)
    return bool(offset > _LARGEST_DISAGREEMENT_M)


def _compare_split(parts: list[PartReport], radius_m: float, problems: list[str], notes: list[str]) -> None:
    split = parts[0].split
    for part in parts:
        problems += _problems_of(part)
    roles = {part.role for part in parts if part.images}
    if DATABASE not in roles:
        problems.append(f"{split}: has no database that can be used, expected {split}/{DATABASE}; add it")
    if not roles - {DATABASE}:
        problems.append(f"{split}: has no queries that can be used, expected {split}/queries; add them")
    zones = sum((part.zones for part in parts), Counter[str]())
    if len(zones) > 1:
        found = ", ".join(f"{zone or 'without a zone'} ({count})" for zone, count in sorted(zones.items()))
        problems.append(
            f"{split}: has images of {len(zones)} UTM zones: {found}; expected one; project all to one zone with a "
            "places.csv of latitude and longitude, or test with --separate-zones"
        )
    sizes = sum((part.sizes for part in parts), Counter[tuple[int, int]]())
    if len(sizes) > 1:
        common = ", ".join(f"{w}x{h} ({count})" for (w, h), count in sizes.most_common(3))
        notes.append(f"{split}: images of {len(sizes)} sizes: {common}")


def _problems_of(part: PartReport) -> list[str]:
    name = f"{part.split}/{part.role}"
    remedies = (
        (
            part.without_place,
            "without a place in their name",
            "rename them to @utm_e@utm_n@...@.jpg, or use places.csv",
        ),
        (part.wrong, "with a coordinate that is no finite number", "correct the names, or leave the images out"),
        (part.damaged, "that cannot be read", "copy them again, or leave them out"),
        (part.disagreeing, "whose latitude and longitude are elsewhere than their UTM position", "correct the zone"),
    )
    return [
        f"{name}: {len(found)} images {what}, such as {found[0]}; expected none; {remedy}"
        for found, what, remedy in remedies
        if found
    ]


def _count_positives(part: PartReport, parts: list[PartReport], radius_m: float) -> PartReport:
    if part.role == DATABASE:
        return part
    database = [image for one in parts if (one.split, one.role) == (part.split, DATABASE) for image in one.images]
    positives = find_positives(part.images, database, radius_m=radius_m)
    without = sum(not len(one) for one in positives)
    return PartReport(
        part.split, part.role, part.images, part.without_place, part.wrong, part.damaged, part.disagreeing,
        part.zones, part.sizes, without,
    )  # fmt: skip


def _find_leaks(parts: list[PartReport], radius_m: float, notes: list[str]) -> None:
    """Images of val or test that are near one of train: neighbours in a video leak between splits."""
    train = [image for part in parts if part.split == "train" for image in part.images]
    for split in ("val", "test"):
        images = [image for part in parts if part.split == split for image in part.images]
        if not train or not images:
            continue
        near = sum(bool(len(one)) for one in find_positives(images, train, radius_m=radius_m))
        if near:
            notes.append(
                f"{split}: {near} of {len(images)} images are within {radius_m:g} m of one of train; expected "
                "disjoint splits: a model that was trained on these places is scored too well"
            )


def extent_of(images: list[PlaceImage]) -> tuple[float, float]:
    """Metres from west to east and from south to north."""
    spread = np.ptp(positions_of(images), axis=0) if images else np.zeros(2)
    return float(spread[0]), float(spread[1])
