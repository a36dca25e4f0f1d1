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

"""Time from an image to a pose: by extractor, threads and size of the images, and with a prior by the last fix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import sqrt
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from benchmarks.acceptance import EXTRACTORS, RIGHT_M, RIGHT_RAD, keypoint_model
from benchmarks.real import build_once, scene, simulate_odometry
from tqdm import tqdm

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import InferenceConfig, LocalizerConfig
from vloc_ros.core.geometry.pose import Pose
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query
from vloc_ros.core.sources import QuerySource
from vloc_ros.core.tracking.fix_filter import FixFilter
from vloc_ros.datasets.image_folders import make_query_sources
from vloc_ros.evaluation.batch_localization import localize_all, localize_sequence
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.storage.cameras import read_camera
from vloc_ros.storage.images import list_images
from vloc_ros.storage.maps import read_map
from vloc_ros.storage.results import ResultRecord
from vloc_ros.storage.trajectories import Trajectory, read_tum

THREADS = (1, 2)
MEGAPIXELS = (1, 6)
TRACKING = "640x480, tracking"
_NAME, _ODOMETRY_DRIFT, _SEED = "redkitchen", 0.01, 1


def localization_time(out: Path) -> dict[str, Any]:
    """redkitchen's queries as they are, enlarged, and in sequence with odometry, by extractor and threads."""
    limit_blas_threads()
    rows = []
    for extractor in EXTRACTORS:
        model = keypoint_model(out, extractor)
        options = ("--extractor", str(model)) if model else ()
        index = MapIndex(read_map(build_once(out, _NAME, *options, title=f"{_NAME}-{extractor}")))
        for threads in THREADS:
            rows += [{"extractor": extractor, "threads": threads, **row} for row in _measure(index, threads)]
    return {"rows": rows}


def _measure(index: MapIndex, threads: int) -> list[dict[str, Any]]:
    """A row of each size of the images and one of tracking."""
    cv2.setNumThreads(threads)
    faiss.omp_set_num_threads(threads)
    config = replace(LocalizerConfig(), inference=InferenceConfig(threads=threads))
    localizer, truth = build_localizer(config, index), read_tum(scene(_NAME) / "query/poses_tum.txt")
    sources = _read_sources(truth)
    found = {"640x480": _localize(localizer, sources)}
    found |= {f"{size} Mpx, enlarged": _localize(localizer, _enlarge(sources, size)) for size in MEGAPIXELS}
    found[TRACKING] = _track(localizer, sources, truth.poses, FixFilter(config.fix_filter))
    return [{"images": images, **_figures(records, truth.poses)} for images, records in found.items()]


def _read_sources(truth: Trajectory) -> list[QuerySource]:
    """The queries in memory."""
    folder = scene(_NAME)
    paths, camera = list_images(folder / "query/images"), read_camera(folder / "camera_info.yaml")
    sources = make_query_sources(paths, [int(stamp_ns) for stamp_ns in truth.stamps_ns], camera)
    return [replace(source, read=_once(source.read())) for source in sources]


def _once(query: Query) -> Callable[[], Query]:
    return lambda: query


def _enlarge(sources: Sequence[QuerySource], megapixels: float) -> list[QuerySource]:
    """The same queries in more pixels, which show no more; each is made when it is read."""

    def enlarged(source: QuerySource) -> Query:
        query = source.read()
        view = query.views[0]
        # even sides, as those of cameras are
        scale = sqrt(1e6 * megapixels / (view.camera.width * view.camera.height))
        width, height = (2 * round(scale * side / 2) for side in (view.camera.width, view.camera.height))
        image = cv2.resize(view.image, (width, height), interpolation=cv2.INTER_CUBIC)
        return Query.single(image, view.camera.scaled(width, height), stamp_ns=query.stamp_ns)

    return [replace(source, read=lambda source=source: enlarged(source)) for source in sources]


def _localize(localizer: Localizer, sources: Sequence[QuerySource]) -> list[ResultRecord]:
    return list(localize_all(localizer, sources, progress=lambda items: tqdm(items, leave=False), on_request=False))


def _track(
    localizer: Localizer, sources: Sequence[QuerySource], true: Sequence[Pose], fixes: FixFilter
) -> list[ResultRecord]:
    """The queries in sequence, with odometry that drifts."""
    odometry = simulate_odometry(true, _ODOMETRY_DRIFT, seed=_SEED)
    return list(localize_sequence(localizer, sources, odometry, fixes, progress=lambda items: tqdm(items, leave=False)))


def _figures(records: Sequence[ResultRecord], true: Sequence[Pose]) -> dict[str, Any]:
    """How many are right, and milliseconds at the median and the 95th percentile."""
    results = [record.result for record in records]
    features = np.array([result.times_ms.get("features", 0.0) for result in results])
    total = np.array([sum(result.times_ms.values()) for result in results])
    right = 0
    for result, pose in zip(results, true, strict=True):
        if result.map_from_rig is not None:
            metres, radians = result.map_from_rig.distance_to(pose)
            right += bool(metres <= RIGHT_M and radians <= RIGHT_RAD)
    times = {"features_ms": features, "rest_ms": total - features, "total_ms": total}
    return {"queries": len(results), "right": right} | {
        name: np.percentile(values, (50, 95)).tolist() for name, values in times.items()
    }
