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

"""Report on worlds that no table was fitted or chosen on: receiver operating characteristic and reliability."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from training.acceptance.evidence_table import FURNISHED_ALIKE, KINDS_OF_QUERY, OWN, EvidenceTable
from training.acceptance.fit import calibration_error
from training.acceptance.leaders import Leaders, find_leaders
from training.acceptance.worlds import CONDITIONS
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import AcceptanceModel

_BINS = 10
_BOOTSTRAPS = 500


def summarize(model: AcceptanceModel, table: EvidenceTable) -> dict[str, Any]:
    """Numbers of queries accepted at the smallest supported rate, the calibration error, and what the report draws.

    The calibration is over all queries but those of rooms furnished alike, which are not fitted on either.
    """
    leaders, threshold = find_leaders(model, table), float(model.thresholds[0])
    accepted = leaders.scores >= threshold
    figures: dict[str, Any] = {"false_accept_rate": float(model.rates[0]), "negatives": model.negatives}
    for kind, name in enumerate(KINDS_OF_QUERY):
        if kind != OWN:
            wrong = (table.queries[:, 0] == kind) & (leaders.labels == 0)
            figures[name] = {"queries": len(table.queries_of(kind)), "accepted": int((accepted & wrong).sum())}
    for number, name in enumerate(CONDITIONS):
        mine = (table.queries[:, 0] == OWN) & (table.queries[:, 1] == number)
        figures[f"own, {name}"] = {
            "queries": int(mine.sum()),
            **{
                f"{title} accepted": int((mine & accepted & (leaders.labels == label)).sum())
                for title, label in (("right", 1), ("between", -1), ("wrong", 0))
            },
        }
    told_apart = table.without(FURNISHED_ALIKE)
    judged = find_leaders(model, told_apart)
    error, interval = _calibration(judged, told_apart)
    scores = {
        name: [
            round(float(score), 2) for score in leaders.scores[(table.queries[:, 0] == kind) & (leaders.labels == 0)]
        ]
        for kind, name in enumerate(KINDS_OF_QUERY)
        if kind != OWN
    }
    confidence, share = _reliability(judged)
    reliability = {"confidence": confidence.round(4).tolist(), "share": share.round(4).tolist()}
    return figures | {
        "threshold": threshold,
        "calibration_error": error,
        "calibration_error_interval": interval,
        "reliability": reliability,
        "scores": scores,
    }


def _calibration(leaders: Leaders, table: EvidenceTable) -> tuple[float, tuple[float, float]]:
    """Calibration error over the leaders of all queries, and its 95 % interval, bootstrapped by map."""
    known = np.flatnonzero(leaders.labels >= 0)
    maps, rng = table.queries[known][:, 3], np.random.default_rng(0)
    rows_of = {number: known[maps == number] for number in np.unique(maps)}
    errors = []
    for _ in range(_BOOTSTRAPS):
        rows = np.concatenate([rows_of[number] for number in rng.choice(list(rows_of), len(rows_of))])
        errors.append(calibration_error(leaders.scores[rows], leaders.labels[rows] == 1))
    low, high = np.quantile(errors, (0.025, 0.975))
    return calibration_error(leaders.scores[known], leaders.labels[known] == 1), (float(low), float(high))


def draw_report(model: AcceptanceModel, table: EvidenceTable, path: Path) -> None:
    """Draw accepted own queries against accepted other places, the reliability, and the terms."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 4.5), layout="constrained")
    curve, reliability, terms = figure.subplots(1, 3)
    leaders = find_leaders(model, table)
    right = leaders.scores[(table.queries[:, 0] == OWN) & (leaders.labels == 1)]
    for kind, name in enumerate(KINDS_OF_QUERY):
        mine = table.queries_of(kind)
        if kind == OWN or not len(mine):
            continue
        negatives = np.sort(leaders.scores[mine])[::-1]
        recall = [(right >= score).sum() / len(table.queries_of(OWN)) for score in negatives]
        curve.plot(np.arange(1, len(negatives) + 1) / len(mine), recall, label=name)
    curve.set(xscale="log", xlabel="false accept rate", ylabel="share of own queries accepted and right", ylim=(0, 1))
    curve.legend()
    _draw_reliability(reliability, find_leaders(model, table.without(FURNISHED_ALIKE)))
    for name, term in model.terms.items():
        span = (term.knots - term.knots[0]) / max(float(term.knots[-1] - term.knots[0]), 1e-9)
        terms.plot(span, term.contributions, label=name)
    terms.set(xlabel="evidence, from least to most", ylabel="log odds")
    terms.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _draw_reliability(axes: Any, leaders: Leaders) -> None:
    axes.plot([0, 1], [0, 1], color="0.7")
    axes.plot(*_reliability(leaders), "o-")
    axes.set(xlabel="confidence", ylabel="share that is right, of as many wrong ones")


def _reliability(leaders: Leaders) -> tuple[Array, Array]:
    """Mean confidence and share of right ones in each bin that is not empty; right and wrong ones weigh alike."""
    known = leaders.labels >= 0
    probability, right = 1 / (1 + np.exp(-leaders.scores[known])), leaders.labels[known] == 1
    weights = np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum())
    number = np.minimum((probability * _BINS).astype(int), _BINS - 1)
    total = np.bincount(number, weights, minlength=_BINS)
    shown = total > 0
    confidence, share = (
        np.bincount(number, weights * values, minlength=_BINS)[shown] / total[shown] for values in (probability, right)
    )
    return confidence, share
