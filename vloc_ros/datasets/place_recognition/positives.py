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

"""Which images of a database show the place of a query: by distance, by direction, by what a map knows."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.datasets.place_recognition.place_images import PlaceImage, PlaceSplit, headings_of, positions_of
from vloc_ros.storage.text import number_of, read_text

# of the benchmark: positives of a test, positives in training
RADIUS_M, TRAINING_RADIUS_M = 25.0, 10.0
SHARED_VIEWS = "shared_views.csv"
_SHARED_COLUMNS = ("split", "query", "database", "share")
# distances that are computed at once
_AT_ONCE = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class TrainingLabels:
    """What a training with positives and negatives needs.

    Attributes:
        queries: (K,) int64 queries that have a positive; the others cannot be trained with.
        positives: of each, the (P,) int64 database images that are near.
        excluded: of each, the (E,) int64 database images that are no negatives.
        dropped: number of queries without a positive.
    """

    queries: Array
    positives: Sequence[Array]
    excluded: Sequence[Array]
    dropped: int


def find_positives(
    queries: Sequence[PlaceImage],
    database: Sequence[PlaceImage],
    *,
    radius_m: float = RADIUS_M,
    max_angle_deg: float | None = None,
) -> list[Array]:
    """Of each query the (P,) int64 database images within a radius, the border included, in the same UTM zone.

    Args:
        queries: the queries.
        database: the database.
        radius_m: of positives.
        max_angle_deg: between the headings; None for any. The benchmark takes any, so that a view the other way is a
            positive too.

    Raises:
        InputError: headings are to be compared, and an image has none.
    """
    zones = {zone: k for k, zone in enumerate({image.zone for image in (*queries, *database)})}
    q_zone, d_zone = (np.array([zones[image.zone] for image in images]) for images in (queries, database))
    q_heading, d_heading = (_headings(images, max_angle_deg) for images in (queries, database))
    at, of = positions_of(queries), positions_of(database)
    found = list[Array]()
    step = max(1, _AT_ONCE // max(len(of), 1))
    for start in range(0, len(at), step):
        some = slice(start, start + step)
        near = ((at[some, None] - of[None]) ** 2).sum(axis=2) <= radius_m**2
        near &= q_zone[some, None] == d_zone[None]
        if max_angle_deg is not None:
            turn = (q_heading[some, None] - d_heading[None] + 180.0) % 360.0 - 180.0
            near &= np.abs(turn) <= max_angle_deg
        found += [np.flatnonzero(row) for row in near]
    return found


def _headings(images: Sequence[PlaceImage], max_angle_deg: float | None) -> Array:
    headings = headings_of(images)
    if max_angle_deg is not None and (unknown := np.flatnonzero(np.isnan(headings))).size:
        raise InputError(
            f"{len(unknown)} of {len(images)} images have no heading, such as {images[unknown[0]].name}; expected one "
            "of each where --max-angle is given; leave that out, or write the headings"
        )
    return headings


def label_training_queries(
    split: PlaceSplit, *, radius_m: float = TRAINING_RADIUS_M, excluded_m: float = RADIUS_M
) -> TrainingLabels:
    """Positives within a radius, and what is too near to be a negative; queries without a positive are counted."""
    positives = find_positives(split.queries, split.database, radius_m=radius_m)
    excluded = find_positives(split.queries, split.database, radius_m=excluded_m)
    kept = np.flatnonzero([len(one) for one in positives])
    return TrainingLabels(
        kept, [positives[k] for k in kept], [excluded[k] for k in kept], len(split.queries) - len(kept)
    )


def read_shared_views(folder: Path, split: str, found: PlaceSplit, *, min_share: float) -> list[Array]:
    """Positives by `shared_views.csv`: database images that share at least so much of their view with a query.

    Raises:
        InputError: there is no such table, or it names images that the split lacks.
    """
    table = folder / SHARED_VIEWS
    if not table.is_file():
        raise InputError(
            f"{folder}: has no {SHARED_VIEWS}, expected the one that `vloc place export --map` writes; leave out "
            "--positives shared-view"
        )
    numbers = [{image.name: k for k, image in enumerate(images)} for images in (found.queries, found.database)]
    positives: list[list[int]] = [[] for _ in found.queries]
    rows = csv.DictReader(io.StringIO(read_text(table)))
    if not set(_SHARED_COLUMNS) <= set(rows.fieldnames or ()):
        raise InputError(f"{table}: has the columns {rows.fieldnames}, expected {', '.join(_SHARED_COLUMNS)}")
    for number, row in enumerate(rows, start=2):
        if any(row[column] is None for column in _SHARED_COLUMNS):
            raise InputError(
                f"{table}, line {number}: has fewer than {len(_SHARED_COLUMNS)} columns, expected "
                f"{', '.join(_SHARED_COLUMNS)}; export it again"
            )
        if row["split"] != split or row["query"] not in numbers[0]:
            continue
        if row["database"] not in numbers[1]:
            raise InputError(f"{table}, line {number}: the data set has no {row['database']}; export it again")
        try:
            share = number_of(row["share"])
        except ValueError:
            share = math.nan
        if not math.isfinite(share):
            raise InputError(f"{table}, line {number}: share is {row['share']!r}, expected a number; export it again")
        if share >= min_share:
            positives[numbers[0][row["query"]]].append(numbers[1][row["database"]])
    return [np.array(sorted(one), np.int64) for one in positives]


def format_shared_views(rows: Sequence[tuple[str, str, str, float]]) -> str:
    """The text of `shared_views.csv` of split, query, database and share."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_SHARED_COLUMNS)
    writer.writerows([split, query, database, f"{share:.4f}"] for split, query, database, share in rows)
    return text.getvalue()
