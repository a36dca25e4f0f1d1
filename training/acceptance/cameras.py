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

"""Fit the acceptance table of moving cameras in LiDAR maps, and the calibration of their covariance, in simulations.

  python -m training.acceptance.cameras --data DIR

Clouds and what the search found are kept in DIR: an interrupted run goes on where it stopped. The worlds that the
table is fitted on, those that its thresholds are chosen on and those that the report is of are different ones.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from training.acceptance.camera_recording import RecordedSplit, collect
from training.acceptance.camera_worlds import CONDITIONS, SPLITS
from training.acceptance.evidence_table import ALIASED, FOREIGN, KINDS_OF_QUERY, OWN, EvidenceTable
from training.acceptance.fit import choose_thresholds, fit_terms
from training.acceptance.leaders import score_rows
from training.acceptance.scans import find_best, measure_consistency, refuse_known_wrong
from training.framework.command import make_parser, run_command
from vloc_ros.core.geometry.covariance import fit_calibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import CAMERA_KIND, AcceptanceModel
from vloc_ros.storage.acceptance_tables import FOLDER, write_acceptance_table

_NAME = "acceptance.cameras"


def summarize(model: AcceptanceModel, table: EvidenceTable) -> dict[str, Any]:
    """How many queries are accepted, by their kind and condition."""
    best, labels = find_best(model, table)
    accepted, figures = best >= model.thresholds[0], dict[str, Any]()
    for kind in (ALIASED, FOREIGN):
        mine = table.queries[:, 0] == kind
        figures[KINDS_OF_QUERY[kind]] = {"queries": int(mine.sum()), "accepted": int((accepted & mine).sum())}
    for number, name in enumerate(CONDITIONS):
        mine = (table.queries[:, 0] == OWN) & (table.queries[:, 1] == number)
        found = np.zeros(len(mine), bool)
        found[table.query[table.label == 1]] = True
        figures[name] = {
            "queries": int(mine.sum()),
            "right pose among the hypotheses": int((mine & found).sum()),
            "best is right": int((mine & (labels == 1)).sum()),
            "accepted right": int((mine & accepted & (labels == 1)).sum()),
            "accepted between": int((mine & accepted & (labels == -1)).sum()),
            "accepted wrong": int((mine & accepted & (labels == 0)).sum()),
        }
    return figures


def select_right(model: AcceptanceModel, recorded: RecordedSplit, *, least_score: float) -> tuple[Array, Array]:
    """(N, 6) errors and (N, 6, 6) covariances of the right hypotheses of some score, positions in voxels."""
    table = recorded.table
    accepted = score_rows(model, table.evidence[table.label == 1]) >= least_score
    units = np.column_stack([np.repeat(recorded.voxels_m[accepted, None], 3, axis=1), np.ones((accepted.sum(), 3))])
    return recorded.errors[accepted] / units, recorded.covariances[accepted] / (units[:, :, None] * units[:, None])


def _run(args: argparse.Namespace) -> None:
    recorded = {name: collect(args.data, split) for name, split in SPLITS.items()}
    fitted = fit_terms(recorded["fit"].table, name=CAMERA_KIND)
    chosen = choose_thresholds(fitted, recorded["choose"].table)
    model = refuse_known_wrong(chosen, recorded["fit"].table, recorded["choose"].table)
    model = replace(model, thresholds=np.maximum(model.thresholds, 0.0))
    # accepted ones are too few: all that are more likely right than wrong
    likely = [select_right(model, recorded[name], least_score=0.0) for name in ("fit", "choose")]
    errors, covariances = zip(*likely, strict=True)
    calibration = fit_calibration(np.concatenate(errors), np.concatenate(covariances))
    out = args.out or FOLDER / f"{CAMERA_KIND}.json"
    write_acceptance_table(out, model, calibration)
    figures = {
        name: summarize(model, of_split.table)
        | {
            title: measure_consistency(calibration, *select_right(model, of_split, least_score=float(least)))
            for title, least in (("covariance of accepted", model.thresholds[0]), ("covariance of likely", 0.0))
        }
        for name, of_split in recorded.items()
    }
    print(json.dumps(figures, indent=1))
    print(out)


def main() -> int:
    """Collect, fit, choose, report, write; 0 when it worked, 1 for an expected failure."""
    parser = make_parser(_NAME, __doc__)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="for clouds and evidence")
    parser.add_argument("--out", type=Path, metavar="JSON", help="the table; in the package by default")
    return run_command(_NAME, _run, parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
