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

"""Recorded evidence of scans: the queries of every world in its own map, and scans of other places in it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from training.acceptance.evidence_table import (
    ALIASED,
    FOREIGN,
    OWN,
    EvidenceTable,
    Recorded,
    RecordedQuery,
    join_tables,
)
from training.acceptance.kept_arrays import check_constants, list_constants, save_with_constants
from training.acceptance.scan_worlds import (
    WHOLE_MAP,
    ScanSplit,
    WorldScans,
    constants_of_scans,
    simulate,
)
from vloc_ros.assembly import build_scan_search
from vloc_ros.core.clouds import alignment
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization import cloud_evidence, scan_covariance, scan_places, scan_search
from vloc_ros.core.localization.acceptance import CLOUD_KIND, EVIDENCE_OF, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.observation import Observation, StageClock
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.localization.scan_search import PlaceSearch, ScanHypothesis
from vloc_ros.core.localization.selection import Decision
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedScan
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.mapping.maps.lidar_places import make_lidar_map

RIGHT_M, RIGHT_RAD, WRONG_M, WRONG_RAD = 0.25, np.radians(2.0), 0.5, np.radians(5.0)
# of another world, so many of its queries and of its mapped scans are queries of other places
_QUERIES_OF_OTHERS = 10
_NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))


class RecordingSearch(PlaceSearch):
    """Keeps every hypothesis; a global registration is always tried."""

    recorded: list[ScanHypothesis]

    def decide(self, hypotheses: Sequence[ScanHypothesis], observation: Observation) -> Decision:
        """Record."""
        self.recorded = list(hypotheses)
        return Decision.undecided()

    def publishable(self, one: ScanHypothesis) -> LocalizationResult:
        """What would be published."""
        return self._publishable(one, 0.5)


def constants_of_evidence() -> dict[str, str]:
    """Constants that the kept evidence depends on, by their names."""
    return constants_of_scans() | list_constants(
        alignment, cloud_evidence, scan_covariance, scan_places, scan_search, sys.modules[__name__]
    )


def collect(folder: Path, split: ScanSplit, *, workers: int) -> tuple[EvidenceTable, Array, Array]:
    """The evidence of a split, and the errors and covariances of its right hypotheses; kept in a folder.

    Raises:
        VlocError: some was kept with other constants.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pairs = [(number, other) for number in split.numbers for other in (number, *split.alike(number))]
    if workers > 1:
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=limit_blas_threads) as pool:
            list(pool.map(partial(simulate, folder, split), split.numbers))
            list(pool.map(partial(_record_map, folder, split), split.numbers))
    else:
        for number in split.numbers:
            simulate(folder, split, number)
        for number in split.numbers:
            _record_map(folder, split, number)
    paths = [_evidence_path(folder, split, *pair) for pair in pairs]
    errors, covariances = [], []
    for path in paths:
        check_constants(_errors_path(path), constants_of_evidence())
        with np.load(_errors_path(path)) as arrays:
            errors.append(arrays["errors"])
            covariances.append(arrays["covariances"])
    tables = [EvidenceTable.load(path, CLOUD_KIND) for path in paths]
    return join_tables(tables), np.concatenate(errors), np.concatenate(covariances)


def _record_map(folder: Path, split: ScanSplit, number: int) -> None:
    """Query the map of a world by its own scans, and by those of each world alike; what is stored already stays."""
    missing = [
        other for other in (number, *split.alike(number)) if not _evidence_path(folder, split, number, other).exists()
    ]
    if not missing:
        return
    mapped, searches = WorldScans.load(folder, split, number), dict[int, RecordingSearch]()
    lone = np.unique(mapped.kinds[:, 2])[1:].tolist()
    for other in missing:
        queries = (
            _own_queries(mapped) if other == number else _foreign_queries(WorldScans.load(folder, split, other), lone)
        )
        recorded = []
        for points, truth, kind, condition, place in queries:
            if place not in searches:
                searches[place] = _make_search(mapped, split, number, place)
            recorded.append(
                _record(searches[place], points, truth, kind=kind, condition=condition, world=other, map_number=number)
            )
        path = _evidence_path(folder, split, number, other)
        arrays = {
            "errors": np.concatenate([one.errors for one in recorded]),
            "covariances": np.concatenate([one.covariances for one in recorded]),
        }
        save_with_constants(_errors_path(path), constants_of_evidence(), arrays)
        unfinished = path.with_suffix(".part.npz")
        EvidenceTable.of_queries([one.query for one in recorded], CLOUD_KIND).save(unfinished)
        unfinished.replace(path)


_MapQuery = tuple[Array, Pose | None, int, int, int]


def _own_queries(scans: WorldScans) -> Iterator[_MapQuery]:
    """Points, pose where they are of the mapped world, kind, condition, and map."""
    for points, pose, (kind, condition, place) in zip(scans.queries, scans.map_from_query, scans.kinds, strict=True):
        yield points, pose if kind == OWN else None, int(kind), int(condition), int(place)


def _foreign_queries(scans: WorldScans, lone: Sequence[int]) -> Iterator[_MapQuery]:
    """Of another world, some of the queries and of the mapped scans, in the whole map and in those of one scan."""
    of_world = [
        (points, int(condition))
        for points, (kind, condition, _) in zip(scans.queries, scans.kinds, strict=True)
        if kind != ALIASED
    ]
    of_world += [(points, 0) for points in scans.mapped]
    for number, k in enumerate(np.linspace(0, len(of_world) - 1, min(_QUERIES_OF_OTHERS, len(of_world))).astype(int)):
        points, condition = of_world[k]
        yield points, None, FOREIGN, condition, WHOLE_MAP if number % 2 else lone[number // 2 % len(lone)]


def _record(
    search: RecordingSearch,
    points: Array,
    truth: Pose | None,
    *,
    kind: int,
    condition: int,
    world: int,
    map_number: int,
) -> Recorded:
    query = Query((), cloud=PointCloud(points))
    search.recorded = []
    search.search(Observation(query, search._places.map, StageClock(), lambda: ()))
    labels, errors, covariances = [], [], []
    weighed = search.weigh(search.recorded)
    for one, _ in weighed:
        result = search.publishable(one)
        assert result.map_from_rig is not None
        labels.append(label_pose(result.map_from_rig, truth))
        if labels[-1] == 1 and truth is not None:
            errors.append(result.map_from_rig.error_to(truth))
            covariances.append(result.covariance)
    evidence = np.array([evidence.values() for _, evidence in weighed], np.float32)
    row = RecordedQuery(
        evidence.reshape(-1, len(EVIDENCE_OF[CLOUD_KIND])), labels, kind, condition, world, map_number, 0
    )
    return Recorded(row, np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6)))


def label_pose(found: Pose, truth: Pose | None) -> int:
    """1 right, 0 wrong, -1 between; wrong where the scan is of another place."""
    if truth is None:
        return 0
    distance_m, angle_rad = found.distance_to(truth)
    if distance_m <= RIGHT_M and angle_rad <= RIGHT_RAD:
        return 1
    return 0 if distance_m > WRONG_M or angle_rad > WRONG_RAD else -1


def _make_search(scans: WorldScans, split: ScanSplit, number: int, place: int) -> RecordingSearch:
    """A search in the map of a world, or of one of its scans."""
    posed = [
        PosedScan(f"{k:06d}", partial(PointCloud, points), pose)
        for k, (points, pose) in enumerate(zip(scans.mapped, scans.map_from_mapped, strict=True))
        if place in (k, WHOLE_MAP)
    ]
    landmark_map = make_lidar_map(posed, name=f"{split.name}-{number}", spacing_m=0.9 * split.spacing_m(number))
    built = build_scan_search(
        LocalizerConfig(), landmark_map, acceptance=_neutral(), calibration=CovarianceCalibration()
    )
    built.__class__ = RecordingSearch  # type: ignore[assignment]
    assert isinstance(built, RecordingSearch)
    return built


def _neutral() -> AcceptanceModel:
    """Nothing scores above the threshold."""
    terms = {name: _NOTHING for name in EVIDENCE_OF[CLOUD_KIND] if name != "margin"}
    return AcceptanceModel("none", 0.0, terms, _NOTHING, 0, np.zeros(1), np.full(1, np.inf), 0, CLOUD_KIND)


def _evidence_path(folder: Path, split: ScanSplit, number: int, other: int) -> Path:
    return folder / f"{split.name}-{number:02}-by-{other:02}-evidence.npz"


def _errors_path(path: Path) -> Path:
    return path.with_name(path.name.replace("-evidence", "-errors"))
