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

"""Describing the images of a place recognition data set, and re-ranking what is retrieved, with the time of each."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.descriptor_reranking import (
    augment_database,
    check_images_per_place,
    expand_queries,
    rerank_by_clusters,
    rerank_k_reciprocal,
)
from vloc_ros.core.retrieval.query_views import SizedEncoder, check_views, describe_views
from vloc_ros.core.retrieval.ranking import HARD_RESIZE, Ranking, rank
from vloc_ros.core.sources import Progress, silent
from vloc_ros.storage.images import read_image
from vloc_ros.storage.text import number_of

POSE = "pose"
# by name: what its numbers are, and their defaults
RERANKINGS: dict[str, tuple[tuple[str, float], ...]] = {
    "qe": (("count", 5),),
    "aqe": (("count", 5), ("alpha", 3)),
    "dba": (("count", 5),),
    "kreciprocal": (("k1", 20), ("k2", 6), ("weight", 0.3)),
    "cluster": (("count", 20), ("radius_m", 25)),
    POSE: (("count", 10), ("radius_m", 25)),
}
# those that a database with few images of a place is refused for
EXPANSIONS = ("qe", "aqe", "dba")
_RADIUS, _WEIGHT, _ALPHA = "radius_m", "weight", "alpha"


@dataclass(frozen=True, slots=True)
class Reranking:
    """A re-ranking and its numbers.

    Attributes:
        name: of `RERANKINGS`.
        values: its numbers by name.
    """

    name: str
    values: dict[str, float]

    @staticmethod
    def parse(text: str) -> Reranking:
        """`NAME` or `NAME:NUMBER,NUMBER`.

        Raises:
            ConfigError: the name is unknown, or a number is missing its range.
        """
        name, _, given = text.partition(":")
        if name not in RERANKINGS:
            raise ConfigError(f"found the re-ranking {text!r}, expected one of {', '.join(RERANKINGS)}")
        defaults = RERANKINGS[name]
        try:
            numbers = [number_of(word) for word in given.split(",")] if given else []
        except ValueError:
            numbers = [np.nan]
        given_by_key = {key: number for (key, _), number in zip(defaults, numbers, strict=False)}
        positive = all(np.isfinite(n) and (n > 0 or (key == _WEIGHT and n == 0)) for key, n in given_by_key.items())
        if len(numbers) > len(defaults) or not positive:
            shape = f"{name}:{','.join(f'{value:g}' for _, value in defaults)}"
            raise ConfigError(f"found the re-ranking {text!r}, expected numbers above 0 such as {shape}")
        if given_by_key.get(_WEIGHT, 0.0) > 1:
            raise ConfigError(f"found the re-ranking {text!r}, expected a weight of 0 to 1, such as 0.3")
        for key, number in given_by_key.items():
            if key not in (_RADIUS, _WEIGHT, _ALPHA) and number != int(number):
                raise ConfigError(f"found the re-ranking {text!r}, expected a whole number as {key}")
        return Reranking(name, dict(defaults) | given_by_key)

    def __str__(self) -> str:
        """As it is given."""
        return f"{self.name}:{','.join(f'{value:g}' for value in self.values.values())}"


@dataclass(frozen=True, slots=True, eq=False)
class ImageDescriptors:
    """Descriptors of images.

    Attributes:
        descriptors: (N, V, D) float32 of those that could be read.
        kept: (N,) int64 which images these are.
        damaged: why the others could not be read.
        median_ms: time for one image, reading left out.
    """

    descriptors: Array
    kept: Array
    damaged: list[str] = field(default_factory=list)
    median_ms: float = 0.0


def describe_images(
    paths: Sequence[Path],
    encoder: SizedEncoder,
    *,
    method: str = HARD_RESIZE,
    size: tuple[int, int] | None = None,
    scales: Sequence[float] = (1.0,),
    description: str = "describing",
    progress: Progress = silent,
) -> ImageDescriptors:
    """Describe image files one by one; those that cannot be read are left out and named.

    Raises:
        InputError: none can be read.
        ConfigError: the encoder cannot do it, see `check_views`.
    """
    check_views(encoder, method, scales, size)
    found, kept, damaged, times = list[Array](), list[int](), list[str](), list[float]()
    for k, path in enumerate(progress(paths, description=description, total=len(paths))):
        try:
            image = read_image(path)
        except InputError as error:
            damaged.append(str(error))
            continue
        started = time.perf_counter()
        found.append(describe_views(encoder, image, method=method, size=size, scales=scales))
        times.append(time.perf_counter() - started)
        kept.append(k)
    if not found:
        raise InputError(f"none of {len(paths)} images can be read, such as {damaged[0] if damaged else 'none'}")
    descriptors = np.stack(found)
    if not np.isfinite(descriptors).all():
        raise InputError("a descriptor is not finite, expected numbers; the encoder cannot be used")
    return ImageDescriptors(descriptors, np.array(kept), damaged, 1000.0 * float(np.median(times)))


def rerank(
    reranking: Reranking,
    ranking: Ranking,
    *,
    queries: Array,
    database: Array,
    positions: Array,
    images_per_place: float,
) -> Ranking:
    """Rank again by descriptors or positions; by pose is `vloc_ros.mapping.sfm.place_pose`.

    Args:
        reranking: which.
        ranking: of the queries.
        queries: (Q, D) L2-normalised descriptors.
        database: (N, D) L2-normalised descriptors.
        positions: (N, 2) metres of the database.
        images_per_place: median number of positions of the database within the radius of one.

    Raises:
        InputError: the database has too few images of a place for it.
    """
    assert reranking.name != POSE
    values = reranking.values
    if reranking.name in EXPANSIONS:
        check_images_per_place(images_per_place)
    if reranking.name in ("qe", "aqe"):
        return expand_queries(queries, database, ranking, count=int(values["count"]), alpha=values.get("alpha", 0.0))
    if reranking.name == "dba":
        return rank(queries, augment_database(database, count=int(values["count"])), ranking.rows.shape[1])
    if reranking.name == "kreciprocal":
        k1, k2 = int(values["k1"]), int(values["k2"])
        return rerank_k_reciprocal(queries, database, ranking, k1=k1, k2=k2, weight=values["weight"])
    return rerank_by_clusters(ranking, positions, count=int(values["count"]), radius_m=values["radius_m"])
