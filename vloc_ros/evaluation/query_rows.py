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

"""The result of every image as a row of JSON, from which runs are compared image by image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.evaluation.scores import Errors, finite_or_none
from vloc_ros.storage.results import ResultRecord

_ERRORS = ("translation_m", "rotation_deg", "position_std_m", "pose_nees", "position_nees")


def make_query_rows(
    records: Sequence[ResultRecord], *, truth: Sequence[Pose] | None = None, errors: Errors | None = None
) -> list[dict[str, Any]]:
    """One row per result, values for JSON only.

    Args:
        records: the results, as they were found.
        truth: true map_from_rig of each; None for negatives.
        errors: of each; None for negatives, and where results and ground truth are not comparable.

    Returns:
        Rows with the image, its time, outcome and latency. What is not known is None: the errors of a refused image,
        the latency of an image that no stage has seen.
    """
    return [
        _row(record) | {"truth": truth and _values_of_pose(truth[i])} | _errors_of(record, errors, i)
        for i, record in enumerate(records)
    ]


def make_unscored_row(image: str, stamp_ns: int | None, status: str, reason: str) -> dict[str, Any]:
    """The row of an image that has no result: it cannot be used, or the nodes dropped it."""
    unknown = dict.fromkeys(("map_from_rig", "latency_ms", "truth", *_ERRORS, "false_accept"))
    return {"image": image, "stamp_ns": stamp_ns, "status": status, "accepted": False, "reason": reason, **unknown}


def _row(record: ResultRecord) -> dict[str, Any]:
    result = record.result
    return {
        "image": record.image,
        "stamp_ns": record.stamp_ns,
        "status": result.status.value,
        "accepted": result.ok,
        "reason": result.reason,
        "map_from_rig": result.map_from_rig and _values_of_pose(result.map_from_rig),
        "frame_id": result.frame_id,
        "candidate": result.candidate,
        "keypoints": int(result.keypoints),
        "matches": int(result.matches),
        "inliers": int(result.inliers),
        "confidence": finite_or_none(result.confidence),
        "latency_ms": sum(result.times_ms.values()) if result.times_ms else None,
        "times_ms": {stage: float(ms) for stage, ms in result.times_ms.items()},
    }


def _errors_of(record: ResultRecord, errors: Errors | None, index: int) -> dict[str, Any]:
    if errors is None:
        return dict.fromkeys((*_ERRORS, "false_accept"))
    columns: dict[str, Array] = {name: getattr(errors, name) for name in _ERRORS}
    values = {name: finite_or_none(column[index]) for name, column in columns.items()}
    return {**values, "false_accept": bool(errors.false_accepts[index])}


def _values_of_pose(pose: Pose) -> dict[str, list[float]]:
    return {"translation": pose.translation.tolist(), "quaternion": pose.quaternion.tolist()}
