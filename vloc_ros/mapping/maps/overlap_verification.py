"""Whether two maps are of one place, or of two that look alike.

Nobody can tell a room from its copy by looking. From points alone, a copy with the same furniture differs from the room
itself, mapped along another path on another day, only by how much of what should be found again is not. Of simulated
rooms on another path 77 to 91 % was found again, of their copies with 15 % of the furniture exchanged 55 to 75 %, on
the very same path up to 84 %. So two maps are taken for one place where more than that is, which also keeps apart many
that are of one; or where somebody who knows says so. A copy in which nothing that was bought differs, mapped along the
same path, reaches 88 to 94 % and cannot be told: nothing is joined unless it is asked for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.mapping.maps.alignment import transform_map
from vloc_ros.mapping.maps.overlap_consistency import overlap_consistency
from vloc_ros.mapping.maps.point_registration import MapAlignment, RegistrationSide, align_maps

_LEAST_AGREEING = 100
_LEAST_PART = 0.3
_MOST_RIVAL = 0.5
_LEAST_SPREAD = 0.15
_LEAST_FOUND_AGAIN = 0.86
_LEAST_EXPECTED = 150
# what a part of so many points may be above its true value by chance
_DOUBT_STDS = 2.0
_REMEDY = "it may only be furnished alike; --align same where you know that they are one place"


@dataclass(frozen=True, slots=True, eq=False)
class OverlapVerification:
    """Whether two scenes are one.

    Attributes:
        found: how the second lies in the first; None where they have nothing in common.
        objection: why they are not one, in words; empty when they are.
        found_again: the smaller part of what one map should hold of the other and does, less what may be chance; 0
            where that was not asked.
    """

    found: MapAlignment | None
    objection: str = ""
    consistency: float = 0.0


def verify_map_overlap(first: LandmarkMap, second: LandmarkMap, *, vouched: bool) -> OverlapVerification:
    """Whether two maps of one scene each are of one place.

    Args:
        first, second: in metres.
        vouched: somebody knows that they are: what is not found again then is not asked for.
    """
    sides = RegistrationSide.of(first), RegistrationSide.of(second)
    found, frame_id = align_maps(*sides), first.scene().frame_id
    if found is None:
        return OverlapVerification(None, f"hardly a point agrees with {frame_id}")
    objection = _objection(found, frame_id)
    if objection or vouched:
        return OverlapVerification(found, objection)
    there = transform_map(second, found.first_from_second)
    second_side = replace(sides[1], scene=there, points=there.points.astype(np.float64))
    counts = [overlap_consistency(sides[0], second_side), overlap_consistency(second_side, sides[0])]
    expected, part = min(asked for asked, _ in counts), min(_surely(*count) for count in counts)
    agree = f"{len(found.agreeing)} points agree with {frame_id}"
    if expected < _LEAST_EXPECTED:
        both = f"both looked at only {expected} from similar places, at least {_LEAST_EXPECTED} are needed"
        return OverlapVerification(found, f"{agree}, but {both}; {_REMEDY}", part)
    if part < _LEAST_FOUND_AGAIN:
        both = f"{part:.0%} of what both should hold is surely in both, at least {_LEAST_FOUND_AGAIN:.0%} is needed"
        return OverlapVerification(found, f"{agree}, but {both}; {_REMEDY}", part)
    return OverlapVerification(found, "", part)


def _surely(asked: int, held: int) -> float:
    part = held / max(asked, 1)
    return part - _DOUBT_STDS * float(np.sqrt(part * (1.0 - part) / max(asked, 1)))


def _objection(found: MapAlignment, frame_id: str) -> str:
    count = len(found.agreeing)
    agree = f"{count} points agree with {frame_id}"
    if count < _LEAST_AGREEING:
        return f"{agree}, at least {_LEAST_AGREEING} are needed"
    if count < _LEAST_PART * found.matches:
        return f"{agree} of {found.matches} that look alike, at least {_LEAST_PART:.0%} are needed"
    if found.rival > _MOST_RIVAL * count:
        return f"{agree} in one way and {found.rival} in another"
    if found.spread < _LEAST_SPREAD:
        return f"{agree}, but all in one spot or on a line, such as on a poster"
    return ""
