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

"""Scores of a set of results: accuracy, false accepts, consistency of the covariance, latency."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.storage.results import ResultRecord

# name in the JSON -> metres, degrees; both inclusive
RECALL_LIMITS: dict[str, tuple[float, float]] = {
    "2cm_2deg": (0.02, 2.0),
    "5cm_5deg": (0.05, 5.0),
    "25cm_2deg": (0.25, 2.0),
    "50cm_5deg": (0.50, 5.0),
    "5m_10deg": (5.0, 10.0),
}
# of so many accepted results this part is close to the true poses of other images, where these are mixed up
_LEAST_ACCEPTED, _CLOSE_TO_OTHERS = 4, 0.8
_FALSE_BEYOND_M, _FALSE_BEYOND_DEG = RECALL_LIMITS["50cm_5deg"]
_PERCENTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
# 0.95 quantiles of the chi-squared distribution with 6 and with 3 degrees of freedom
_CHI2_95_POSE = 12.591587
_CHI2_95_POSITION = 7.814728


@dataclass(frozen=True, slots=True, eq=False)
class Errors:
    """The error of each result. Refused queries have infinite errors and NaN for the rest.

    Attributes:
        accepted: (N,) bool.
        translation_m: (N,) translation error, metres.
        rotation_deg: (N,) rotation error, degrees.
        position_std_m: (N,) square root of the trace of the estimated position covariance, metres.
        pose_nees: (N,) NEES of the pose: normalised estimation error squared eᵀ·Σ⁻¹·e of all six axes (Bar-Shalom, Li
            and Kirubarajan 2001); 6 on average when Σ is consistent.
        position_nees: (N,) NEES of the position, three axes; 3 on average when Σ is consistent.
    """

    accepted: Array
    translation_m: Array
    rotation_deg: Array
    position_std_m: Array
    pose_nees: Array
    position_nees: Array

    @property
    def false_accepts(self) -> Array:
        """(N,) bool: accepted and outside 50 cm or 5 degrees."""
        far = (self.translation_m > _FALSE_BEYOND_M) | (self.rotation_deg > _FALSE_BEYOND_DEG)
        return np.asarray(self.accepted & far)


def compute_errors(records: Sequence[ResultRecord], truth: Sequence[Pose], *, frame_id: str = "") -> Errors:
    """Compare every result with its true map_from_rig.

    Args:
        records: the results.
        truth: the true pose of each.
        frame_id: frame of the scene of the ground truth: a result in another one is infinitely wrong. Empty where the
            map has only one.

    Raises:
        InputError: there are not as many true poses as results, or none at all.
    """
    if len(records) != len(truth):
        raise InputError(f"{len(truth)} true poses for {len(records)} images, expected one for each")
    if not records:
        raise InputError("there are no results to score, expected at least one")
    rows = np.array([_error_row(record, pose, frame_id) for record, pose in zip(records, truth, strict=True)])
    accepted = np.array([record.result.ok for record in records])
    return Errors(accepted, *rows.T)


def _error_row(record: ResultRecord, truth: Pose, frame_id: str) -> tuple[float, ...]:
    result = record.result
    if result.map_from_rig is None or result.covariance is None:
        return np.inf, np.inf, np.nan, np.nan, np.nan
    position = result.covariance[:3, :3]
    if frame_id and result.frame_id != frame_id:
        return np.inf, np.inf, float(np.sqrt(np.trace(position))), np.inf, np.inf
    error = result.map_from_rig.error_to(truth)
    return (
        float(np.linalg.norm(error[:3])),
        float(np.rad2deg(np.linalg.norm(error[3:]))),
        float(np.sqrt(np.trace(position))),
        _nees(error, result.covariance),
        _nees(error[:3], position),
    )


def _nees(error: Array, covariance: Array) -> float:
    """The NEES eᵀ·Σ⁻¹·e; infinite when Σ is singular, since no estimate is free of error."""
    try:
        return float(error @ np.linalg.solve(covariance, error))
    except np.linalg.LinAlgError:
        return np.inf


def score_results(
    records: Sequence[ResultRecord], truth: Sequence[Pose], *, map_bytes: int, frame_id: str = ""
) -> dict[str, Any]:
    """Score results whose true map_from_rig in a frame is known, as values for JSON; see `compute_errors`.

    Fractions and medians are over all queries; a refused one counts as infinitely wrong, and a median that is
    infinite is None.

    Raises:
        InputError: there are not as many true poses as results, or none at all.
    """
    errors = compute_errors(records, truth, frame_id=frame_id)
    return {
        **_counts(records),
        "median_translation_m": finite_or_none(np.median(errors.translation_m)),
        "median_rotation_deg": finite_or_none(np.median(errors.rotation_deg)),
        "recall": {name: _recall(errors, *limits) for name, limits in RECALL_LIMITS.items()},
        "false_accepts": int(errors.false_accepts.sum()),
        "covariance": _consistency(errors),
        "latency_ms": latency_ms([record.result.times_ms for record in records]),
        "map_bytes": map_bytes,
    }


def check_pairing(records: Sequence[ResultRecord], truth: Sequence[Pose]) -> None:
    """Refuse true poses that are those of other images, by which right results would be scored as false.

    Raises:
        InputError: most accepted results are far from their own true pose, and close to that of another image.
    """
    posed = [(record.result.map_from_rig, own) for record, own in zip(records, truth, strict=True)]
    accepted = [(pose, own) for pose, own in posed if pose is not None]
    if len(accepted) < _LEAST_ACCEPTED:
        return
    centres = np.stack([own.translation for own in truth])
    rows = [int(np.linalg.norm(centres - pose.translation, axis=1).argmin()) for pose, _ in accepted]
    nearest = [truth[row] for row in rows]
    own_rows = [row for row, (pose, _) in enumerate(posed) if pose is not None]
    # poses that lie ahead or behind by as many images each are those of a clock that is off, or of a shifted map
    shuffled = np.ptp(np.subtract(rows, own_rows)) >= len(accepted) / 2
    far = sum(not _is_within(pose, own, "5cm_5deg") for pose, own in accepted)
    close = sum(_is_within(pose, other, "2cm_2deg") for (pose, _), other in zip(accepted, nearest, strict=True))
    if shuffled and far >= len(accepted) / 2 and close >= _CLOSE_TO_OTHERS * len(accepted):
        raise InputError(
            f"{close} of {len(accepted)} accepted poses are those of another image by the true poses, within 2 cm and "
            f"2 degrees, and {far} are not their own, expected the true poses in the order of the images; begin each "
            "row with the name of its image"
        )


def _is_within(pose: Pose, other: Pose, limits: str) -> bool:
    limit_m, limit_deg = RECALL_LIMITS[limits]
    metres, radians = pose.distance_to(other)
    return metres <= limit_m and np.rad2deg(radians) <= limit_deg


def score_negatives(records: Sequence[ResultRecord], *, map_bytes: int) -> dict[str, Any]:
    """Score negatives, images of other places: every accept is false, and accuracy is None.

    Raises:
        InputError: there are no results.
    """
    scores = score_without_errors(records, map_bytes=map_bytes)
    return {**scores, "false_accepts": scores["accepted"]}


def score_without_errors(records: Sequence[ResultRecord], *, map_bytes: int) -> dict[str, Any]:
    """Count results of which no error is known; accuracy and false accepts are None.

    Raises:
        InputError: there are no results.
    """
    if not records:
        raise InputError("there are no results to score, expected at least one")
    return {
        **_counts(records),
        "median_translation_m": None,
        "median_rotation_deg": None,
        "recall": dict.fromkeys(RECALL_LIMITS),
        "false_accepts": None,
        "covariance": None,
        "latency_ms": latency_ms([record.result.times_ms for record in records]),
        "map_bytes": map_bytes,
    }


def latency_ms(times_ms: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Percentiles per stage over the queries that reached it, and of `after_features` and `total` over all queries.

    A query without the time of any stage, as one that the node dropped, has no latency. Empty where none has any.
    """
    times_ms = [times for times in times_ms if times]
    if not times_ms:
        return {}
    stages = list(dict.fromkeys(stage for times in times_ms for stage in times))
    samples = {stage: [times[stage] for times in times_ms if stage in times] for stage in stages}
    samples.setdefault("features", [0.0 for _ in times_ms])
    samples["after_features"] = [sum(times.values()) - times.get("features", 0.0) for times in times_ms]
    samples["total"] = [sum(times.values()) for times in times_ms]
    return {
        stage: {name: float(np.percentile(values, q)) for name, q in _PERCENTILES.items()}
        for stage, values in samples.items()
    }


def _counts(records: Sequence[ResultRecord]) -> dict[str, Any]:
    results = [record.result for record in records]
    refusals = Counter(result.status.value for result in results if not result.ok)
    candidates = Counter(result.candidate for result in results if result.ok)
    return {
        "queries": len(results),
        "accepted": sum(result.ok for result in results),
        "refusals": dict(refusals.most_common()),
        "accepted_by_candidate": dict(candidates.most_common()),
    }


def _recall(errors: Errors, limit_m: float, limit_deg: float) -> float:
    return float(np.mean((errors.translation_m <= limit_m) & (errors.rotation_deg <= limit_deg)))


def _consistency(errors: Errors) -> dict[str, float | None] | None:
    """The consistency of the covariances of the accepted; None when nothing was accepted."""
    if not errors.accepted.any():
        return None
    pose, position = errors.pose_nees[errors.accepted], errors.position_nees[errors.accepted]
    return {
        "nees_per_dof": finite_or_none(np.mean(pose) / 6),
        "position_nees_per_dof": finite_or_none(np.mean(position) / 3),
        "inside_95": float(np.mean(pose <= _CHI2_95_POSE)),
        "position_inside_95": float(np.mean(position <= _CHI2_95_POSITION)),
    }


def finite_or_none(value: float | np.floating[Any]) -> float | None:
    """A number for JSON, which has neither infinity nor NaN."""
    return float(value) if np.isfinite(value) else None
