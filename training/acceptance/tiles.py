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

"""Fit the acceptance table of aerial tiles, and the calibration of their covariance, on simulated towns.

  python -m training.acceptance.tiles --data DIR

Views and recorded evidence are kept in DIR: an interrupted run goes on where it stopped. The towns that the table is
fitted on, those that its thresholds are chosen on and those that the report is of are different ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from training.acceptance.evidence_table import (
    ALIASED,
    FOREIGN,
    KINDS_OF_QUERY,
    OWN,
    EvidenceTable,
    Recorded,
    RecordedQuery,
    join_tables,
)
from training.acceptance.fit import choose_thresholds, fit_terms
from training.acceptance.kept_arrays import check_constants, list_constants, save_with_constants
from training.acceptance.leaders import score_rows
from training.acceptance.scans import find_best, refuse_known_wrong
from training.data import aerial_views
from training.data.aerial_views import (
    CONDITIONS,
    GROUND_SIZE_M,
    NO_ALTITUDE,
    DroneImage,
    bend,
    cut_view,
    fly,
    photograph_town,
)
from training.framework.command import make_parser, run_command
from vloc_ros.assembly import build_tile_search
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.geometry.covariance import CovarianceCalibration, fit_calibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization import ground_pose, tile_evidence, tile_places, tile_search, tile_views
from vloc_ros.core.localization.acceptance import EVIDENCE_OF, TILE_KIND, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.tile_search import TileSearch
from vloc_ros.geo.aerial_map import make_aerial_map
from vloc_ros.geo.ground_images import GroundImage
from vloc_ros.simulation.scene import World
from vloc_ros.simulation.world import make_aliased_world, make_world
from vloc_ros.storage.acceptance_tables import FOLDER, write_acceptance_table

_NAME = "acceptance.tiles"
# between are right places in bent maps, or of views that are tilted otherwise than their gravity says
RIGHT_M, RIGHT_RAD, WRONG_M, WRONG_RAD = 2.0, np.radians(4.0), 15.0, np.radians(10.0)
# towns of a map lie in a row, this far apart
_APART_M = 1000.0
# of every mapped town in each condition, and one with a wrong altitude
_FLIGHTS = 3
# of images cut from orthophotos: the lowest, one of so many without its altitude, and by how much that is wrong at most
_CUT_LOW_M, _UNKNOWN_OF, _ALTITUDE_OFF = 40.0, 6, 0.1
# of real aerial images: georeferencing and relief, metres and radians
_OF_MAP = np.repeat([0.5, np.radians(0.5)], 3)
_NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))


@dataclass(frozen=True, slots=True)
class TownSplit:
    """Towns of one purpose; their seeds follow that of the split.

    Attributes:
        name: of the purpose.
        seed: of the first town.
        mapped: towns of the map, the first ones.
        others: towns beside them, of which the images of other places are.
        cut: images of each of those.
        aliased: images of each mapped town with its buildings in other places.
    """

    name: str
    seed: int
    mapped: int
    others: int
    cut: int
    aliased: int


SPLITS = (
    TownSplit("fit", 61000, 3, 3, 120, 40),
    TownSplit("choose", 64000, 4, 5, 150, 40),
    TownSplit("report", 67000, 2, 3, 150, 40),
)


def _neutral() -> AcceptanceModel:
    """Nothing scores above the threshold."""
    terms = {name: _NOTHING for name in EVIDENCE_OF[TILE_KIND] if name != "margin"}
    return AcceptanceModel("none", 0.0, terms, _NOTHING, 0, np.zeros(1), np.full(1, np.inf), 0, TILE_KIND)


@lru_cache(maxsize=2)
def _town(split: TownSplit, number: int) -> World:
    return make_world("town", split.seed + number)


def constants_of_views() -> dict[str, str]:
    """Constants that the kept orthophotos and flights depend on, by their names."""
    return list_constants(aerial_views, sys.modules[__name__])


def constants_of_evidence() -> dict[str, str]:
    """Constants that the kept evidence depends on, by their names."""
    return constants_of_views() | list_constants(ground_pose, tile_evidence, tile_places, tile_search, tile_views)


def _orthophoto(folder: Path, split: TownSplit, number: int, *, aliased: bool = False) -> GroundImage:
    """Of a town, kept in a folder."""
    path = folder / f"{split.name}-{number}{'-aliased' * aliased}.npz"
    if not path.exists():
        world, seed = _town(split, number), split.seed + number
        made = bend(photograph_town(make_aliased_world(world, seed) if aliased else world, seed=seed), seed)
        arrays = {"image": made.image, "place": np.array([made.left_m, made.top_m])}
        save_with_constants(path, constants_of_views(), arrays)
    check_constants(path, constants_of_views())
    with np.load(path) as arrays:
        image, (left, top) = arrays["image"], arrays["place"]
    return GroundImage(image, np.ones(image.shape[:2], bool), float(left), float(top), GROUND_SIZE_M)


def _flights(folder: Path, split: TownSplit, number: int) -> list[tuple[int, DroneImage]]:
    """Condition and image of the flights over a town, kept in a folder."""
    path = folder / f"{split.name}-{number}-flights.npz"
    if not path.exists():
        world, ground = _town(split, number), _orthophoto(folder, split, number)
        flown = [
            fly(world, ground, condition, split.seed + 1000 * number + 10 * condition + k)
            for condition in range(len(CONDITIONS))
            for k in range(_FLIGHTS)
        ]
        arrays = {
            "images": np.stack([one.image for one in flown]),
            "poses": np.stack([one.map_from_camera.matrix for one in flown]),
            "down": np.stack([one.down for one in flown]),
            "altitudes": np.array([one.altitude_m for one in flown]),
        }
        save_with_constants(path, constants_of_views(), arrays)
    check_constants(path, constants_of_views())
    with np.load(path) as arrays:
        images, poses, down, altitudes = (arrays[name] for name in ("images", "poses", "down", "altitudes"))
    return [
        (k // _FLIGHTS, DroneImage(images[k], Pose(poses[k, :3, :3], poses[k, :3, 3]), down[k], float(altitudes[k])))
        for k in range(len(images))
    ]


@lru_cache(maxsize=1)
def _search(folder: Path, split: TownSplit) -> TileSearch:
    """Among the tiles of all mapped towns, in a row."""
    towns = [_orthophoto(folder, split, number) for number in range(split.mapped)]
    ground = [replace(town, left_m=town.left_m + number * _APART_M) for number, town in enumerate(towns)]
    sizes = (GROUND_SIZE_M, 2 * GROUND_SIZE_M)
    landmark_map = make_aerial_map(ground, name=split.name, datum=None, ground_sizes_m=sizes)
    return build_tile_search(
        LocalizerConfig(), landmark_map, acceptance=_neutral(), calibration=CovarianceCalibration()
    )


def _queries(folder: Path, split: TownSplit, number: int) -> Iterator[tuple[int, int, DroneImage]]:
    """Kind, condition and image of the queries of one town."""
    seed = split.seed + 1000 * number
    if number >= split.mapped:
        yield from _cuts(FOREIGN, _orthophoto(folder, split, number), split.cut, seed)
        return
    for k, (condition, image) in enumerate(_flights(folder, split, number)):
        yield OWN, condition, image.move(number * _APART_M)
        if condition != NO_ALTITUDE and k % _FLIGHTS == 0:
            yield OWN, condition, _mislead(image, seed + k).move(number * _APART_M)
    yield from _cuts(ALIASED, _orthophoto(folder, split, number, aliased=True), split.aliased, seed + 500)


def _cuts(kind: int, ground: GroundImage, count: int, seed: int) -> Iterator[tuple[int, int, DroneImage]]:
    for k in range(count):
        image = cut_view(ground, seed + k, low_m=_CUT_LOW_M)
        yield kind, NO_ALTITUDE if k % _UNKNOWN_OF == 0 else 0, _mislead(image, seed + k) if k % 2 else image


def _mislead(image: DroneImage, seed: int) -> DroneImage:
    """An image whose altitude is wrong."""
    off = np.random.default_rng([seed, 34]).uniform(-_ALTITUDE_OFF, _ALTITUDE_OFF)
    return replace(image, altitude_m=image.altitude_m * (1.0 + float(off)))


def _record(search: TileSearch, image: DroneImage, kind: int, condition: int, town: int) -> Recorded:
    """Evidence as the search decides on it: after each view, of the hypotheses up to there."""
    query, truth = image.query(altitude=condition != NO_ALTITUDE), image.map_from_camera
    found, rows, labels = search.find(query), list[Array](), list[int]()
    errors, covariances = list[Array](), list[Array]()
    for view in sorted({one.view for one in found}):
        for one, evidence in search.weigh([one for one in found if one.view <= view]):
            result = search.publishable(one, 0.5)
            assert result.map_from_rig is not None
            assert result.covariance is not None
            label = _label(result.map_from_rig, truth) if kind == OWN else 0
            rows.append(evidence.values())
            labels.append(label)
            if label == 1:
                errors.append(result.map_from_rig.error_to(truth))
                covariances.append(result.covariance)
    evidence_rows = np.array(rows, np.float32).reshape(-1, len(EVIDENCE_OF[TILE_KIND]))
    row = RecordedQuery(evidence_rows, labels, kind, condition, town, 0, 0)
    return Recorded(row, np.reshape(errors, (-1, 6)), np.reshape(covariances, (-1, 6, 6)))


def _label(found: Pose, truth: Pose) -> int:
    error = found.error_to(truth)
    distance_m, yaw_rad = float(np.hypot(error[0], error[1])), abs(float(error[5]))
    if distance_m <= RIGHT_M and yaw_rad <= RIGHT_RAD:
        return 1
    return 0 if distance_m > WRONG_M or yaw_rad > WRONG_RAD else -1


def collect(folder: Path, split: TownSplit) -> tuple[EvidenceTable, Array, Array]:
    """The evidence of a split, and the errors and covariances of its right hypotheses; kept in a folder.

    Raises:
        VlocError: some was kept with other constants.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables, errors, covariances = [], [], []
    for number in range(split.mapped + split.others):
        path = folder / f"{split.name}-{number}-evidence.npz"
        of_errors = folder / f"{split.name}-{number}-errors.npz"
        if not path.exists():
            recorded = [
                _record(_search(folder, split), image, kind, condition, number)
                for kind, condition, image in _queries(folder, split, number)
            ]
            arrays = {
                "errors": np.concatenate([one.errors for one in recorded]),
                "covariances": np.concatenate([one.covariances for one in recorded]),
            }
            save_with_constants(of_errors, constants_of_evidence(), arrays)
            unfinished = path.with_suffix(".part.npz")
            EvidenceTable.of_queries([one.query for one in recorded], TILE_KIND).save(unfinished)
            unfinished.replace(path)
        check_constants(of_errors, constants_of_evidence())
        tables.append(EvidenceTable.load(path, TILE_KIND))
        with np.load(of_errors) as arrays:
            errors.append(arrays["errors"])
            covariances.append(arrays["covariances"])
    return join_tables(tables), np.concatenate(errors), np.concatenate(covariances)


def summarize(model: AcceptanceModel, table: EvidenceTable) -> dict[str, Any]:
    """How many queries are accepted, by their kind and condition."""
    best, labels = find_best(model, table)
    accepted, figures = best >= model.thresholds[0], dict[str, Any]()
    for kind in (ALIASED, FOREIGN):
        mine = table.queries[:, 0] == kind
        figures[KINDS_OF_QUERY[kind]] = {"queries": int(mine.sum()), "accepted": int((accepted & mine).sum())}
    for number, name in enumerate(CONDITIONS):
        mine = (table.queries[:, 0] == OWN) & (table.queries[:, 1] == number)
        counts = {title: int((mine & accepted & (labels == label)).sum()) for title, label in
                  (("right", 1), ("between", -1), ("wrong", 0))}  # fmt: skip
        figures[name] = {"queries": int(mine.sum()), **counts}
    return figures


def _count_most_inliers(table: EvidenceTable) -> int:
    """Of any hypothesis of another place."""
    elsewhere = np.isin(table.column("kind"), (FOREIGN, ALIASED))
    return round(float(np.expm1(table.evidence_of("inliers")[elsewhere].max(initial=0.0))))


def _calibrate(
    model: AcceptanceModel, table: EvidenceTable, errors: Array, covariances: Array
) -> CovarianceCalibration:
    """That of the right hypotheses which are accepted, above maps that are off as real ones are."""
    accepted = score_rows(model, table.evidence[table.label == 1]) >= model.thresholds[0]
    noise = np.random.default_rng(0).normal(size=(int(accepted.sum()), 6)) * _OF_MAP
    return fit_calibration(errors[accepted] + noise, covariances[accepted])


def _run(args: argparse.Namespace) -> None:
    tables = {split.name: collect(args.data, split) for split in SPLITS}
    fitted = fit_terms(tables["fit"][0], name=TILE_KIND)
    chosen = choose_thresholds(fitted, tables["choose"][0])
    model = refuse_known_wrong(chosen, tables["fit"][0], tables["choose"][0])
    # negatives are few, and all but impossible: what is more likely wrong than right is refused all the same
    least = 1 + max(_count_most_inliers(tables[split][0]) for split in ("fit", "choose"))
    model = replace(model, thresholds=np.maximum(model.thresholds, 0.0), least_inliers=least)
    calibration = _calibrate(model, *tables["fit"])
    out = args.out or FOLDER / f"{TILE_KIND}.json"
    write_acceptance_table(out, model, calibration)
    print(json.dumps(summarize(model, tables["report"][0]), indent=1))
    print(out)


def main() -> int:
    """Collect, fit, choose, report, write; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="for views and evidence")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the table; in the package by default")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
