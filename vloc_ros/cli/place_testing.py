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

"""One index tested on a split of a data set: descriptors, ranking, every re-ranking, their scores and times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import Ranking, rank_views
from vloc_ros.core.sources import Progress, silent
from vloc_ros.datasets.image_folders import guess_camera
from vloc_ros.datasets.place_recognition.place_images import PlaceImage, PlaceSplit, distance_or_none, positions_of
from vloc_ros.evaluation.place_retrieval import EXPANSIONS, POSE, DescribedImages, Reranking, describe_images, rerank
from vloc_ros.evaluation.place_scores import PRECISIONS, PlaceScores, score_ranking
from vloc_ros.mapping.sfm.place_pose import LocalFeatures, PoseReranker
from vloc_ros.storage.images import read_image

if TYPE_CHECKING:
    from vloc_ros.cli.place_options import Index

# of positions by local features, metres
# of the aspect ratio of a calibration and its images
_LARGEST_STRETCH = 0.01
POSITION_LIMITS_M = (1.0, 5.0, 25.0)


@dataclass(frozen=True, slots=True)
class TestOptions:
    """How an index is tested.

    Attributes:
        method: of the queries.
        size: height and width to which images are resized; None is the benchmark's, or the model's own.
        scales: of the descriptors.
        radius_m: of positives, and of a place of the database.
        rerankings: each is measured by itself.
        camera: of all images; None guesses one.
    """

    method: str
    size: tuple[int, int] | None = None
    scales: tuple[float, ...] = (1.0,)
    radius_m: float = 25.0
    rerankings: tuple[Reranking, ...] = ()
    camera: Camera | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RerankingResult:
    """What a re-ranking did.

    Attributes:
        reranking: which.
        scores: after it; None where it was refused.
        ms: for one query.
        refused: why.
        position_errors_m: by local features, (Q,) metres, infinite where none was found, or one in another UTM
            zone; None of others.
    """

    reranking: Reranking
    scores: PlaceScores | None
    ms: float
    refused: str = ""
    position_errors_m: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TestResult:
    """What an index did.

    Attributes:
        index: its name.
        dimension: values of a descriptor.
        split: the images that could be read.
        positives: of each query.
        ranking: of the queries.
        scores: of the ranking.
        describe_ms: for one query.
        search_ms: for one query.
        cost: as its manifest has it.
        damaged: images that were left out, and why.
        hash: of the encoder.
        rerankings: in the order of the options.
    """

    index: str
    dimension: int
    split: PlaceSplit
    positives: Sequence[Array]
    ranking: Ranking
    scores: PlaceScores
    describe_ms: float
    search_ms: float
    cost: dict[str, Any]
    damaged: list[str]
    hash: str
    rerankings: list[RerankingResult] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For JSON, with a row for each query."""
        return {
            "index": self.index,
            "name": Path(self.index).name,
            "hash": self.hash,
            "dimension": self.dimension,
            "bytes_float32": 4 * self.dimension,
            "bytes_in_a_map": self.dimension,
            "describe_ms": self.describe_ms,
            "search_ms": self.search_ms,
            "cost": self.cost,
            "damaged": self.damaged,
            "scores": self.scores.as_dict(),
            "rerankings": [_reranking_as_dict(one) for one in self.rerankings],
            "results": self.rows(),
        }

    def rows(self) -> list[dict[str, Any]]:
        """Of each query its first result, how far away that is (None in another UTM zone), and whether it is right."""
        database = positions_of(self.split.database)
        rows = []
        for q, (query, right) in enumerate(zip(self.split.queries, self.positives, strict=True)):
            first = int(self.ranking.rows[q, 0])
            distances = np.linalg.norm(database - [query.easting_m, query.northing_m], axis=1)
            rows.append(
                {
                    "query": query.name,
                    "first": self.split.database[first].name,
                    "distance_m": distance_or_none(float(distances[first])),
                    "nearest_m": distance_or_none(float(distances.min())),
                    "right": bool(np.isin(first, right)),
                    "positives": len(right),
                    "similarity": float(self.ranking.similarities[q, 0]),
                }
            )
        return rows


def measure_index(
    index: Index,
    split: PlaceSplit,
    positives: Sequence[Array],
    options: TestOptions,
    *,
    extractor: Extractor | None = None,
    progress: Progress = silent,
) -> TestResult:
    """Test an index.

    Args:
        index: what describes the images.
        split: the images.
        positives: of each query.
        options: of the test.
        extractor: of the local features of a re-ranking by pose.
        progress: shows how far it is.

    Raises:
        InputError: no image can be read.
        ConfigError: the index cannot do what the options say.
    """
    paths = [[image.path for image in images] for images in (split.database, split.queries)]
    encoder = index.make(paths[0])
    given = {"size": options.size, "scales": options.scales, "progress": progress}
    database = describe_images(paths[0], encoder, description="database", **given)  # type: ignore[arg-type]
    queries = describe_images(paths[1], encoder, method=options.method, description="queries", **given)  # type: ignore[arg-type]
    usable, right = _keep_readable(split, positives, database, queries)
    started = time.perf_counter()
    count = min(max(PRECISIONS), len(usable.database))
    ranking = rank_views(queries.descriptors, database.descriptors[:, 0], options.method, count)
    search_ms = 1000.0 * (time.perf_counter() - started) / len(usable.queries)
    result = TestResult(
        index.name,
        database.descriptors.shape[2],
        usable,
        right,
        ranking,
        score_ranking(ranking, right, len(usable.database)),
        queries.median_ms,
        search_ms,
        index.cost,
        [*database.damaged, *queries.damaged],
        encoder.hash,
    )
    expanded = any(one.name in EXPANSIONS for one in options.rerankings)
    per_place = _images_per_place(usable.database, options.radius_m) if expanded else 0.0
    rerankings = [
        _rerank_by_pose(one, result, options, extractor, progress)
        if one.name == POSE and extractor is not None
        else _rerank(one, result, per_place, queries.descriptors.mean(axis=1), database.descriptors[:, 0])
        for one in options.rerankings
    ]
    return replace(result, rerankings=rerankings)


def _keep_readable(
    split: PlaceSplit, positives: Sequence[Array], database: DescribedImages, queries: DescribedImages
) -> tuple[PlaceSplit, list[Array]]:
    """The images that could be read, and the positives among them."""
    numbers = np.full(len(split.database), -1)
    numbers[database.kept] = np.arange(len(database.kept))
    kept = [numbers[positives[q]] for q in queries.kept]
    usable = PlaceSplit(
        split.name, [split.database[k] for k in database.kept], [split.queries[k] for k in queries.kept]
    )
    return usable, [rows[rows >= 0] for rows in kept]


def _rerank(
    reranking: Reranking, result: TestResult, images_per_place: float, queries: Array, database: Array
) -> RerankingResult:
    from vloc_ros.core.errors import InputError
    from vloc_ros.core.retrieval.ranking import normalize

    images = result.split.database
    started = time.perf_counter()
    try:
        ranking = rerank(
            reranking,
            result.ranking,
            queries=normalize(queries),
            database=database,
            positions=positions_of(images),
            images_per_place=images_per_place,
        )
    except InputError as error:
        return RerankingResult(reranking, None, 0.0, str(error))
    ms = 1000.0 * (time.perf_counter() - started) / len(result.positives)
    return RerankingResult(reranking, score_ranking(ranking, result.positives, len(images)), ms)


def _rerank_by_pose(
    reranking: Reranking, result: TestResult, options: TestOptions, extractor: Extractor, progress: Progress
) -> RerankingResult:
    images, queries, errors = result.split.database, result.split.queries, list[float]()

    def load(image: PlaceImage) -> LocalFeatures:
        pixels = read_image(image.path)
        height, width = pixels.shape[:2]
        camera = _camera_of(image.path, width, height, options.camera)
        return LocalFeatures.of(extractor.extract(pixels), camera)

    reranker = PoseReranker(
        lambda row: load(images[row]),
        positions_of(images),
        count=int(reranking.values["count"]),
        radius_m=reranking.values["radius_m"],
    )
    rows, inliers, started = [], [], time.perf_counter()
    for query, found in zip(progress(queries, description="poses"), result.ranking.rows, strict=True):
        estimate = reranker.rerank(load(query), found)
        rows.append(estimate.rows)
        inliers.append(estimate.inliers)
        truth = np.array([query.easting_m, query.northing_m])
        error = (
            None if estimate.position is None else distance_or_none(float(np.linalg.norm(estimate.position - truth)))
        )
        errors.append(np.inf if error is None else error)
    ms = 1000.0 * (time.perf_counter() - started) / len(queries)
    # how certain the first result is: by its inliers, not by the similarity of an image that it may have replaced
    certain = np.full(result.ranking.rows.shape, np.nan, np.float32)
    certain[:, 0] = inliers
    ranking = Ranking(np.stack(rows), certain)
    scores = score_ranking(ranking, result.positives, len(images))
    return RerankingResult(reranking, scores, ms, position_errors_m=np.array(errors))


def _camera_of(path: Path, width: int, height: int, camera: Camera | None) -> Camera:
    """The calibration of an image, resized with it; guessed where none is given."""
    from vloc_ros.core.errors import InputError

    if camera is None:
        return guess_camera(width, height)
    if abs(width * camera.height / (height * camera.width) - 1.0) > _LARGEST_STRETCH:
        raise InputError(
            f"{path}: has {width}x{height} pixels, expected the aspect ratio of the calibration, "
            f"{camera.width}x{camera.height}; give --camera of these images, or leave it out"
        )
    return camera.scaled(width, height)


def _images_per_place(database: Sequence[PlaceImage], radius_m: float) -> float:
    """Median number of positions within the radius of one; all headings of a panorama are one."""
    positions = np.unique(positions_of(database), axis=0)
    return float(np.median(cKDTree(positions).query_ball_point(positions, radius_m, return_length=True)))


def describe_positions(result: TestResult, found: RerankingResult) -> dict[str, Any]:
    """How many queries have a position by local features, how far off these are, and what the first result alone says.

    Shares are of all queries.
    """
    errors, rows = found.position_errors_m, result.rows()
    assert errors is not None
    first = np.array([np.inf if row["distance_m"] is None else row["distance_m"] for row in rows])
    located = errors[np.isfinite(errors)]
    return {
        "located": len(located),
        "median_m": float(np.median(located)) if len(located) else None,
        "first_result_median_m": float(np.median(first[np.isfinite(errors)])) if len(located) else None,
        "within": {f"{limit:g}m": float((errors <= limit).mean()) for limit in POSITION_LIMITS_M},
        "first_result_within": {f"{limit:g}m": float((first <= limit).mean()) for limit in POSITION_LIMITS_M},
    }


def _reranking_as_dict(found: RerankingResult) -> dict[str, Any]:
    values: dict[str, Any] = {"name": str(found.reranking), "ms": found.ms, "refused": found.refused}
    values["scores"] = found.scores.as_dict() if found.scores else None
    if found.position_errors_m is not None:
        values["position_errors_m"] = [e if np.isfinite(e) else None for e in found.position_errors_m.tolist()]
    return values
