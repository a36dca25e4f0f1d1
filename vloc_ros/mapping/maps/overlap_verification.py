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

"""Verification that two maps show one place, and not two that look alike.

From points alone, a copy of a room with the same furniture differs from the room itself, mapped along another path on
another day, only by how much of what both should hold is in both. Of simulated rooms on another path it was 77 to 91 %,
of their copies with 15 % of the furniture exchanged 55 to 75 %, on the very same path up to 84 %. So two maps are taken
for one place where it is more, which also keeps apart many maps of one place; or where the user says that they are. A
copy in which nothing that was bought differs, mapped along the same path, reaches 88 to 94 % and cannot be
distinguished: nothing is joined unless it is requested.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.alignment import transform_geometry
from vloc_ros.mapping.maps.overlap_consistency import overlap_consistency
from vloc_ros.mapping.maps.point_registration import MapAlignment, RegistrationSide, align_maps

_MIN_INLIERS = 100
_MIN_INLIER_RATIO = 0.3
_MAX_COMPETING_RATIO = 0.5
_MIN_SPREAD = 0.15
_MIN_CONSISTENCY = 0.86
_MIN_EXPECTED = 150
# standard deviations that a fraction of so many points may lie above its true value by chance
_MARGIN_STDS = 2.0
_REMEDY = "the places may only look alike; --align same where you know that they are one place"


@dataclass(frozen=True, slots=True, eq=False)
class OverlapVerification:
    """Whether two scenes are one.

    Attributes:
        alignment: of the second in the first; None where they have nothing in common.
        objection: why they are not one; empty when they are.
        consistency: the smaller fraction of what one map should hold of the other and does, less what may be chance; 0
            where it was not measured.
    """

    alignment: MapAlignment | None
    objection: str = ""
    consistency: float = 0.0


def verify_map_overlap(first: LandmarkMap, second: LandmarkMap, *, known_same: bool) -> OverlapVerification:
    """Whether two maps of one scene each show one place.

    Args:
        first: in metres.
        second: in metres.
        known_same: the user knows that they do; consistency is then not required.
    """
    sides = RegistrationSide.of(first), RegistrationSide.of(second)
    alignment, frame_id = align_maps(*sides), first.scene().frame_id
    if alignment is None:
        return OverlapVerification(None, f"hardly a point agrees with {frame_id}")
    objection = _objection(alignment, frame_id)
    if objection or known_same:
        return OverlapVerification(alignment, objection)
    transformed = transform_geometry(second, alignment.first_from_second, target_origin=first.scene().origin)
    second_side = sides[1].transform(transformed)
    counts = [overlap_consistency(sides[0], second_side), overlap_consistency(second_side, sides[0])]
    expected, fraction = min(count for count, _ in counts), min(_lower_bound(*count) for count in counts)
    agree = f"{len(alignment.inliers)} points agree with {frame_id}"
    if expected < _MIN_EXPECTED:
        both = f"both observed only {expected} from similar viewpoints, at least {_MIN_EXPECTED} are needed"
        return OverlapVerification(alignment, f"{agree}, but {both}; {_REMEDY}", fraction)
    if fraction < _MIN_CONSISTENCY:
        both = f"{fraction:.0%} of what both should hold is surely in both, at least {_MIN_CONSISTENCY:.0%} is needed"
        return OverlapVerification(alignment, f"{agree}, but {both}; {_REMEDY}", fraction)
    return OverlapVerification(alignment, "", fraction)


def _lower_bound(expected: int, held: int) -> float:
    fraction = held / max(expected, 1)
    return fraction - _MARGIN_STDS * float(np.sqrt(fraction * (1.0 - fraction) / max(expected, 1)))


def _objection(alignment: MapAlignment, frame_id: str) -> str:
    count = len(alignment.inliers)
    agree = f"{count} points agree with {frame_id}"
    if count < _MIN_INLIERS:
        return f"{agree}, at least {_MIN_INLIERS} are needed"
    if count < _MIN_INLIER_RATIO * alignment.matches:
        return f"{agree} of {alignment.matches} similar ones, at least {_MIN_INLIER_RATIO:.0%} are needed"
    if alignment.competing_inliers > _MAX_COMPETING_RATIO * count:
        return f"{agree} in one way and {alignment.competing_inliers} in another"
    if alignment.spread < _MIN_SPREAD:
        return f"{agree}, but all in one spot or on a line, such as on a poster"
    return ""
