"""Two poses that an image may have been taken from: which of them does it show?

In rooms that are furnished alike many keypoints fit both, and the room whose map is denser gets more inliers, right or
wrong. What tells them apart is what should be seen and is not: the poster that hangs in the one room only. So each pose
predicts where the map's points appear, and of those the part that the image confirms is compared, in the regions where
both predict something: what one map happens not to hold says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.landmark_map import LandmarkMap
from vloc_ros.core.pose import Array, Pose
from vloc_ros.core.sight import FEWEST_POINTS, Lookout, Sight
from vloc_ros.core.verification import expected_points

_KEYFRAMES = 8
_FEWEST_REGIONS = 2
# their number counts for a little: twice as many are worth a lead of 3 %
_WORTH_OF_NUMBER = 0.04


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """A pose, the (M,) map points that agree with it, and what is seen of those that should be."""

    map_from_rig: Pose
    inlier_points: Array
    sight: Sight

    @staticmethod
    def of(map_from_rig: Pose, inlier_points: Array, lookout: Lookout, landmark_map: LandmarkMap) -> Hypothesis:
        """Look at what the keyframes saw that share most with the inliers; M >= 1."""
        expected = expected_points(landmark_map, inlier_points, keyframes=_KEYFRAMES)
        return Hypothesis(map_from_rig, inlier_points, lookout.sight(map_from_rig, expected))


def lead(first: Hypothesis, second: Hypothesis) -> float:
    """By how much more of what it predicts the first is confirmed; negative when it is the second."""
    a, b = first.sight, second.sight
    # not the inliers that each came with: they are of as many keypoints as were asked for it
    confirmed = (max(int(sight.confirmed.sum()), 1) for sight in (a, b))
    by_number = _WORTH_OF_NUMBER * float(np.log(next(confirmed) / next(confirmed)))
    both = np.flatnonzero((a.expected >= FEWEST_POINTS) & (b.expected >= FEWEST_POINTS))
    if len(both) < _FEWEST_REGIONS:
        return by_number
    weights = np.sqrt(np.minimum(a.expected[both], b.expected[both]))
    parts = a.confirmed[both] / a.expected[both] - b.confirmed[both] / b.expected[both]
    return by_number + float((weights * parts).sum() / weights.sum())
