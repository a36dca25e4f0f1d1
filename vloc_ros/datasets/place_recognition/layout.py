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

"""Data sets of place recognition: the benchmark's layout of folders, or a table of people's own.

The layout is `DATASET/images/{train,val,test}/{database,queries}` with `@utm_e@utm_n@...@.jpg` at any depth; further
sets of queries are folders beside them such as `queries_night`. The table is `DATASET/places.csv`.
"""

from __future__ import annotations

from pathlib import Path

from vloc_ros.core.errors import InputError
from vloc_ros.datasets.place_recognition.place_images import (
    DATABASE,
    QUERIES,
    SPLITS,
    PlaceImage,
    PlaceSplit,
    check_one_zone,
    fields_of_name,
    move_zones_apart,
    parse_image,
)
from vloc_ros.datasets.place_recognition.published import source_of
from vloc_ros.datasets.place_recognition.tables import TABLE, read_table
from vloc_ros.storage.images import SUFFIXES

IMAGES = "images"


def read_split(folder: Path, split: str = "test", *, queries: str = QUERIES, one_zone: bool = True) -> PlaceSplit:
    """The database and the queries of a split.

    Args:
        folder: of the data set.
        split: train, val or test.
        queries: which set of queries: the name of its folder, or its role in the table.
        one_zone: refuse several UTM zones; else they are moved apart.

    Raises:
        InputError: there is none, a part is empty, an image has no place, or there are several zones.
    """
    if queries == DATABASE:
        raise InputError(
            f"the set of queries is {queries!r}, expected another than the database, where each image finds itself; "
            "choose queries, or a set such as queries_night"
        )
    parts = [read_images(folder, split, role) for role in (DATABASE, queries)]
    for role, images in zip((DATABASE, queries), parts, strict=True):
        if not images:
            raise InputError(
                f"{folder}: {split}/{role} holds no image, expected .jpg, .jpeg or .png files; "
                f"{_present(folder) or 'see `vloc place export --help`'}"
            )
    found = PlaceSplit(f"{folder} {split}", *parts)
    if not one_zone:
        return move_zones_apart(found)
    check_one_zone(found)
    return found


def read_images(folder: Path, split: str, role: str) -> list[PlaceImage]:
    """The images of a split and role, in the order of their names; none where the data set has none.

    Raises:
        InputError: there is no data set, or an image has no place.
    """
    folder = Path(folder)
    if (folder / TABLE).is_file():
        return [row.image for row in read_table(folder / TABLE) if (row.split, row.role) == (split, role)]
    images, without = list[PlaceImage](), list[Path]()
    paths = list_files(folder, split, role)
    for path in paths:
        fields = fields_of_name(path.name)
        if fields is None:
            without.append(path)
        else:
            images.append(parse_image(path, path.relative_to(folder).as_posix(), fields, where=str(path)))
    if without:
        raise InputError(
            f"{folder}: {len(without)} of {len(paths)} images of {split}/{role} have no place in their name, such as "
            f"{without[0].name}; expected @utm_e@utm_n@...@.jpg: rename them, or write {TABLE} with the columns "
            "path,x,y beside `images`"
        )
    return images


def list_files(folder: Path, split: str, role: str) -> list[Path]:
    """The image files of a split and role of the layout; none where that folder is missing.

    Raises:
        InputError: there is no data set.
    """
    require_dataset(folder)
    found = (folder / IMAGES / split / role).rglob("*")
    return sorted(path for path in found if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))


def query_sets(folder: Path, split: str) -> list[str]:
    """Names of the sets of queries of a split."""
    if (folder / TABLE).is_file():
        roles = {row.role for row in read_table(folder / TABLE) if row.split == split}
    else:
        roles = {path.name for path in (folder / IMAGES / split).glob(f"{QUERIES}*") if path.is_dir()}
    return sorted(roles - {DATABASE})


def require_dataset(folder: Path) -> None:
    """Refuse a folder that is no data set; of a published one the message says where it comes from.

    Raises:
        InputError: it has neither `images` nor `places.csv`.
    """
    if (folder / IMAGES).is_dir() or (folder / TABLE).is_file():
        return
    found = "is a file" if folder.is_file() else f"holds no {IMAGES}" if folder.is_dir() else "does not exist"
    raise InputError(
        f"{folder}: {found}, expected {IMAGES}/{{train,val,test}}/{{database,queries}} or {TABLE}{source_of(folder)}"
    )


def _present(folder: Path) -> str:
    """Which splits and sets of queries a data set has."""
    found = [f"{split}/{role}" for split in SPLITS for role in query_sets(folder, split)]
    return f"it has {', '.join(found)}: choose with --split and --queries" if found else ""
