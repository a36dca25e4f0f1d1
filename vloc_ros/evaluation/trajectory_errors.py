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

"""Absolute and relative pose error over the accepted poses, by the definitions of evo (`evo_ape`, `evo_rpe`).

A refused image has no pose and so no such error: these figures say how good the accepted poses are, and the recalls how
many of all queries have a good one.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.evaluation.scores import Errors
from vloc_ros.storage.results import ResultRecord


def absolute_pose_error(errors: Errors) -> dict[str, Any] | None:
    """APE: position error, and the angle of the rotation error; None where no pose has any.

    An accepted pose in another scene has none: it counts among the false accepts.
    """
    known = errors.accepted & np.isfinite(errors.translation_m)
    if not known.any():
        return None
    return {
        "poses": int(known.sum()),
        "translation_m": _statistics(errors.translation_m[known]),
        "rotation_deg": _statistics(errors.rotation_deg[known]),
    }


def relative_pose_error(
    records: Sequence[ResultRecord], truth: Sequence[Pose], *, frame_id: str = "", delta_m: float | None = None
) -> dict[str, Any] | None:
    """RPE: what the motion from one accepted pose to a later one is off by; None where there is no such pair.

    Args:
        records: the results.
        truth: true map_from_rig of each.
        frame_id: frame of the scene of the ground truth; empty where the map has only one.
        delta_m: length of the estimated path from one to the next; None takes every accepted pose and the next one.
    """
    accepted = [
        (record.stamp_ns, pose, true)
        for record, true in zip(records, truth, strict=True)
        if (pose := record.result.map_from_rig) is not None and frame_id in ("", record.result.frame_id)
    ]
    if all(stamp_ns is not None for stamp_ns, _, _ in accepted):
        accepted.sort(key=lambda one: one[0] or 0)
    poses, true_poses = [pose for _, pose, _ in accepted], [true for _, _, true in accepted]
    pairs = list(pairwise(_spaced(poses, delta_m)))
    if not pairs:
        return None
    off = [_motion(poses, *pair).distance_to(_motion(true_poses, *pair)) for pair in pairs]
    metres, radians = np.array(off).T
    return {
        "delta": {"value": 1, "unit": "frame"} if delta_m is None else {"value": delta_m, "unit": "m"},
        "pairs": len(pairs),
        "translation_m": _statistics(metres),
        "rotation_deg": _statistics(np.rad2deg(radians)),
    }


def _spaced(poses: Sequence[Pose], delta_m: float | None) -> list[int]:
    """The poses, the way between which is at least so long; all of them for None."""
    if delta_m is None or not poses:
        return list(range(len(poses)))
    chosen, path_m = [0], 0.0
    for i, (before, pose) in enumerate(pairwise(poses), start=1):
        path_m += float(np.linalg.norm(pose.translation - before.translation))
        if path_m >= delta_m:
            chosen.append(i)
            path_m = 0.0
    return chosen


def _motion(poses: Sequence[Pose], start: int, end: int) -> Pose:
    return poses[start].inverse() @ poses[end]


def _statistics(values: Array) -> dict[str, float]:
    """As evo has them."""
    return {
        "rmse": float(np.sqrt(np.mean(values**2))),
        "mean": float(np.mean(values)),
        "median": float(np.median(values)),
        "std": float(np.std(values)),
        "min": float(np.min(values)),
        "max": float(np.max(values)),
    }
