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

"""Messages for a parameter that has another name now, or none, or is mistyped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from vloc_ros.core.spelling import nearest_name

_MOST_LISTED = 20
# parameters and values of version 0.1.0's development that have another name, or none, now
REMOVED_PARAMETERS = {
    "diagnostics.budget_ms": "give diagnostics.budget_s, in seconds",
    "matcher.max_distance_in_window": "the limit follows from the descriptor statistics of the map",
    **{
        f"verification.{name}": "one calibrated score decides, see verification.false_accept_rate"
        for name in (
            *("min_inliers", "min_inlier_ratio", "min_support", "min_coverage", "min_explained", "min_spread"),
            *("min_confirmed_fraction", "min_score_margin", "min_found_again", "min_lead"),
        )
    },
}
RENAMED_VALUES: dict[tuple[str, Any], str] = {("retrieval", "student"): "model"}
RENAMED_PARAMETERS = {
    "proposals": "candidates",
    "proposals.whole_map_max_points": "candidates.whole_map_max_points",
    "proposals.places": "candidates.retrieval",
    "proposals.places_top_k": "candidates.retrieval_top_k",
    "proposals.landmarks": "candidates.landmarks",
    "proposals.landmarks_min_points": "candidates.landmarks_min_points",
    "proposals.landmark_places": "candidates.landmark_regions",
    "proposals.rival_likeness": "candidates.competitor_similarity",
    "proposals.prior_max_position_std_m": "candidates.prior_max_position_std_m",
    "proposals.prior_max_points": "candidates.prior_max_points",
}


def explain_renamed_parameter(name: str) -> str | None:
    """The message for a parameter's former dotted name; None where it never was one."""
    if name in REMOVED_PARAMETERS:
        return f"parameter {name} was removed, leave it out: {REMOVED_PARAMETERS[name]}"
    return f"parameter {name} is now {RENAMED_PARAMETERS[name]}" if name in RENAMED_PARAMETERS else None


def explain_unknown_parameter(name: str, names: Iterable[str], *, listed_by: str = "`vloc config`") -> str:
    """The message for a dotted name that is none of these: what it was renamed to, or which one is nearest.

    Args:
        name: the name.
        names: all that there are.
        listed_by: the command that lists them, for many; empty where none does.
    """
    expected = list(names)
    if explanation := explain_renamed_parameter(name):
        return explanation
    near = nearest_name(name, expected)
    if near:
        return f"unknown parameter {name}, did you mean {near}?"
    are_many = listed_by and len(expected) > _MOST_LISTED
    listed = f"the {len(expected)} that {listed_by} lists" if are_many else ", ".join(expected)
    return f"unknown parameter {name}, expected one of {listed}"
