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

"""Fit the acceptance table of scans, and the calibration of their covariance, in simulated worlds.

  python -m training.acceptance.scans --data DIR

Scans and recorded evidence are kept in DIR: an interrupted run goes on where it stopped. The worlds that the table is
fitted on, those that its thresholds are chosen on and those that the report is of are different ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from training.acceptance.evidence_table import (
    ALIASED,
    FOREIGN,
    KINDS_OF_QUERY,
    OWN,
    EvidenceTable,
    RecordedQuery,
    join_tables,
)
from training.acceptance.fit import choose_thresholds, fit_terms
from training.acceptance.leaders import score_rows
from training.framework.command import make_parser, run_command
from vloc_ros.assembly import build_scan_search
from vloc_ros.core.clouds.point_cloud import PointCloud
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration, fit_calibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import CLOUD_KIND, EVIDENCE_OF, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.observation import Observation, StageClock
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.localization.scan_search import PlaceSearch, ScanHypothesis
from vloc_ros.core.localization.selection import Decision
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedScan
from vloc_ros.footprint import limit_blas_threads
from vloc_ros.mapping.maps.lidar_places import make_lidar_map
from vloc_ros.simulation.lidar_drives import LidarDrive, drive_with_lidar
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.town import with_other_cars
from vloc_ros.simulation.world import make_aliased_world, make_world
from vloc_ros.storage.acceptance_tables import FOLDER
from vloc_ros.storage.atomic import write_bytes_atomically

_NAME = "acceptance.scans"
CONDITIONS = ("same direction", "opposite direction", "half the rings")
RIGHT_M, RIGHT_RAD, WRONG_M, WRONG_RAD = 0.25, np.radians(2.0), 0.5, np.radians(5.0)
_OUTDOOR, _INDOOR = ("town", "street"), ("room", "corridor", "apartment", "yard")
_LONGEST_M, _PLACE_M, _QUERIES = {True: 200.0, False: 25.0}, {True: 6.0, False: 1.0}, 6
# queries of other places are compared with so many maps
_MAPS_PER_QUERY = 3
# standard deviations of a map's poses, metres and radians: the simulated ones are exact, those of recordings are not
_OF_MAP_POSES = np.repeat([0.03, np.radians(0.2)], 3)
_NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))


@dataclass(frozen=True, slots=True)
class ScanSplit:
    """Worlds of one purpose, by their numbers; their seeds follow that of the split."""

    name: str
    seed: int
    outdoors: tuple[int, ...]
    indoors: tuple[int, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of all worlds."""
        return (*self.outdoors, *self.indoors)

    def kind(self, number: int) -> str:
        """Of a world."""
        return _OUTDOOR[number % 2] if number in self.outdoors else _INDOOR[number % 4]

    def alike(self, number: int) -> list[int]:
        """The other worlds on the same side of the door."""
        return [other for other in (self.outdoors if number in self.outdoors else self.indoors) if other != number]


SPLITS = {
    one.name: one
    for one in (
        ScanSplit("fit", 71000, (0, 1), (2, 3)),
        ScanSplit("choose", 81000, (0, 1, 2, 3), (4, 5, 6, 7)),
        ScanSplit("report", 91000, (0, 1), (3, 4, 5)),
    )
}


@lru_cache(maxsize=2)
def _world(split: ScanSplit, number: int) -> World:
    return make_world(split.kind(number), split.seed + number)


def _map_drive(split: ScanSplit, number: int) -> LidarDrive:
    world = _world(split, number)
    outdoor = bool(world.roads)
    return drive_with_lidar(world, spacing_m=_PLACE_M[outdoor], seed=split.seed + number, longest_m=_LONGEST_M[outdoor])


def _queries(split: ScanSplit, number: int) -> Iterator[tuple[int, int, LidarDrive, int, int]]:
    """Kind, condition, drive, number in it and every which ring, of all queries of a world."""
    world, seed = _world(split, number), split.seed + number + 500
    outdoor = bool(world.roads)
    longest = _LONGEST_M[outdoor] - 10.0 * outdoor
    today = with_other_cars(world, seed) if outdoor else world
    for condition in range(len(CONDITIONS)):
        drive = drive_with_lidar(
            today, spacing_m=3.1 if outdoor else 0.7, seed=seed + condition, backwards=condition == 1, longest_m=longest
        )
        for k in np.random.default_rng([seed, condition]).choice(len(drive), _QUERIES, replace=False):
            yield OWN, condition, drive, int(k), 1 + (condition == 2)
    aliased = drive_with_lidar(
        make_aliased_world(world, seed), spacing_m=3.1 if outdoor else 0.7, seed=seed + 9, longest_m=longest
    )
    for k in np.random.default_rng([seed, 9]).choice(len(aliased), _QUERIES, replace=False):
        yield ALIASED, 0, aliased, int(k), 1


def _simulate(folder: Path, split: ScanSplit, number: int) -> None:
    """Scan a world for its map and its queries, and store both."""
    path = folder / f"{split.name}-{number:02}.npz"
    if path.exists():
        return
    arrays: dict[str, Array] = {}
    drive = _map_drive(split, number)
    for k in range(len(drive)):
        arrays[f"map-{k}"] = drive.scan(k)
    arrays["map-poses"] = np.array([pose.matrix for pose in drive.map_from_lidar])
    rows, poses = [], []
    for k, (kind, condition, of, position, every) in enumerate(_queries(split, number)):
        arrays[f"query-{k}"] = of.scan(position, every_ring=every)
        rows.append((kind, condition))
        poses.append(of.map_from_lidar[position].matrix)
    arrays["query-kinds"], arrays["query-poses"] = np.array(rows), np.array(poses)
    unfinished = path.with_suffix(".part.npz")
    np.savez(unfinished, **arrays)
    unfinished.replace(path)


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


def _neutral() -> AcceptanceModel:
    """Nothing scores above the threshold."""
    terms = {name: _NOTHING for name in EVIDENCE_OF[CLOUD_KIND] if name != "margin"}
    return AcceptanceModel("none", 0.0, terms, _NOTHING, 0, np.zeros(1), np.full(1, np.inf), 0, CLOUD_KIND)


@lru_cache(maxsize=8)
def _search(folder: Path, split: ScanSplit, number: int) -> RecordingSearch:
    with np.load(folder / f"{split.name}-{number:02}.npz") as arrays:
        scans = [
            PosedScan(f"{k:06d}", partial(PointCloud, arrays[f"map-{k}"]), _pose(matrix))
            for k, matrix in enumerate(arrays["map-poses"])
        ]
        landmark_map = make_lidar_map(
            scans, name=f"{split.name}-{number}", spacing_m=0.9 * _PLACE_M[number in split.outdoors]
        )
    built = build_scan_search(
        LocalizerConfig(), landmark_map, acceptance=_neutral(), calibration=CovarianceCalibration()
    )
    built.__class__ = RecordingSearch  # type: ignore[assignment]
    assert isinstance(built, RecordingSearch)
    return built


def _pose(matrix: Array) -> Pose:
    return Pose(matrix[:3, :3], matrix[:3, 3])


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """What a query gave: its evidence, and of right hypotheses the errors and covariances."""

    query: RecordedQuery
    errors: Array
    covariances: Array


def _record(folder: Path, split: ScanSplit, number: int) -> list[Recorded]:
    """Query the map of a world by its own scans, and others by them."""
    with np.load(folder / f"{split.name}-{number:02}.npz") as arrays:
        kinds, poses = arrays["query-kinds"], arrays["query-poses"]
        scans = [arrays[f"query-{k}"] for k in range(len(kinds))]
    recorded, others = [], split.alike(number)
    for k, ((kind, condition), matrix, points) in enumerate(zip(kinds, poses, scans, strict=True)):
        truth = _pose(matrix) if kind == OWN else None
        recorded.append(
            _query(folder, split, number, points, truth, kind=int(kind), condition=int(condition), world=number)
        )
        if kind == OWN:
            for other in np.random.default_rng([split.seed, number, k]).permutation(others)[:_MAPS_PER_QUERY]:
                recorded.append(
                    _query(
                        folder, split, int(other), points, None, kind=FOREIGN, condition=int(condition), world=number
                    )
                )
    return recorded


def _query(
    folder: Path,
    split: ScanSplit,
    map_number: int,
    points: Array,
    truth: Pose | None,
    *,
    kind: int,
    condition: int,
    world: int,
) -> Recorded:
    search = _search(folder, split, map_number)
    query = Query((), cloud=PointCloud(points))
    search.recorded = []
    search.search(Observation(query, search._places.map, StageClock(), lambda: ()))
    weighed, labels, errors, covariances = search.weigh(search.recorded), [], [], []
    for one, _ in weighed:
        result = search.publishable(one)
        assert result.map_from_rig is not None
        label = _label(result.map_from_rig, truth)
        labels.append(label)
        if label == 1:
            assert truth is not None
            errors.append(result.map_from_rig.error_to(truth))
            covariances.append(result.covariance)
    evidence = np.array([evidence.values() for _, evidence in weighed], np.float32)
    row = RecordedQuery(
        evidence.reshape(-1, len(EVIDENCE_OF[CLOUD_KIND])), labels, kind, condition, world, map_number, 0
    )
    return Recorded(row, np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6)))


def _label(found: Pose, truth: Pose | None) -> int:
    if truth is None:
        return 0
    distance_m, angle_rad = found.distance_to(truth)
    if distance_m <= RIGHT_M and angle_rad <= RIGHT_RAD:
        return 1
    return 0 if distance_m > WRONG_M or angle_rad > WRONG_RAD else -1


def record_world(folder: Path, split: ScanSplit, number: int) -> None:
    """Record the queries of a world whose split was simulated, and store them."""
    path = folder / f"{split.name}-{number:02}-evidence.npz"
    if path.exists():
        return
    recorded = _record(folder, split, number)
    unfinished = path.with_suffix(".part.npz")
    EvidenceTable.of_queries([one.query for one in recorded], CLOUD_KIND).save(unfinished)
    np.savez_compressed(
        folder / f"{split.name}-{number:02}-errors.npz",
        errors=np.concatenate([one.errors for one in recorded]),
        covariances=np.concatenate([one.covariances for one in recorded]),
    )
    unfinished.replace(path)


def collect(folder: Path, split: ScanSplit, *, workers: int) -> tuple[EvidenceTable, Array, Array]:
    """The evidence of a split, and the errors and covariances of its right hypotheses; kept in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=limit_blas_threads) as pool:
        list(pool.map(partial(_simulate, folder, split), split.numbers))
        list(pool.map(partial(record_world, folder, split), split.numbers))
    names = [f"{split.name}-{number:02}" for number in split.numbers]
    tables = [EvidenceTable.load(folder / f"{name}-evidence.npz", CLOUD_KIND) for name in names]
    errors, covariances = [], []
    for name in names:
        with np.load(folder / f"{name}-errors.npz") as arrays:
            errors.append(arrays["errors"])
            covariances.append(arrays["covariances"])
    return join_tables(tables), np.concatenate(errors), np.concatenate(covariances)


def find_best(model: AcceptanceModel, table: EvidenceTable) -> tuple[Array, Array]:
    """Score, with the margin, and label of each query's best hypothesis, as `PlaceSearch.decide` chooses it."""
    scores = score_rows(model, table.evidence)
    order = np.argsort(-scores, kind="stable")
    queries, first = np.unique(table.query[order], return_index=True)
    best, labels = np.full(len(table.queries), -np.inf), np.full(len(table.queries), -1)
    best[queries], labels[queries] = scores[order[first]], table.label[order[first]]
    return best, labels


def summarize(model: AcceptanceModel, table: EvidenceTable) -> dict[str, Any]:
    """How many queries are accepted, by their kind and condition."""
    best, labels = find_best(model, table)
    accepted, figures = best >= model.thresholds[0], dict[str, Any]()
    for kind, name in ((ALIASED, KINDS_OF_QUERY[ALIASED]), (FOREIGN, KINDS_OF_QUERY[FOREIGN])):
        mine = table.queries[:, 0] == kind
        figures[name] = {"queries": int(mine.sum()), "accepted": int((accepted & mine).sum())}
    for number, name in enumerate(CONDITIONS):
        mine = (table.queries[:, 0] == OWN) & (table.queries[:, 1] == number)
        counts = {title: int((mine & accepted & (labels == label)).sum()) for title, label in
                  (("right", 1), ("between", -1), ("wrong", 0))}  # fmt: skip
        figures[name] = {"queries": int(mine.sum()), **counts}
    return figures


def _run(args: argparse.Namespace) -> None:
    tables = {name: collect(args.data, split, workers=args.workers) for name, split in SPLITS.items()}
    fitted = fit_terms(tables["fit"][0], name=CLOUD_KIND)
    model = refuse_known_wrong(choose_thresholds(fitted, tables["choose"][0]), tables["fit"][0], tables["choose"][0])
    calibration = _calibrate(model, *tables["fit"])
    out = args.out or FOLDER / f"{CLOUD_KIND}.json"
    mapping = model.to_mapping() | {
        "calibration": {
            "scale": calibration.scale,
            "floor": calibration.floor.tolist(),
            "samples": calibration.samples,
        }
    }
    write_bytes_atomically(out, (json.dumps(mapping, indent=1) + "\n").encode())
    print(json.dumps(summarize(model, tables["report"][0]), indent=1))
    print(out)


def refuse_known_wrong(model: AcceptanceModel, *tables: EvidenceTable) -> AcceptanceModel:
    """The model with thresholds above every wrong answer: streets of equal houses are few among the negatives."""
    found = [find_best(model, table) for table in tables]
    worst = max(float(scores[labels == 0].max(initial=-np.inf)) for scores, labels in found)
    return replace(model, thresholds=np.maximum(model.thresholds, np.nextafter(worst, np.inf)))


def _calibrate(
    model: AcceptanceModel, table: EvidenceTable, errors: Array, covariances: Array
) -> CovarianceCalibration:
    """That of the right hypotheses which are accepted, in maps whose poses have errors as those of real recordings."""
    accepted = score_rows(model, table.evidence[table.label == 1]) >= model.thresholds[0]
    noise = np.random.default_rng(0).normal(size=(int(accepted.sum()), 6)) * _OF_MAP_POSES
    return fit_calibration(errors[accepted] + noise, covariances[accepted])


def main() -> int:
    """Collect, fit, choose, report, write; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="for scans and evidence")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the table; in the package by default")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
