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

"""Recall of retrieval between images and clouds, in all four directions, beside chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.cross_modal.records import RecordSet
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.evaluation.place_scores import Share, chance_of_recall

IMAGE, CLOUD = "2D", "3D"
# query and database, as VXP writes them
DIRECTIONS = ((IMAGE, CLOUD), (CLOUD, IMAGE), (IMAGE, IMAGE), (CLOUD, CLOUD))
_NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Protocol:
    """What counts as right.

    Attributes:
        radius_m: largest distance of a right result.
        max_angle_rad: largest angle of its heading; pi for any.
        revisit_s: of a sequence that is its own database, by how much a result has to be earlier.
    """

    radius_m: float
    max_angle_rad: float = 0.5
    revisit_s: float = 10.0


# VXP's, and the same with places that a robot would take for its own
PROTOCOLS = {"20 m": Protocol(20.0), "5 m": Protocol(5.0)}
# of scans that are described all around: whichever way the vehicle faced
ANY_HEADING = {name: Protocol(one.radius_m, np.pi) for name, one in PROTOCOLS.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Which database records a query may find, and which of them are right.

    Attributes:
        allowed: (Q, N) bool.
        right: (Q, N) bool, among the allowed ones.
    """

    allowed: Array
    right: Array


@dataclass(frozen=True, slots=True)
class DirectionScore:
    """Recall over the queries that have a right result.

    Attributes:
        first: R@1.
        percent: R@1 %.
        chance_first: expected R@1 of a random order.
        chance_percent: expected R@1 % of a random order.
    """

    first: Share
    percent: Share
    chance_first: float
    chance_percent: float

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "R@1": self.first.as_dict(),
            "R@1%": self.percent.as_dict(),
            "chance": {"R@1": self.chance_first, "R@1%": self.chance_percent},
        }


def make_trial(queries: RecordSet, database: RecordSet, protocol: Protocol) -> Trial:
    """What is allowed and right; of records of one sequence, only those that are earlier by `revisit_s`.

    Raises:
        InputError: no query has a right result.
    """
    same = queries.sequences[:, None] == database.sequences[None]
    earlier_s = (queries.stamps_ns[:, None] - database.stamps_ns[None]) / _NS_PER_S
    allowed = ~same | (earlier_s > protocol.revisit_s)
    near = queries.distances(database) <= protocol.radius_m
    right = near & (queries.angles(database) <= protocol.max_angle_rad) & allowed
    if not right.any():
        raise InputError(
            f"none of {len(queries)} queries has one of {len(database)} database records within "
            f"{protocol.radius_m:g} m and {protocol.max_angle_rad:g} rad, expected revisits; name other recordings"
        )
    return Trial(allowed, right)


def score(similarity: Array, trial: Trial) -> DirectionScore:
    """R@1 and R@1 % of (Q, N) similarities; 1 % are at least one, of the records that a query may find.

    Raises:
        InputError: a similarity is not finite: of NaN no record is better than the right one.
    """
    if not np.isfinite(similarity).all():
        queries = int((~np.isfinite(similarity).all(axis=1)).sum())
        raise InputError(
            f"{queries} of {len(similarity)} queries have similarities that are not finite, expected numbers; the "
            "model's descriptors overflowed: lower fit.learning_rate, or train in float32"
        )
    scored = trial.right.any(axis=1)
    similarity = np.where(trial.allowed, similarity, -np.inf)[scored]
    allowed, right = trial.allowed[scored], trial.right[scored]
    best = np.where(right, similarity, -np.inf).max(axis=1)
    # a right result that ties with a wrong one comes after it
    rank = ((similarity >= best[:, None]) & ~right & allowed).sum(axis=1)
    counts, positives = allowed.sum(axis=1), right.sum(axis=1)
    percent = np.maximum(1, np.round(counts / 100).astype(int))
    total = int(scored.sum())
    pairs = list(zip(positives.tolist(), counts.tolist(), percent.tolist(), strict=True))
    return DirectionScore(
        Share(int((rank < 1).sum()), total),
        Share(int((rank < percent).sum()), total),
        float(np.mean([chance_of_recall(p, n, 1) for p, n, _ in pairs])),
        float(np.mean([chance_of_recall(p, n, k) for p, n, k in pairs])),
    )


def score_directions(
    queries: Mapping[str, Array], database: Mapping[str, Array], trial: Trial
) -> dict[str, DirectionScore]:
    """The score of each direction whose descriptors are there, by `2D-3D` and so on.

    Args:
        queries: (Q, D) L2-normalised descriptors by modality.
        database: (N, D) L2-normalised descriptors by modality.
        trial: what is right.
    """
    return {
        f"{of}-{against}": score(queries[of] @ database[against].T, trial)
        for of, against in DIRECTIONS
        if of in queries and against in database
    }
