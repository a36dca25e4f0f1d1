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

"""How good poses of a moving camera in a map of LiDAR places are where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vloc_ros.core.geometry.covariance import squared_mahalanobis_distances
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.result import LocalizationResult

LIMITS = ((0.25, 2.0), (0.25, 10.0), (0.5, 5.0), (2.0, 10.0))


def summarize_errors(found: Sequence[Pose | None], truth: Sequence[Pose]) -> dict[str, float]:
    """Median errors of the best hypotheses, metres and degrees, and the share of all images within each limit."""
    errors = np.full((len(truth), 2), np.inf)
    for row, (pose, true) in enumerate(zip(found, truth, strict=True)):
        if pose is not None:
            distance_m, turn_rad = pose.distance_to(true)
            errors[row] = distance_m, np.degrees(turn_rad)
    summary = {"median_m": float(np.median(errors[:, 0])), "median_deg": float(np.median(errors[:, 1]))}
    for metres, degrees in LIMITS:
        within = (errors[:, 0] <= metres) & (errors[:, 1] <= degrees)
        summary[f"within {metres:g} m, {degrees:g} deg"] = float(within.mean())
    return summary


def summarize_results(results: Sequence[LocalizationResult], truth: Sequence[Pose]) -> dict[str, Any]:
    """How many are accepted, their median errors, metres and degrees, the shares within each limit, and mean NEES.

    A pose further off than the last limit is a false accept; NEES, 6 where the covariance is consistent, is that of
    the others, with the 95 % interval of the mean of as many consistent and independent ones.
    """
    accepted = [(one, true) for one, true in zip(results, truth, strict=True) if one.ok]
    if not accepted:
        return {"images": len(results), "accepted": 0}
    summary = summarize_errors([one.map_from_rig for one, _ in accepted], [true for _, true in accepted])
    most_m, most_deg = LIMITS[-1]
    errors, covariances = list[Array](), list[Array]()
    for one, true in accepted:
        assert one.map_from_rig is not None
        assert one.covariance is not None
        distance_m, turn_rad = one.map_from_rig.distance_to(true)
        if distance_m <= most_m and np.degrees(turn_rad) <= most_deg:
            errors.append(one.map_from_rig.error_to(true))
            covariances.append(one.covariance)
    figures: dict[str, Any] = {
        "images": len(results),
        "accepted": len(accepted),
        "false accepts": len(accepted) - len(errors),
    }
    if errors:
        half_width = 1.96 * np.sqrt(2 * 6 / len(errors))
        figures["nees"] = float(squared_mahalanobis_distances(np.array(errors), np.array(covariances)).mean())
        figures["consistent nees"] = [6 - half_width, 6 + half_width]
    return figures | summary
