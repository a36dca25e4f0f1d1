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
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.acceptance.evidence_table import ALIASED, FOREIGN, KINDS_OF_QUERY, OWN, EvidenceTable
from training.acceptance.fit import choose_thresholds, fit_terms
from training.acceptance.leaders import score_rows
from training.acceptance.scan_recording import collect
from training.acceptance.scan_worlds import CONDITIONS, SPLITS
from training.framework.command import make_parser, run_command
from vloc_ros.core.geometry.covariance import (
    CovarianceCalibration,
    apply_calibration,
    fit_calibration,
    squared_mahalanobis_distances,
)
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import CLOUD_KIND, AcceptanceModel
from vloc_ros.storage.acceptance_tables import FOLDER, write_acceptance_table

_NAME = "acceptance.scans"
# standard deviations of a map's poses, metres and radians: the simulated ones are exact, those of recordings are not
_OF_MAP_POSES = np.repeat([0.03, np.radians(0.2)], 3)


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


def measure_consistency(calibration: CovarianceCalibration, errors: Array, covariances: Array) -> dict[str, Any]:
    """Mean NEES of (N, 6) errors under (N, 6, 6) covariances yet to be calibrated; 6 where they are consistent.

    With it, the 95 % interval of the mean of N consistent and independent ones, by the central limit theorem.
    """
    if not len(errors):
        return {"hypotheses": 0}
    calibrated = np.stack([apply_calibration(one, calibration) for one in covariances])
    nees, half_width = squared_mahalanobis_distances(errors, calibrated), 1.96 * np.sqrt(2 * 6 / len(errors))
    return {
        "hypotheses": len(errors),
        "nees": round(float(nees.mean()), 2),
        "consistent": [round(float(6 - half_width), 2), round(float(6 + half_width), 2)],
    }


def _run(args: argparse.Namespace) -> None:
    tables = {name: collect(args.data, split, workers=args.workers) for name, split in SPLITS.items()}
    fitted = fit_terms(tables["fit"][0], name=CLOUD_KIND)
    model = refuse_known_wrong(choose_thresholds(fitted, tables["choose"][0]), tables["fit"][0], tables["choose"][0])
    calibration = fit_calibration(*select_accepted(model, *tables["fit"]))
    out = args.out or FOLDER / f"{CLOUD_KIND}.json"
    write_acceptance_table(out, model, calibration)
    report = summarize(model, tables["report"][0]) | {
        "worlds": SPLITS["report"].kinds,
        "covariance": measure_consistency(calibration, *select_accepted(model, *tables["report"])),
    }
    print(json.dumps(report, indent=1))
    print(out)


def refuse_known_wrong(model: AcceptanceModel, *tables: EvidenceTable) -> AcceptanceModel:
    """The model with thresholds above every wrong answer: streets of equal houses are few among the negatives."""
    found = [find_best(model, table) for table in tables]
    worst = max(float(scores[labels == 0].max(initial=-np.inf)) for scores, labels in found)
    return replace(model, thresholds=np.maximum(model.thresholds, np.nextafter(worst, np.inf)))


def select_accepted(
    model: AcceptanceModel, table: EvidenceTable, errors: Array, covariances: Array
) -> tuple[Array, Array]:
    """(N, 6) errors and (N, 6, 6) covariances of the right hypotheses that are accepted.

    The errors are those in maps whose poses have errors, too, as those of real recordings have.
    """
    accepted = score_rows(model, table.evidence[table.label == 1]) >= model.thresholds[0]
    noise = np.random.default_rng(0).normal(size=(int(accepted.sum()), 6)) * _OF_MAP_POSES
    return errors[accepted] + noise, covariances[accepted]


def main() -> int:
    """Collect, fit, choose, report, write; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="for scans and evidence")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the table; in the package by default")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="processes (default: %(default)s)")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
