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

"""The answers to recorded scans are those that the search of places gives."""

from __future__ import annotations

import numpy as np
import pytest

from training.acceptance.evidence_table import OWN, EvidenceTable, RecordedQuery
from training.acceptance.scans import find_best, measure_consistency
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.localization.acceptance import CLOUD_KIND, EVIDENCE_OF
from vloc_ros.storage.acceptance_tables import read_acceptance_model


def test_the_margin_counts_among_hypotheses() -> None:
    names, strong = EVIDENCE_OF[CLOUD_KIND], {"inliers": 8.0, "constraint": -1.0}
    best = np.array([strong.get(name, 1.0) for name in names], np.float32)
    weaker, contested = best.copy(), best.copy()
    weaker[names.index("confirmed")] = 0.8
    contested[names.index("margin")] = -0.15
    nothing = RecordedQuery(np.zeros((0, len(names)), np.float32), [], OWN, 0, 0, 0, 0)
    query = RecordedQuery(np.stack([contested, weaker]), [0, 1], OWN, 0, 0, 0, 0)
    scores, labels = find_best(
        read_acceptance_model(CLOUD_KIND), EvidenceTable.of_queries([nothing, query], CLOUD_KIND)
    )
    assert labels.tolist() == [-1, 1]
    assert scores[0] == -np.inf


def test_the_covariance_of_the_report_is_the_calibrated_one() -> None:
    calibration = CovarianceCalibration(scale=2.0, floor=np.full(6, 0.05))
    covariances = np.tile(0.05 * np.eye(6), (400, 1, 1))
    errors = np.random.default_rng(0).normal(0.0, 0.5, (400, 6))
    found = measure_consistency(calibration, errors, covariances)
    low, high = found["consistent"]
    assert low < found["nees"] < high
    assert high - low == pytest.approx(4 * 1.96 * np.sqrt(3 / 400), abs=0.02)
    assert measure_consistency(calibration, errors[:0], covariances[:0]) == {"hypotheses": 0}
