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

"""Views of places from the street, a drone and a satellite, in University-1652's layout; perhaps with positions.

DATASET/train/VIEW/PLACE/*.jpg, DATASET/test/query_VIEW/PLACE/*.jpg and DATASET/test/gallery_VIEW/PLACE/*.jpg, as
Zheng, Wei and Yang (2020) have them: the name of a folder is the place. A table `positions.csv` beside the folders of
the views may say where images are and how much ground they show; overlapping ground is then of one place, by degrees.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.images import SUFFIXES
from vloc_ros.storage.text import number_of

TRAIN, TEST = "train", "test"
# a level view is a drone's that gravity and altitude have laid on the ground
DRONE, LEVEL = "drone", "level"
VIEWS = (DRONE, "satellite", "street", "google", LEVEL)
POSITIONS = "positions.csv"
POSITION_COLUMNS = ("file", "x_m", "y_m", "side_m", "region", "site")
HEADING = "heading_deg"  # an optional column


def name_view_folder(split: str, view: str, *, is_query: bool) -> str:
    """The name of a view's folder in a split."""
    return view if split == TRAIN else f"{'query' if is_query else 'gallery'}_{view}"


@dataclass(frozen=True, slots=True, eq=False)
class ViewImages:
    """The images of one view, in the order of their places and names.

    Attributes:
        paths: N files.
        places: (N,) str name of the folder of each.
        ground: (N, 3) float64 x and y of the middle of what each shows, and the side of that square, metres; NaN
            without a table of positions.
        regions: (N,) str region of each; empty where not known.
        sites: (N,) str part of the region; empty where not known.
        headings_deg: (N,) float64 bearing of the upper edge of each, clockwise from +y; NaN where not known.
    """

    paths: tuple[Path, ...]
    places: Array
    ground: Array
    regions: Array
    sites: Array
    headings_deg: Array

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, kept: Array) -> ViewImages:
        """Some images."""
        parts = (self.places[kept], self.ground[kept], self.regions[kept], self.sites[kept])
        parts = (*parts, self.headings_deg[kept])
        return ViewImages(tuple(self.paths[i] for i in kept), *parts)

    @property
    def has_positions(self) -> bool:
        """Whether it is known where they are."""
        return bool(np.isfinite(self.ground).all())

    def overlap(self, others: ViewImages) -> Array:
        """(N, M) float32 overlap of the ground, 0 to 1: intersection over union of squares along the axes.

        Without positions it is 1 for one place and 0 for two.
        """
        if not self.has_positions or not others.has_positions:
            return np.equal.outer(self.places, others.places).astype(np.float32)
        mine, theirs = self.ground[:, None], others.ground[None]
        smaller = np.minimum(mine[..., 2], theirs[..., 2])
        half = (mine[..., 2] + theirs[..., 2]) / 2
        sides = [np.clip(half - abs(mine[..., axis] - theirs[..., axis]), 0, smaller) for axis in (0, 1)]
        shared = sides[0] * sides[1]
        return np.asarray(shared / (mine[..., 2] ** 2 + theirs[..., 2] ** 2 - shared), np.float32)

    def is_shown_by(self, others: ViewImages) -> Array:
        """(N, M) bool whether another image shows, in its middle half, the ground in the middle of each.

        Without positions, whether both are of one place.
        """
        if not self.has_positions or not others.has_positions:
            return np.equal.outer(self.places, others.places)
        away = abs(self.ground[:, None, :2] - others.ground[None, :, :2]).max(axis=2)
        return np.asarray(away <= others.ground[None, :, 2] / 4)

    def distance_m(self, others: ViewImages) -> Array:
        """(N, M) metres between the middles; NaN without positions."""
        return np.asarray(np.linalg.norm(self.ground[:, None, :2] - others.ground[None, :, :2], axis=2))


def read_views(dataset: Path, split: str, view: str, *, is_query: bool) -> ViewImages:
    """The images of a view.

    A test split may have a view as queries or as the gallery alone, which then is both.

    Args:
        dataset: a folder of this layout. One that has the views themselves, without splits, is its own train split.
        split: `train` or `test`.
        view: of `VIEWS`.
        is_query: of the test split, whether the queries or the gallery.

    Raises:
        InputError: there are none, or the table of positions lacks one.
    """
    root = find_split(dataset, split)
    folders = [root / name_view_folder(split, view, is_query=role) for role in (is_query, not is_query)]
    folder = next((one for one in folders if one.is_dir()), folders[0])
    paths = list_view(folder)
    if not paths:
        raise InputError(
            f"{folder}: holds no image, expected PLACE/*.jpg; see what there is with "
            f"`python -m training.cross_view.inspect {dataset}`"
        )
    names = np.array([path.parent.name for path in paths])
    empty = np.full(len(paths), "", names.dtype)
    unknown = np.full((len(paths), 3), np.nan)
    images = ViewImages(tuple(paths), names, unknown, empty, empty, unknown[:, 0])
    return _with_positions(images, root) if (root / POSITIONS).is_file() else images


def find_split(dataset: Path, split: str) -> Path:
    """The folder of a split."""
    if split == TRAIN and not (dataset / TRAIN).is_dir() and any((dataset / view).is_dir() for view in VIEWS):
        return dataset
    return dataset / split


def list_view(folder: Path) -> list[Path]:
    """The images of a view's folder, by the names of their places and files; none where there is no such folder."""
    return sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _with_positions(images: ViewImages, root: Path) -> ViewImages:
    rows = read_positions(root / POSITIONS)
    names = [path.relative_to(root).as_posix() for path in images.paths]
    if missing := [name for name in names if name not in rows]:
        raise InputError(f"{root / POSITIONS}: has no row of {missing[0]}, expected one of each image; add it")
    found = [rows[name] for name in names]
    return replace(
        images,
        ground=np.array([row.ground for row in found]),
        regions=np.array([row.region for row in found]),
        sites=np.array([row.site for row in found]),
        headings_deg=np.array([row.heading_deg for row in found]),
    )


class PositionRow(NamedTuple):
    """A row of a table of positions, see `ViewImages`."""

    ground: tuple[float, float, float]
    region: str
    site: str
    heading_deg: float


def read_positions(path: Path) -> dict[str, PositionRow]:
    """The rows of a table of positions by file.

    Raises:
        InputError: it has other columns, a file twice, a number that is not finite, or a side that is not positive.
    """
    try:
        with path.open(newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) not in (POSITION_COLUMNS, (*POSITION_COLUMNS, HEADING)):
                raise InputError(
                    f"{path}: has the columns {reader.fieldnames}, expected {','.join(POSITION_COLUMNS)}, and perhaps "
                    f"{HEADING} as the last"
                )
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    found = dict[str, PositionRow]()
    for number, row in enumerate(rows, start=2):
        if row["file"] in found:
            raise InputError(
                f"{path}, line {number}: {row['file']} is there twice, expected one row of each; remove one"
            )
        ground, heading_deg = _read_ground(path, number, row), _read_heading(path, number, row)
        found[row["file"]] = PositionRow(ground, row["region"] or "", row["site"] or "", heading_deg)
    return found


def _read_heading(path: Path, number: int, row: dict[str, str]) -> float:
    """NaN where it is not known."""
    if not (text := row.get(HEADING)):
        return math.nan
    try:
        heading_deg = number_of(text)
    except ValueError:
        heading_deg = math.inf
    if not math.isfinite(heading_deg):
        raise InputError(f"{path}, line {number}: {HEADING} is {text!r}, expected degrees, or nothing; correct it")
    return heading_deg


def _read_ground(path: Path, number: int, row: dict[str, str]) -> tuple[float, float, float]:
    try:
        x, y, side = (number_of(row[name]) for name in ("x_m", "y_m", "side_m"))
    except (TypeError, ValueError):
        x = y = side = math.nan
    if not all(map(math.isfinite, (x, y, side))) or side <= 0:
        raise InputError(f"{path}, line {number}: expected metres as x_m and y_m, and a side_m above 0; correct it")
    return x, y, side


def hold_out(images: Sequence[str] | Array, share: float) -> Array:
    """(N,) bool: images of the last groups by name, of as many groups as come closest to a share."""
    names, counts = np.unique(np.asarray(images), return_counts=True)
    if len(names) < 2 or share <= 0:
        return np.zeros(len(images), bool)
    behind = np.cumsum(counts[::-1]) / counts.sum()
    kept = min(max(1, int(np.abs(behind - share).argmin()) + 1), len(names) - 1)
    return np.isin(np.asarray(images), names[-kept:])
