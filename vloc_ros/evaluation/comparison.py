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

"""Runs side by side: their scores, and their differences over the queries that they share."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.evaluation.scores import RECALL_LIMITS
from vloc_ros.evaluation.table import limit_text
from vloc_ros.storage.runs import QueryRow, Run

MOST_RUNS = 6
_RESAMPLES = 2000
_SAME_TRUTH = 1e-5  # metres and radians
# what makes it the same query in another run: the time, since a bag has no names, or the name, or both
_KEYS: tuple[Callable[[QueryRow], Hashable], ...] = (
    lambda row: row.stamp_ns,
    lambda row: row.image,
    lambda row: (row.image, row.stamp_ns),
)
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Difference:
    """How much more a run has of something than the first one, with a 95 % interval by bootstrap over the queries.

    Attributes:
        name: what differs.
        unit: of the values.
        value: the difference; None where no query can be compared.
        low: lower end of the interval.
        high: upper end of the interval.
        queries: number of the queries that were compared.
    """

    name: str
    unit: str
    value: float | None
    low: float | None
    high: float | None
    queries: int

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


@dataclass(frozen=True, slots=True, eq=False)
class PairedComparison:
    """A run beside the first one.

    Attributes:
        first: the run that others are compared with.
        other: the run.
        shared: number of queries of both.
        only_first: number of shared queries that the first run alone accepted.
        only_other: number of shared queries that the other run alone accepted.
        differences: other minus first.
    """

    first: Run
    other: Run
    shared: int
    only_first: int
    only_other: int
    differences: tuple[Difference, ...]


def compare_with_first(runs: Sequence[Run]) -> list[PairedComparison]:
    """Compare every run with the first one.

    Raises:
        InputError: there are too few runs or too many, or two of them are not of the same kind of queries, share none,
            or were scored against other true poses.
    """
    if not 2 <= len(runs) <= MOST_RUNS:
        raise InputError(f"found {len(runs)} run{'s' * (len(runs) != 1)} to compare, expected 2 to {MOST_RUNS}")
    first, *others = runs
    for run in runs:
        _check_kind(first, run)
    key = key_of_queries(runs)
    return [_compare(first, other, key) for other in others]


def key_of_queries(runs: Sequence[Run]) -> Callable[[QueryRow], Hashable]:
    """By what the queries of runs are paired: the first of time and name that all have, once each, and share."""
    for key in _KEYS:
        keys = [[key(row) for row in run.rows] for run in runs]
        once = all(None not in own and len(set(own)) == len(own) for own in keys)
        if once and all(set(keys[0]) & set(own) for own in keys):
            return key
    return _KEYS[-1]


def _check_kind(first: Run, run: Run) -> None:
    if run.negatives != first.negatives:
        kinds = {True: "negatives", False: "queries with ground truth"}
        raise InputError(
            f"{run.name} is a run of {kinds[run.negatives]}, {first.name} of {kinds[first.negatives]}, expected runs "
            "of one kind; compare them apart"
        )
    if not run.negatives and run.scores["recall"]["5cm_5deg"] is None:
        raise InputError(
            f"{run.name} has no errors ({run.scores.get('not_comparable')}), expected a run whose poses are comparable "
            "with the true ones; see `vloc evaluate --help`"
        )


def _compare(first: Run, other: Run, key: Callable[[QueryRow], Hashable]) -> PairedComparison:
    own = {key(row): row for row in first.rows}
    pairs = [(own[key(row)], row) for row in other.rows if key(row) in own]
    if not pairs:
        raise InputError(
            f"{first.name} and {other.name} share no query: the first of each are {first.rows[0].image} and "
            f"{other.rows[0].image}, expected runs over the same images"
        )
    _check_truth(first, other, pairs)
    accepted = np.array([[row.accepted for row in pair] for pair in pairs])
    return PairedComparison(
        first,
        other,
        shared=len(pairs),
        only_first=int((accepted[:, 0] & ~accepted[:, 1]).sum()),
        only_other=int((accepted[:, 1] & ~accepted[:, 0]).sum()),
        differences=tuple(_differences(pairs, negatives=first.negatives)),
    )


def _check_truth(first: Run, other: Run, pairs: Sequence[tuple[QueryRow, QueryRow]]) -> None:
    """The errors of two runs are comparable where the true poses are the same, or of two parts of one robot.

    A live run has the poses of the base, an offline one those of the camera: these differ by one fixed transform.
    """
    both = [(a.truth, b.truth) for a, b in pairs if a.truth is not None and b.truth is not None]
    first_from_other = [a.inverse() @ b for a, b in both]
    apart = [max(one.distance_to(first_from_other[0])) for one in first_from_other]
    if apart and max(apart) > _SAME_TRUTH:
        raise InputError(
            f"{first.name} and {other.name} were scored against other true poses, which differ by up to "
            f"{max(apart):.3g} m or rad, expected the same; evaluate both with the same ground truth"
        )


def _differences(pairs: Sequence[tuple[QueryRow, QueryRow]], *, negatives: bool) -> list[Difference]:
    latency = _paired(pairs, lambda row: row.latency_ms)
    share = [
        _difference("accepted", "%", _paired(pairs, lambda row: 100.0 * row.accepted), np.mean),
        _difference("false accepts", "%", _paired(pairs, lambda row: 100.0 * row.false_accept), np.mean),
    ]
    accuracy = [] if negatives else _accuracy_differences(pairs)
    return [*accuracy, *share, _difference("time, median of the differences", "ms", latency, np.median)]


def _accuracy_differences(pairs: Sequence[tuple[QueryRow, QueryRow]]) -> list[Difference]:
    """Of errors over the queries that both runs accepted; of recalls over all shared ones."""
    centimetres = _paired(pairs, lambda row: None if row.translation_m is None else row.translation_m * 100)
    degrees = _paired(pairs, lambda row: row.rotation_deg)
    return [
        _difference("position error, median of the differences", "cm", centimetres, np.median),
        _difference("rotation error, median of the differences", "°", degrees, np.median),
        *(
            _difference(f"within {limit_text(name)}", "%", _paired(pairs, _within(*limits)), np.mean)
            for name, limits in RECALL_LIMITS.items()
        ),
    ]


def _within(limit_m: float, limit_deg: float) -> Callable[[QueryRow], float]:
    """100 for a query within the limits, else 0."""

    def percent(row: QueryRow) -> float:
        metres = np.inf if row.translation_m is None else row.translation_m
        degrees = np.inf if row.rotation_deg is None else row.rotation_deg
        return 100.0 if metres <= limit_m and degrees <= limit_deg else 0.0

    return percent


def _paired(pairs: Sequence[tuple[QueryRow, QueryRow]], value: Callable[[QueryRow], float | None]) -> Array:
    """(N,) second minus first of each pair where both have a value."""
    values = [(value(a), value(b)) for a, b in pairs]
    return np.array([b - a for a, b in values if a is not None and b is not None], dtype=np.float64)


def _difference(name: str, unit: str, differences: Array, statistic: Callable[[Array], Any]) -> Difference:
    """A statistic of paired differences with its percentile bootstrap interval (Efron 1979)."""
    n = len(differences)
    if n == 0:
        return Difference(name, unit, None, None, None, 0)
    rng = np.random.default_rng(0)
    values = [float(statistic(differences[rng.integers(n, size=n)])) for _ in range(_RESAMPLES)]
    low, high = np.percentile(values, _INTERVAL)
    return Difference(name, unit, float(statistic(differences)), float(low), float(high), n)
