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

"""Tests one index on a split of a data set: descriptors, ranking, every re-ranking, and their times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.cli.place_results import RerankingResult, TestOptions, TestResult
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import Ranking, rank_views
from vloc_ros.core.sources import Progress, silent
from vloc_ros.datasets.image_folders import guess_camera
from vloc_ros.datasets.place_recognition.place_images import PlaceImage, PlaceSplit, distance_or_none, positions_of
from vloc_ros.evaluation.place_retrieval import EXPANSIONS, POSE, ImageDescriptors, Reranking, describe_images, rerank
from vloc_ros.evaluation.place_scores import PRECISIONS, score_ranking
from vloc_ros.mapping.sfm.place_pose import LocalFeatures, PoseReranker
from vloc_ros.storage.images import read_image

if TYPE_CHECKING:
    from vloc_ros.cli.place_options import Index

# of the aspect ratio of a calibration and its images
_LARGEST_STRETCH = 0.01


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
    result = _rank(index, usable, right, database, queries, options.method, encoder.hash)
    expanded = any(one.name in EXPANSIONS for one in options.rerankings)
    per_place = _images_per_place(usable.database, options.radius_m) if expanded else 0.0
    rerankings = [
        _rerank_by_pose(one, result, options, extractor, progress)
        if one.name == POSE and extractor is not None
        else _rerank(one, result, per_place, queries.descriptors.mean(axis=1), database.descriptors[:, 0])
        for one in options.rerankings
    ]
    return replace(result, rerankings=rerankings)


def _rank(
    index: Index,
    split: PlaceSplit,
    positives: Sequence[Array],
    database: ImageDescriptors,
    queries: ImageDescriptors,
    method: str,
    encoder_hash: str,
) -> TestResult:
    """The ranking of the queries by descriptors alone, and its scores."""
    started = time.perf_counter()
    ranking = rank_views(
        queries.descriptors, database.descriptors[:, 0], method, min(max(PRECISIONS), len(split.database))
    )
    search_ms = 1000.0 * (time.perf_counter() - started) / len(split.queries)
    return TestResult(
        index.name,
        database.descriptors.shape[2],
        split,
        positives,
        ranking,
        score_ranking(ranking, positives, len(split.database)),
        queries.median_ms,
        search_ms,
        index.cost,
        [*database.damaged, *queries.damaged],
        encoder_hash,
    )


def _keep_readable(
    split: PlaceSplit, positives: Sequence[Array], database: ImageDescriptors, queries: ImageDescriptors
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
