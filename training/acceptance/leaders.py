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

"""Scores of recorded hypotheses, and those that the selector would decide on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.acceptance.evidence_table import EvidenceTable
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import EVIDENCE_OF, AcceptanceModel, log_odds_of_both
from vloc_ros.core.localization.evidence import CLEAR_MARGIN


def score_rows(model: AcceptanceModel, evidence: Array) -> Array:
    """(N,) scores of (N, E) evidence."""
    terms, names = {**model.terms, "margin": model.margin}, EVIDENCE_OF[model.kind]
    parts = {
        piece: np.interp(evidence[:, column], terms[piece].knots, terms[piece].contributions)
        for column, piece in enumerate(names)
    }
    margin = parts.pop("margin")
    scores = log_odds_of_both(model.bias + np.sum(list(parts.values()), axis=0), margin)
    few = evidence[:, names.index("inliers")] < model.least_inliers_evidence
    return np.where(few, -np.inf, scores)


@dataclass(frozen=True, slots=True, eq=False)
class Leaders:
    """The hypothesis of every query that the selector would decide on.

    Attributes:
        scores: (Q,) with the margin; -inf where a query has no hypothesis.
        labels: (Q,) 1 right, 0 wrong, -1 between, or no hypothesis.
        evidence: (Q, E) with the margin; NaN where a query has no hypothesis.
    """

    scores: Array
    labels: Array
    evidence: Array


def find_leaders(model: AcceptanceModel, table: EvidenceTable) -> Leaders:
    """As the selector does: of each query the best hypothesis before competing poses are searched for."""
    alone = table.evidence.copy()
    alone[:, table.names.index("margin")] = CLEAR_MARGIN
    order = np.argsort(-score_rows(model, alone), kind="stable")
    order = order[np.isfinite(score_rows(model, alone[order]))]
    queries, first = np.unique(table.query[order], return_index=True)
    rows = order[first]
    scores, labels = np.full(len(table.queries), -np.inf), np.full(len(table.queries), -1)
    scores[queries], labels[queries] = score_rows(model, table.evidence)[rows], table.label[rows]
    evidence = np.full((len(table.queries), table.evidence.shape[1]), np.nan)
    evidence[queries] = table.evidence[rows]
    return Leaders(scores, labels, evidence)
