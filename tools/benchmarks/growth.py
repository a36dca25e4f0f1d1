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

"""Search by map size: the whole map, landmarks, retrieval and hloc, in buildings of rooms that are alike."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import faiss
import numpy as np
from benchmarks.building import (
    QUERIES_PER_ROOM,
    MappedRoom,
    Room,
    build_building_map,
    copy_to_floor,
    map_room,
    rooms,
    shown_difference,
)
from benchmarks.command import vloc
from tqdm import tqdm

from vloc_ros.assembly import build_extractor, build_localizer
from vloc_ros.core.config import CandidateConfig, LocalizerConfig
from vloc_ros.core.features.extractor_config import RootSiftConfig
from vloc_ros.core.features.keypoints import Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.observation import Observation, StageClock
from vloc_ros.core.localization.pose_estimation import estimate_pose_with_covariance
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import PoseScorer
from vloc_ros.core.localization.verification import HypothesisVerifier
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.map_index import MapIndex
from vloc_ros.core.query import Query
from vloc_ros.core.retrieval.vlad import VLAD, Vocabulary
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.storage.acceptance_tables import read_acceptance_model
from vloc_ros.storage.cameras import write_camera
from vloc_ros.storage.maps import map_bytes, read_map, write_map

# all sizes get the same queries: two rooms make a building, or ten, or all
ROOMS, COPIES = (2, 10, 40), 5
COMPRESSED = 0.5
SEED = 301
RIGHT_M, RIGHT_RAD = 0.25, np.radians(2.0)
# a view is distinguishable if its room differs from each similar room in at least this part of the image,
# indistinguishable if it differs from one in less than that part
DISTINGUISHABLE, INDISTINGUISHABLE = 0.02, 0.005
MAX_HLOC_QUERIES, MAX_COPIES_QUERIES = 250, 100
_RETRIEVED, _RATIO = 20, 0.8
_RESIDENT = Path(__file__).with_name("resident.py")
Part = tuple[Room, MappedRoom]
LocalizeFeatures = Callable[[Features, Query], LocalizationResult]
CONFIGS = {
    "whole map": CandidateConfig(whole_map_max_points=10_000_000, landmarks="none"),
    "landmarks": CandidateConfig(whole_map_max_points=10_000_000, landmarks_min_points=0),
    "retrieval": CandidateConfig(whole_map_max_points=0, landmarks="none"),
}


@dataclass(frozen=True, slots=True, eq=False)
class _PosedQuery:
    """A query with its features and its ground truth."""

    features: Features
    query: Query
    map_from_camera: Pose
    room: Room


@dataclass(frozen=True, slots=True, eq=False)
class _MethodResults:
    """What one method of localization did in one building.

    Attributes:
        outcomes: right, wrong or refused, by query number.
        times_ms: milliseconds of each query.
        stored_bytes: size of the map on disk.
        resident_mb: memory of a process that localizes, None where it was not measured.
    """

    outcomes: dict[int, str]
    times_ms: list[float]
    stored_bytes: int
    resident_mb: float | None = None


def growth(out: Path) -> dict[str, Any]:
    """Recall, wrong results, milliseconds after feature extraction and memory, by number of rooms."""
    limit_blas_threads()  # as the node and the commands
    extractor, parts, queries = build_extractor(RootSiftConfig()), [], list[_PosedQuery]()
    start = time.perf_counter()
    for room in tqdm(rooms(max(ROOMS), SEED), desc="rooms", total=max(ROOMS)):
        parts.append((room, map_room(room, extractor)))
        for k, pose in enumerate(room.query_lap.map_from_camera):
            query = Query.single(room.query_lap.image(k), room.query_lap.camera)
            found = extractor.extract(query.views[0].image)
            queries.append(_PosedQuery(found, query, room.building_from_room @ pose, room))
    seconds = time.perf_counter() - start
    # all sizes are measured in one run, since their times are compared
    sizes: list[dict[str, Any]] = []
    for count, copies in [*((count, 1) for count in ROOMS), (max(ROOMS), COPIES)]:
        sizes.append(_size(out, parts, queries, rooms_each=count, copies=copies))
        print("  ", sizes[-1], flush=True)
    return {"sizes": sizes, "rooms_s": seconds}


def _size(
    out: Path, parts: Sequence[Part], queries: Sequence[_PosedQuery], *, rooms_each: int, copies: int
) -> dict[str, Any]:
    """All methods in buildings of one size. Where copies repeat the rooms exactly, only time and memory count."""
    buildings, methods = [], dict[str, list[_MethodResults]]()
    hloc_numbers = set(_spread(range(len(queries)), MAX_HLOC_QUERIES))
    for first in range(0, len(parts), rooms_each):
        some = parts[first : first + rooms_each]
        building = build_building_map(
            [p for copy in range(copies) for p in copy_to_floor(some, copy)], f"{copies * len(some)} rooms"
        )
        buildings.append(building)
        numbers = range(first * QUERIES_PER_ROOM, (first + len(some)) * QUERIES_PER_ROOM)
        selected = {i: queries[i] for i in (numbers if copies == 1 else _spread(numbers, MAX_COPIES_QUERIES))}
        last = first + rooms_each >= len(parts)
        for name, found in _measure_methods(out, building, selected, measure_memory=last):
            methods.setdefault(name, []).append(found)
        if copies == 1:
            hloc = Hloc(building, some)
            found = _run(hloc.localize, {i: q for i, q in selected.items() if i in hloc_numbers})
            methods.setdefault("hloc", []).append(replace(found, stored_bytes=hloc.bytes))
    differences, differences_in_all = (_differences(parts, queries, n) for n in (rooms_each, max(ROOMS)))
    return {
        "rooms": rooms_each * copies,
        "buildings": len(buildings),
        "copies": copies,
        "points": round(float(np.mean([len(b.points) for b in buildings]))),
        "landmarks": round(float(np.mean([len(b.landmarks) for b in buildings]))),
        "methods": {name: _figures(found, differences, differences_in_all) for name, found in methods.items()},
    }


def _measure_methods(
    out: Path, building: LandmarkMap, queries: Mapping[int, _PosedQuery], *, measure_memory: bool
) -> Iterator[tuple[str, _MethodResults]]:
    """The results of each method but hloc in one building."""
    folder = out / "maps" / f"building-{building.name.replace(' ', '-')}"
    shutil.rmtree(folder, ignore_errors=True)
    write_map(building, folder)
    index = MapIndex(building)
    for name, config in CONFIGS.items():
        localizer = build_localizer(LocalizerConfig(candidates=config), index)
        found = _run(_features_only(localizer), queries)
        memory = _resident_mb(folder, config, list(queries.values())) if measure_memory else None
        yield name, replace(found, stored_bytes=map_bytes(folder), resident_mb=memory)
    if len(queries) == max(ROOMS) * QUERIES_PER_ROOM:
        small = folder.with_name(f"{folder.name}-small")
        shutil.rmtree(small, ignore_errors=True)
        vloc("map", "compress", folder, "--budget", str(COMPRESSED), "--out", small)
        config = CONFIGS["landmarks"]
        found = _run(_features_only(build_localizer(LocalizerConfig(candidates=config), read_map(small))), queries)
        memory = _resident_mb(small, config, list(queries.values()))
        yield (
            f"landmarks, {COMPRESSED:.0%} of the bytes",
            replace(found, stored_bytes=map_bytes(small), resident_mb=memory),
        )


def _features_only(localizer: Localizer) -> LocalizeFeatures:
    return lambda found, query: localizer.localize_features((found,), query)


def _figures(
    found: Sequence[_MethodResults], differences: Mapping[int, float], differences_in_all: Mapping[int, float]
) -> dict[str, Any]:
    """Figures over several buildings of one size."""
    outcomes = {i: outcome for one in found for i, outcome in one.outcomes.items()}
    groups = {
        "all": list(outcomes.values()),
        "distinguishable": [o for i, o in outcomes.items() if differences[i] >= DISTINGUISHABLE],
        "indistinguishable": [o for i, o in outcomes.items() if differences[i] < INDISTINGUISHABLE],
        "distinguishable_in_all": [o for i, o in outcomes.items() if differences_in_all[i] >= DISTINGUISHABLE],
    }
    counts = {name: {"queries": len(group), **Counter(group)} for name, group in groups.items()}
    p50, p95 = (float(np.percentile([ms for one in found for ms in one.times_ms], q)) for q in (50, 95))
    memory = next((one.resident_mb for one in found if one.resident_mb is not None), None)
    stored = float(np.mean([one.stored_bytes for one in found]))
    return {**counts, "p50_ms": p50, "p95_ms": p95, "bytes": stored, "resident_mb": memory}


def _spread(numbers: Sequence[int], most: int) -> list[int]:
    """At most so many of the numbers, evenly spread."""
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, min(most, len(numbers))).astype(int)]


def _differences(parts: Sequence[Part], queries: Sequence[_PosedQuery], rooms_each: int) -> dict[int, float]:
    """For each query, the part of the image that the most similar room of its building does not have."""
    differences = {}
    for i, posed in enumerate(tqdm(queries, desc="similar rooms", leave=False)):
        first = i // QUERIES_PER_ROOM // rooms_each * rooms_each
        others = [room for room, _ in parts[first : first + rooms_each]]
        differences[i] = shown_difference(posed.room, others, posed.map_from_camera)
    return differences


def _run(localize: LocalizeFeatures, queries: Mapping[int, _PosedQuery]) -> _MethodResults:
    outcomes, times_ms = {}, []
    first = next(iter(queries.values()))
    localize(first.features, first.query)  # search structures are built at the first query
    for number, posed in tqdm(queries.items(), leave=False):
        start = time.perf_counter()
        result = localize(posed.features, posed.query)
        times_ms.append((time.perf_counter() - start) * 1e3)
        outcomes[number] = _outcome(result, posed)
    return _MethodResults(outcomes, times_ms, 0)


def _outcome(result: LocalizationResult, posed: _PosedQuery) -> str:
    if result.map_from_rig is None:
        return "refused"
    metres, radians = result.map_from_rig.distance_to(posed.map_from_camera)
    return "right" if metres <= RIGHT_M and radians <= RIGHT_RAD else "wrong"


def _resident_mb(folder: Path, config: CandidateConfig, queries: Sequence[_PosedQuery]) -> float:
    """Resident memory of a process that only localizes."""
    with tempfile.TemporaryDirectory() as there:
        for k in _spread(range(len(queries)), 10):
            cv2.imwrite(f"{there}/{k}.png", queries[k].query.views[0].image)
        write_camera(Path(there) / "camera.yaml", queries[0].query.views[0].camera, name="camera")
        words = [sys.executable, str(_RESIDENT), str(folder), there, json.dumps(asdict(config))]
        return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


class Hloc:
    """The pipeline of hloc (Sarlin et al. 2019): retrieval, matching image to image, one pose from all matches.

    Keypoints, global descriptor, pose estimation and verification are those of this package.
    """

    def __init__(self, landmark_map: LandmarkMap, parts: Sequence[Part]) -> None:
        self._map, self._config = landmark_map, LocalizerConfig()
        index, retrieval = MapIndex(landmark_map), landmark_map.retrieval[VLAD]
        self._verifier = HypothesisVerifier(
            self._config.verification,
            index,
            pose=self._config.pose,
            scorer=PoseScorer(index),
            model=read_acceptance_model(landmark_map.extractor.acceptance_table),
        )
        self._vocabulary, self._rows = Vocabulary.from_arrays(retrieval.encoder_arrays), retrieval.descriptors
        self._features = [found for _, part in parts for found in part.features]
        firsts = np.cumsum([0, *(len(part.points) for _, part in parts)])
        self._points = [
            np.where(of_keypoint >= 0, of_keypoint + first, -1)
            for (_, part), first in zip(parts, firsts, strict=False)
            for of_keypoint in part.point_of_keypoint
        ]

    @property
    def bytes(self) -> int:
        """The least that it stores.

        Of every keypoint: pixel, descriptor (128 values of two bytes) and point. Of every keyframe: global descriptor
        (float32). Of every point: position.
        """
        keypoints = sum(len(found) for found in self._features)
        return keypoints * (8 + 2 * 128 + 4) + self._rows.nbytes + 12 * len(self._map.points)

    def localize(self, found: Features, query: Query) -> LocalizationResult:
        """Localize one image by its features."""
        described = self._vocabulary.encode(self._map.codec.project(found.descriptors))
        pairs = [self._match(found, int(k)) for k in np.argsort(-(self._rows @ described))[:_RETRIEVED]]
        keypoints, points = (np.concatenate(part) for part in zip(*pairs, strict=True))
        keypoints, points = np.unique(np.column_stack([keypoints, points]), axis=0).T
        matches = Matches(
            np.zeros(len(points), np.int32), found.xy[keypoints], points, self._map.points[points].astype(np.float64)
        )
        estimate = estimate_pose_with_covariance(self._config.pose, matches, query)
        hypothesis = Hypothesis(Candidate("hloc"), matches, estimate)
        observation = Observation(query, self._map, StageClock(), lambda: (found,))
        verified = self._verifier.verify(hypothesis, observation)
        if verified.result.ok and not self._verifier.reaches_threshold(verified):
            return verified.result.refused_as(Status.POSE_REJECTED, "its evidence does not suffice")
        return verified.result

    def _match(self, found: Features, keyframe: int) -> tuple[Array, Array]:
        """Keypoints of the query, and the points of the keyframe's keypoints that they match (mutual, ratio test)."""
        theirs = self._features[keyframe]
        distances, nearest = faiss.knn(found.descriptors, theirs.descriptors, 2)
        _, back = faiss.knn(theirs.descriptors, found.descriptors, 1)
        unambiguous = distances[:, 0] < _RATIO**2 * distances[:, 1]
        mutual = back[nearest[:, 0], 0] == np.arange(len(found))
        points = self._points[keyframe][nearest[:, 0]]
        kept = np.flatnonzero(unambiguous & mutual & (points >= 0))
        return kept, points[kept].astype(np.int64)
