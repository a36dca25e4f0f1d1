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

"""Fitting of the acceptance model on evidence whose odds are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.acceptance.evidence_table import FOREIGN, OWN, EvidenceTable
from training.acceptance.fit import (
    AcceptanceError,
    best_scores,
    calibration_error,
    choose_thresholds,
    fit_terms,
)
from training.acceptance.leaders import score_rows
from training.acceptance.worlds import SPLITS
from vloc_ros.core.localization.evidence import CLEAR_MARGIN, EVIDENCE


def _table(seed: int, count: int = 6000) -> EvidenceTable:
    """Half of the hypotheses are right; `inliers` and `coverage` tell by how much, all other evidence is noise."""
    rng = np.random.default_rng(seed)
    label = (rng.random(count) < 0.5).astype(np.int8)
    evidence = rng.normal(size=(count, len(EVIDENCE)))
    for name in ("inliers", "coverage"):
        evidence[:, EVIDENCE.index(name)] += label
    evidence[:, EVIDENCE.index("margin")] = CLEAR_MARGIN
    evidence[:, EVIDENCE.index("inliers")] += 10.0  # more than the fewest
    queries = np.zeros((count, 5), np.int32)
    queries[:, 0] = np.where(label == 1, OWN, FOREIGN)
    queries[:, 2] = rng.integers(0, 40, count)
    return EvidenceTable(evidence, label, np.arange(count), queries)


def test_scores_are_log_odds_that_hold_on_other_evidence() -> None:
    model, other = fit_terms(_table(0), name="test"), _table(1)
    scores = score_rows(model, other.evidence)
    assert calibration_error(scores, other.label == 1) < 0.03
    # two unit steps of two unit Gaussians: no better classifier exists
    assert ((scores > 0) == (other.label == 1)).mean() > 0.745


def test_noise_contributes_little_and_evidence_much() -> None:
    spans = {name: -term.contributions[0] for name, term in fit_terms(_table(0), name="test").terms.items()}
    informative = {"inliers", "coverage"}
    assert min(spans[name] for name in informative) > 3 * max(spans[name] for name in spans if name not in informative)


def test_thresholds_keep_their_rates_on_other_negatives() -> None:
    model = choose_thresholds(fit_terms(_table(0), name="test"), _table(1, 40_000))
    other = _table(2, 40_000)
    negatives = best_scores(model, other, FOREIGN)
    for rate, threshold in zip(model.rates, model.thresholds, strict=True):
        # the bound holds with 95 %: so few more are chance
        assert (negatives >= threshold).sum() <= rate * len(negatives) + 2 * np.sqrt(rate * len(negatives))
    assert list(model.thresholds) == sorted(model.thresholds, reverse=True)


def test_rates_below_what_the_negatives_bound_are_left_out() -> None:
    model = choose_thresholds(fit_terms(_table(0), name="test"), _table(1, 2000))
    assert model.rates[0] >= 3 / model.negatives


def test_too_few_negatives_support_no_rate() -> None:
    with pytest.raises(AcceptanceError, match="support no rate"):
        choose_thresholds(fit_terms(_table(0), name="test"), _table(1, 30))


def test_evidence_of_right_hypotheses_alone_is_refused() -> None:
    table = _table(0)
    with pytest.raises(AcceptanceError, match="expected right and wrong"):
        fit_terms(replace(table, label=np.ones_like(table.label)), name="test")


def test_no_world_serves_two_purposes() -> None:
    seeds = [seed for split in SPLITS.values() for seed in (*split.mapped_seeds, *split.foreign_seeds)]
    assert len(set(seeds)) == len(seeds)
