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

"""Images of a training with their positions: which show one place, and which do not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import cv2
import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.sources import Progress, silent
from vloc_ros.datasets.place_recognition.layout import read_split
from vloc_ros.datasets.place_recognition.place_images import QUERIES, headings_of, positions_of
from vloc_ros.storage.images import read_image

_MARGIN = 1.3


class ListedImages(Protocol):
    """Image files, of which some can be selected."""

    @property
    def paths(self) -> tuple[Path, ...]:
        """N files."""
        ...

    def select(self, kept: Array) -> Any:
        """Some images."""
        ...


SomeImages = TypeVar("SomeImages", bound=ListedImages)


@dataclass(frozen=True, slots=True)
class Radii:
    """Which distances of a data set mean what.

    Attributes:
        positive_m: largest distance of images of one place.
        negative_m: images farther apart show different places; also the radius of positives in validation.
    """

    positive_m: float = 10.0
    negative_m: float = 25.0

    def __post_init__(self) -> None:
        if not 0 < self.positive_m <= self.negative_m < math.inf:
            raise InputError(
                f"the radii are {self.positive_m:g} and {self.negative_m:g} m, expected 0 < positive <= negative"
            )


@dataclass(frozen=True, slots=True, eq=False)
class PlaceImages:
    """The images of a split of one data set or of several.

    Attributes:
        paths: N files.
        positions: (N, 2) float64 metres.
        headings: (N,) float64 degrees, NaN where not known.
        datasets: (N,) int64 number of each image's data set; images of two are never of one place.
        is_query: (N,) bool; the others are the database.
        radii: of each data set.
    """

    paths: tuple[Path, ...]
    positions: Array
    headings: Array
    datasets: Array
    is_query: Array
    radii: tuple[Radii, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def select(self, kept: Array) -> PlaceImages:
        """Some images."""
        return PlaceImages(
            tuple(self.paths[i] for i in kept),
            self.positions[kept],
            self.headings[kept],
            self.datasets[kept],
            self.is_query[kept],
            self.radii,
        )

    def label(self, some: Array, others: Array, *, max_angle_deg: float = 0.0) -> tuple[Array, Array]:
        """(S, O) bool whether images show one place, and whether they show different ones; near ones are neither.

        Args:
            some: (S,) images.
            others: (O,) images.
            max_angle_deg: largest angle between the headings of images of one place; 0 for any.

        Raises:
            InputError: headings are to be compared, and an image has none.
        """
        away = np.linalg.norm(self.positions[some][:, None] - self.positions[others][None], axis=2)
        same = np.equal.outer(self.datasets[some], self.datasets[others])
        of = self.datasets[some]
        near_m, far_m = (np.array([getattr(r, name) for r in self.radii])[of, None] for name in Radii.__slots__)
        positive, negative = same & (away <= near_m), ~same | (away > far_m)
        if max_angle_deg:
            self.require_headings()
            turn = (self.headings[some][:, None] - self.headings[others][None] + 180.0) % 360.0 - 180.0
            positive &= np.abs(turn) <= max_angle_deg
        return positive, negative

    def require_headings(self) -> None:
        """Raise InputError where an image has no heading."""
        if missing := int(np.isnan(self.headings).sum()):
            raise InputError(
                f"{missing} of {len(self)} images have no heading, expected one of each; write the headings, or set "
                "tuples.max_angle_deg=0 and tuples.sector_deg=360"
            )


def read_place_images(
    folders: Sequence[Path], split: str, radii: Sequence[Radii], *, queries: Sequence[str] = (QUERIES,)
) -> PlaceImages:
    """The database and the queries of a split of every data set.

    Raises:
        InputError: a part is empty, an image has no finite place, or there are several zones in a data set.
    """
    images, datasets, is_query = [], list[int](), list[bool]()
    for number, folder in enumerate(folders):
        parts = [read_split(folder, split, queries=name) for name in queries]
        for of, role in ((parts[0].database, False), *((part.queries, True) for part in parts)):
            images += list(of)
            datasets += [number] * len(of)
            is_query += [role] * len(of)
    return PlaceImages(
        tuple(image.path for image in images),
        positions_of(images),
        headings_of(images),
        np.array(datasets, np.int64),
        np.array(is_query, bool),
        tuple(radii),
    )


@dataclass(frozen=True, slots=True, eq=False)
class ImageStore:
    """Decoded images, in memory and reduced, or read when they are needed.

    Attributes:
        paths: N files.
        least: height and width that images are not reduced below.
        kept: N reduced images and their widths before, or empty.
    """

    paths: tuple[Path, ...]
    least: tuple[int, int]
    kept: tuple[tuple[Array, int], ...] = ()

    def read(self, i: int) -> tuple[Array, int]:
        """An image, (h, w) or (h, w, 3) uint8, and the width of its file's."""
        return self.kept[i] if self.kept else _read_reduced(self.paths[i], self.least)


def open_images(
    images: SomeImages, size: tuple[int, int], *, in_memory: bool, progress: Progress = silent
) -> tuple[SomeImages, ImageStore, list[str]]:
    """The images that can be read, where they are, and why the others cannot.

    All are decoded once, so that a damaged one is named before the training and does not end it.
    """
    least = round(_MARGIN * size[0]), round(_MARGIN * size[1])
    found, kept, damaged = list[tuple[Array, int]](), list[int](), list[str]()
    with ThreadPoolExecutor() as pool:
        read = pool.map(lambda path: _try_read(path, least), images.paths)
        for i, one in enumerate(progress(read, description="reading images", total=len(images))):
            if isinstance(one, str):
                damaged.append(one)
                continue
            kept.append(i)
            if in_memory:
                found.append(one)
    usable = images.select(np.array(kept, np.int64))
    return usable, ImageStore(usable.paths, least, tuple(found)), damaged


def _try_read(path: Path, least: tuple[int, int]) -> tuple[Array, int] | str:
    try:
        return _read_reduced(path, least)
    except InputError as error:
        return str(error)


def _read_reduced(path: Path, least: tuple[int, int]) -> tuple[Array, int]:
    image = read_image(path)
    height, width = image.shape[:2]
    scale = max(least[0] / height, least[1] / width)
    if scale < 1:
        size = max(1, round(scale * width)), max(1, round(scale * height))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(image), width
