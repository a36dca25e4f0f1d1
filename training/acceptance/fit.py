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

"""Fitting of the acceptance model: two monotone logistic regressions at once, and thresholds from negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import minimize
from scipy.stats import beta

from training.acceptance.evidence_table import ALIASED, FOREIGN, FURNISHED_ALIKE, EvidenceTable
from training.acceptance.leaders import find_leaders, score_rows
from vloc_ros.core.errors import VlocError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.acceptance import (
    CAMERA_KIND,
    CLOUD_KIND,
    DRIVE_KIND,
    KEYPOINT_KIND,
    TILE_KIND,
    AcceptanceModel,
    EvidenceTerm,
)
from vloc_ros.core.localization.evidence import CLEAR_MARGIN

# of drives there are fewest
KNOTS, KNOTS_OF_DRIVES = 6, 3
# quantiles of right and wrong hypotheses alike between which the knots lie
_RANGE = (0.01, 0.99)
# fewer are found in maps of other places by chance, and hardly ever by right poses alone
LEAST_INLIERS = {KEYPOINT_KIND: 12, CLOUD_KIND: 50, TILE_KIND: 8, CAMERA_KIND: 100, DRIVE_KIND: 100}
# of squared increments. Scans are few, and right and wrong ones part so well that their log odds would grow at will
_PENALTY = {KEYPOINT_KIND: 2e-4, CLOUD_KIND: 2e-3, TILE_KIND: 2e-3, CAMERA_KIND: 2e-3, DRIVE_KIND: 2e-3}
_SMALLEST = 1e-300
# score margins: few hypotheses have a competing pose
MARGIN_KNOTS = np.array([-0.15, -0.05, 0.0, 0.05, 0.1, CLEAR_MARGIN])
RATES = (1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 1e-2, 2e-2, 5e-2, 1e-1)
_BOOTSTRAPS = 2000
# none among N negatives bounds their rate at 3 / N with 95 % confidence (Hanley and Lippman-Hand 1983)
_NONE_OF = 3.0
# images of other places: their acceptance is what a rate of false accepts counts
OTHER_PLACES = (FOREIGN, ALIASED)
# a hypothesis of a small group weighs no more than so many times the mean
_LARGEST_WEIGHT = 2.0


class AcceptanceError(VlocError):
    """The evidence does not suffice to fit a table."""


def fit_terms(table: EvidenceTable, *, name: str) -> AcceptanceModel:
    """The terms of a model, without thresholds.

    Each piece of evidence has knots at quantiles, and contributes a non-negative step between each two of them, so that
    the sum is monotone; so does the margin, on both sides of 0. Right and wrong hypotheses weigh alike in total, and
    among them every condition. The sum is then scaled so that it is calibrated for the hypotheses that are decided on,
    the best of each query (Platt 1999).

    Rooms furnished alike that are not in the map are left out: what can be seen of them is what the map predicts, so
    that they would only teach that no evidence counts. The report says how many are accepted.

    Args:
        table: recorded hypotheses.
        name: of the model.
    """
    table = table.without(FURNISHED_ALIKE)
    least = LEAST_INLIERS[table.evidence_kind]
    mine = (table.label >= 0) & (table.evidence_of("inliers") > np.log1p(least - 0.5))
    evidence, right = table.evidence[mine].astype(float), table.label[mine] == 1
    if not right.any() or right.all():
        raise AcceptanceError(f"{int(right.sum())} of {len(right)} hypotheses are right, expected right and wrong ones")
    weights = _weights(right, table.column("condition")[mine], table.column("kind")[mine])
    additive = [piece for piece in table.names if piece != "margin"]
    columns = [table.names.index(piece) for piece in additive]
    count = KNOTS_OF_DRIVES if table.evidence_kind == DRIVE_KIND else KNOTS
    knots = [_knots(evidence[:, column], right, count=count) for column in columns]
    steps = np.concatenate([_steps(evidence[:, c], k) for c, k in zip(columns, knots, strict=True)], axis=1)
    margins = _steps(evidence[:, table.names.index("margin")], MARGIN_KNOTS) - (MARGIN_KNOTS[1:] <= 0)
    bias, increments, margin_increments = _fit(steps, margins, right, weights, penalty=_PENALTY[table.evidence_kind])
    terms, start = {}, 0
    for piece, of_piece in zip(additive, knots, strict=True):
        count = len(of_piece) - 1
        ascents = np.concatenate([[0.0], np.cumsum(increments[start : start + count])])
        terms[piece] = EvidenceTerm(of_piece, ascents - ascents[-1])
        start += count
    ascents = np.concatenate([[0.0], np.cumsum(margin_increments)])
    margin = EvidenceTerm(MARGIN_KNOTS, ascents - ascents[list(MARGIN_KNOTS).index(0.0)])
    return _scale(
        AcceptanceModel(
            name=name,
            bias=bias + float(increments.sum()),
            terms=terms,
            margin=margin,
            least_inliers=least,
            rates=np.ones(1),
            thresholds=np.zeros(1),
            negatives=0,
            kind=table.evidence_kind,
        ),
        table,
    )


def _scale(model: AcceptanceModel, table: EvidenceTable) -> AcceptanceModel:
    """The model with calibrated log odds for the hypotheses that the selector decides on.

    The targets are those of Platt, short of 0 and 1 by what as many examples can tell: few that part without an error
    would else be as sure as one likes.
    """
    leaders = find_leaders(model, table)
    known = leaders.labels >= 0
    right = leaders.labels[known] == 1
    targets = np.where(right, (right.sum() + 1.0) / (right.sum() + 2.0), 1.0 / ((~right).sum() + 2.0))
    weights = _halves(right)

    def scaled(factor: float, shift: float) -> AcceptanceModel:
        terms = {piece: replace(term, contributions=factor * term.contributions) for piece, term in model.terms.items()}
        return replace(model, bias=factor * model.bias + shift, terms=terms)

    def loss(parameters: Array) -> float:
        scores = score_rows(scaled(*parameters), leaders.evidence[known])
        return float(weights @ (targets * np.logaddexp(0.0, -scores) + (1.0 - targets) * np.logaddexp(0.0, scores)))

    found = minimize(loss, [1.0, 0.0], method="Nelder-Mead", bounds=[(0.1, 10.0), (-10.0, 10.0)])
    return scaled(*(float(value) for value in found.x))


def choose_thresholds(
    model: AcceptanceModel,
    table: EvidenceTable,
    *,
    rates: Sequence[float] = RATES,
    independent: int | None = None,
) -> AcceptanceModel:
    """The model with the threshold of every rate of false accepts that the queries of other places support.

    A rate holds for unrelated places and for those that look like the mapped one. The latter are fewer and much harder:
    a rate that they are too few to support takes none of them.

    Args:
        model: fitted.
        table: of queries that it was not fitted to.
        rates: those that are tried, ascending.
        independent: how many of the queries of other places are; all by default.
    """
    count, largest = len(table.queries_of(FOREIGN)) if independent is None else independent, rates[-1]
    rates = [rate for rate in rates if rate * count >= _NONE_OF]
    if not rates:
        raise AcceptanceError(f"{count} negatives support no rate up to {largest:g}; query more of them")
    thresholds = np.max([_thresholds(model, table, kind, rates) for kind in OTHER_PLACES], axis=0)
    return replace(model, rates=np.array(rates), thresholds=thresholds, negatives=count)


def _thresholds(model: AcceptanceModel, table: EvidenceTable, kind: int, rates: Sequence[float]) -> Array:
    """(R,) score that keeps the queries of a kind within each rate, or above all of them where they are too few."""
    queries, scores = table.queries_of(kind), best_scores(model, table, kind)
    if not len(queries) or not np.isfinite(scores).any():
        return np.zeros(len(rates))
    order = np.argsort(-scores)
    scores, worlds = scores[order], table.queries[queries[order]][:, 2]
    most = min(len(scores) - 1, int(RATES[-1] * len(scores)) + 2)
    bounds = np.array([_upper_bound(worlds[:k], len(np.unique(worlds)), len(scores)) for k in range(most + 1)])
    allowed = [int(np.flatnonzero(bounds <= max(rate, bounds[0])).max()) for rate in rates]
    return np.array([float(np.nextafter(scores[k], np.inf)) for k in allowed])


def best_scores(model: AcceptanceModel, table: EvidenceTable, kind: int) -> Array:
    """(M,) best score of each query of a kind, see `EvidenceTable.queries_of`; -inf without a hypothesis."""
    best = np.full(len(table.queries), -np.inf)
    np.maximum.at(best, table.query, score_rows(model, table.evidence))
    return best[table.queries_of(kind)]


def calibration_error(scores: Array, right: Array, *, bins: int = 10) -> float:
    """Expected calibration error of scores of right and wrong ones that weigh alike in total (Guo et al. 2017)."""
    probability = 1.0 / (1.0 + np.exp(-scores))
    weights = _halves(right)
    number = np.minimum((probability * bins).astype(int), bins - 1)
    total = np.bincount(number, weights, minlength=bins)
    gap = np.bincount(number, weights * (probability - right), minlength=bins)
    return float(np.abs(gap).sum() / total.sum())


def _upper_bound(accepted_worlds: Array, worlds: int, count: int) -> float:
    """Upper 95 % bound of the rate of accepted negatives.

    The larger of what bootstrapping over the worlds gives (Efron 1979), which sees that accepted ones cluster, and the
    exact bound of as many independent ones (Clopper and Pearson 1934), which holds for few.
    """
    accepted = len(accepted_worlds)
    if not accepted:
        return _NONE_OF / count
    _, by_world = np.unique(accepted_worlds, return_counts=True)
    rng = np.random.default_rng(0)
    # a world without an accepted negative is drawn as often as one with some
    padded = np.concatenate([by_world, np.zeros(worlds - len(by_world))])
    draws = padded[rng.integers(0, worlds, (_BOOTSTRAPS, worlds))].sum(axis=1)
    exact = float(beta.ppf(0.95, accepted + 1, count - accepted)) if accepted < count else 1.0
    return max(float(np.quantile(draws, 0.95)) / count, exact)


def _weights(right: Array, condition: Array, kind: Array) -> Array:
    """Weights of sum 1 of right and wrong hypotheses each; among them each condition and kind of query alike."""
    weights = np.zeros(len(right))
    for side in (right, ~right):
        groups = np.unique(np.column_stack([condition, kind])[side], axis=0)
        for group_condition, group_kind in groups:
            mine = side & (condition == group_condition) & (kind == group_kind)
            weights[mine] = 1.0 / (len(groups) * mine.sum())
        weights[side] = np.minimum(weights[side], _LARGEST_WEIGHT / side.sum())
        weights[side] /= weights[side].sum()
    return weights


def _knots(values: Array, right: Array, *, count: int) -> Array:
    sides = [values[side][np.isfinite(values[side])] for side in (right, ~right)]
    low = min(float(np.quantile(side, _RANGE[0])) for side in sides)
    high = max(float(np.quantile(side, _RANGE[1])) for side in sides)
    # many values of some evidence are its largest, which would leave hardly a knot to the others
    below = [side[side < side.max()] for side in sides]
    shares = np.linspace(0, 1, count)
    pooled = np.concatenate([np.quantile(side, shares) for side in below if len(side)] or [[low]])
    knots = np.unique(np.round(np.clip([*np.quantile(pooled, shares), high], low, high), 3))
    return knots if len(knots) > 1 else np.array([low, low + 1e-3])


def _steps(values: Array, knots: Array) -> Array:
    """(N, K - 1) how far each value is between each two knots, 0 to 1."""
    return np.asarray(np.clip((values[:, None] - knots[:-1]) / np.diff(knots), 0.0, 1.0))


def _halves(right: Array) -> Array:
    """Weights of sum 1 / 2 of right and of wrong ones each."""
    return np.where(right, 0.5 / max(right.sum(), 1), 0.5 / max((~right).sum(), 1))


def _fit(steps: Array, margins: Array, right: Array, weights: Array, *, penalty: float) -> tuple[float, Array, Array]:
    """Bias, non-negative increments of the steps and of the margin: weighted, penalised maximum likelihood.

    The probability is the product of two logistic ones, that of the evidence and that of the margin.
    """
    count = steps.shape[1]

    def loss(parameters: Array) -> tuple[float, Array]:
        increments, of_margin = parameters[1 : 1 + count], parameters[1 + count :]
        alone, best = _sigmoid(parameters[0] + steps @ increments), _sigmoid(margins @ of_margin)
        wrong = (1.0 - alone) + alone * (1.0 - best)
        likelihood = np.where(right, alone * best, wrong)
        value = -float(weights @ np.log(np.maximum(likelihood, _SMALLEST))) + penalty * float(
            parameters[1:] @ parameters[1:]
        )
        odds = np.where(right, -1.0, alone * best / np.maximum(wrong, _SMALLEST)) * weights
        slope_alone, slope_best = odds * (1.0 - alone), odds * (1.0 - best)
        gradient = np.concatenate([[slope_alone.sum()], steps.T @ slope_alone, margins.T @ slope_best])
        gradient[1:] += 2 * penalty * parameters[1:]
        return value, gradient

    start = np.concatenate([[-1.0], np.full(count, 0.3), np.full(margins.shape[1], 1.0)])
    bounds = [(None, None)] + [(0.0, None)] * (len(start) - 1)
    found = minimize(
        loss, start, jac=True, bounds=bounds, method="L-BFGS-B", options={"maxiter": 5000, "maxfun": 10000}
    )
    if not found.success:
        raise AcceptanceError(f"the fit did not converge ({found.message}); record more evidence")
    return float(found.x[0]), np.asarray(found.x[1 : 1 + count]), np.asarray(found.x[1 + count :])


def _sigmoid(log_odds: Array) -> Array:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(log_odds, -500, 500))))
