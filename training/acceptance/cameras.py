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

"""Fit the acceptance tables of moving cameras in LiDAR maps, and the calibration of their covariance, in simulations.

  python -m training.acceptance.cameras --data DIR

One table is of single clouds, the other of several clouds of a drive. Clouds and what the search found are kept in DIR:
an interrupted run goes on where it stopped. The worlds that the tables are fitted on, those that their thresholds are
chosen on and those that the report is of are different ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.acceptance.camera_recording import collect
from training.acceptance.camera_tables import RecordedTable, table_of_clouds, table_of_drives
from training.acceptance.camera_worlds import CONDITIONS, SPLITS
from training.acceptance.evidence_table import ALIASED, FOREIGN, KINDS_OF_QUERY, OWN
from training.acceptance.fit import RATES, choose_thresholds, fit_terms
from training.acceptance.leaders import score_rows
from training.acceptance.scans import find_best, measure_consistency, refuse_known_wrong
from training.framework.command import make_parser, run_command
from vloc_ros.core.geometry.covariance import CovarianceCalibration, fit_calibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import AcceptanceModel
from vloc_ros.storage.acceptance_tables import FOLDER, write_acceptance_table

_NAME = "acceptance.cameras"
# drives are few: each counts once, however many clouds it has and maps it is searched in
_RATES = (*RATES, 0.2, 0.3, 0.5)


def fit_model(fit: RecordedTable, choose: RecordedTable) -> AcceptanceModel:
    """The terms by the worlds to fit, and the thresholds by those to choose.

    A rate of false accepts is one of drives, of which any pose is accepted. No wrong answer of either is accepted, nor
    one that is more likely wrong than right.
    """
    model = fit_terms(fit.table, name=fit.table.evidence_kind)
    chosen = choose_thresholds(model, choose.by_drive(), rates=_RATES, independent=choose.negatives)
    chosen = refuse_known_wrong(chosen, fit.table, choose.table)
    return replace(chosen, thresholds=np.maximum(chosen.thresholds, 0.0))


def summarize(model: AcceptanceModel, recorded: RecordedTable) -> dict[str, Any]:
    """How many queries are accepted, by their number of clouds, kind and condition."""
    table, figures = recorded.table, dict[str, Any]()
    best, labels = find_best(model, table)
    accepted = best >= model.thresholds[0]
    found = np.zeros(len(table.queries), bool)
    found[table.query[table.label == 1]] = True
    for clouds in np.unique(recorded.clouds):
        of_these = dict[str, Any]()
        for kind in (ALIASED, FOREIGN):
            mine = (table.queries[:, 0] == kind) & (recorded.clouds == clouds)
            of_these[KINDS_OF_QUERY[kind]] = {"queries": int(mine.sum()), "accepted": int((accepted & mine).sum())}
        for number, name in enumerate(CONDITIONS):
            mine = (table.queries[:, 0] == OWN) & (table.queries[:, 1] == number) & (recorded.clouds == clouds)
            of_these[name] = {
                "queries": int(mine.sum()),
                "right pose among the hypotheses": int((mine & found).sum()),
                "best is right": int((mine & (labels == 1)).sum()),
                "accepted right": int((mine & accepted & (labels == 1)).sum()),
                "accepted between": int((mine & accepted & (labels == -1)).sum()),
                "accepted wrong": int((mine & accepted & (labels == 0)).sum()),
            }
        figures[f"{clouds} clouds"] = of_these
    return figures


def select_known(model: AcceptanceModel, recorded: RecordedTable, *, least_score: float) -> tuple[Array, Array]:
    """(N, 6) errors and (N, 6, 6) covariances of the best hypotheses of some score, positions in voxels.

    Of each query the best alone is published; others that are not wrong are optima beside it. Those that are wrong have
    no covariance that fits.
    """
    scores, query = score_rows(model, recorded.table.evidence), recorded.table.query
    best = np.full(len(recorded.table.queries), -np.inf)
    np.maximum.at(best, query, scores)
    known = np.isfinite(recorded.errors).all(axis=1)
    chosen = known & (scores >= least_score) & (scores == best[query])
    units = np.column_stack([np.repeat(recorded.voxels_m[chosen, None], 3, axis=1), np.ones((chosen.sum(), 3))])
    return recorded.errors[chosen] / units, recorded.covariances[chosen] / (units[:, :, None] * units[:, None])


def calibrate(model: AcceptanceModel, tables: Sequence[RecordedTable]) -> CovarianceCalibration:
    """Of the best hypotheses that are more likely right than wrong and are not wrong: accepted ones are fewer.

    They are too few to make any covariance smaller than the geometry has it.
    """
    errors, covariances = zip(*(select_known(model, one, least_score=0.0) for one in tables), strict=True)
    fitted = fit_calibration(np.concatenate(errors), np.concatenate(covariances))
    return fitted if fitted.scale > 1.0 else CovarianceCalibration(samples=fitted.samples)


def _run(args: argparse.Namespace) -> None:
    recorded = {name: collect(args.data, split, maps=args.maps, others=args.others) for name, split in SPLITS.items()}
    folder, figures = args.out or FOLDER, dict[str, Any]()
    for make_table in (table_of_clouds, table_of_drives):
        tables = {name: make_table(drives) for name, drives in recorded.items()}
        model = fit_model(tables["fit"], tables["choose"])
        calibration = calibrate(model, [tables["fit"]])
        write_acceptance_table(folder / f"{model.kind}.json", model, calibration)
        figures[model.kind] = {
            name: summarize(model, table)
            | {
                title: measure_consistency(calibration, *select_known(model, table, least_score=float(least)))
                for title, least in (("covariance of accepted", model.thresholds[0]), ("covariance of likely", 0.0))
            }
            for name, table in tables.items()
        }
    print(json.dumps(figures, indent=1))
    print(folder)


def main() -> int:
    """Collect, fit, choose, report, write; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="for clouds and evidence")
    parser.add_argument(
        "--maps", type=int, default=100, metavar="N", help="maps of each purpose at most (default: all)"
    )
    parser.add_argument(
        "--others", type=int, default=100, metavar="N", help="other worlds that visit each map at most (default: all)"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="for the tables; in the package by default")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
