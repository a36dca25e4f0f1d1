"""Two poses that an image may have been taken from: which of them does it show?

In rooms that are furnished alike many keypoints fit both, and the room whose map is denser gets more inliers, right or
wrong. What tells them apart is what should be seen and is not: the poster that hangs in the one room only. So each pose
predicts where the map's points appear, and how much the image looks like that is compared, in the regions where both
predict something: what one map happens not to hold says nothing. All regions count alike: most points lie on furniture,
which is the same in both rooms; what is not, a wall's own marks, is seen in regions of few points. Differences count by
their squares: one thing that is there or is not says more than a little noise everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain
from statistics import fmean

import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.competing_hypotheses import competing_hypotheses, is_distinct_pose
from vloc_ros.core.localization.matching import Matches
from vloc_ros.core.localization.pose_estimation import estimate_absolute_pose, inlier_mask
from vloc_ros.core.localization.query_context import QueryContext
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import KeypointGrid, PredictedVisibility
from vloc_ros.core.localization.verification import expected_points
from vloc_ros.core.map.landmark_map import LandmarkMap

_KEYFRAMES = 8
# where there are fewer regions to compare, numbers count for a little: twice as many are worth a lead of 7 %
_FEWEST_REGIONS, _WORTH_OF_NUMBER = 3, 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """A pose, the (M,) map points that agree with it, and what is seen of those that should be."""

    map_from_rig: Pose
    inlier_points: Array
    sight: PredictedVisibility

    @staticmethod
    def of(map_from_rig: Pose, inlier_points: Array, lookout: KeypointGrid, landmark_map: LandmarkMap) -> Hypothesis:
        """Look at what the keyframes saw that share most with the inliers; M >= 1."""
        expected = expected_points(landmark_map, inlier_points, keyframes=_KEYFRAMES)
        return Hypothesis(map_from_rig, inlier_points, lookout.sight(map_from_rig, expected))


def score_margin(first: Hypothesis, second: Hypothesis) -> float:
    """By how much more the image looks like what the first predicts, -1 to 1; negative when it is the second.

    The square root of the mean over regions of squared differences, those in the second's favour taken off.
    """
    a, b = first.sight, second.sight
    both = a.in_views((a.expected > 0) & (b.expected > 0))
    more = a.in_views((difference := a.likeness - b.likeness) * np.abs(difference))
    # cameras of a rig count alike, so that one which is wrong has one voice, however much it sees; a covered one, none
    both &= a.in_views(a.keypoints).any(axis=1, keepdims=True)
    of_views = [float(view[where].mean()) for view, where in zip(more, both, strict=True) if where.any()]
    if both.sum() >= _FEWEST_REGIONS:
        return float(np.sign(mean := fmean(of_views)) * np.sqrt(abs(mean)))
    # not the inliers that each came with: they are of as many keypoints as were asked for it
    confirmed = (max(int(sight.confirmed.sum()), 1) for sight in (a, b))
    return _WORTH_OF_NUMBER * float(np.log(next(confirmed) / next(confirmed)))


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedHypothesis:
    """What was made of the matches with one part of the map."""

    result: LocalizationResult
    matches: Matches
    part: Candidate


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What of several answers counts.

    Attributes:
        result: an answer, or why there is none.
        better: where the image looks clearly more like another place that nobody answered from: that place.
    """

    result: LocalizationResult
    better: Hypothesis | None = None


class HypothesisSelector:
    """Which of several answers about one image counts, if any."""

    def __init__(self, landmark_map: LandmarkMap, *, pose: PoseConfig, min_lead: float) -> None:
        self._map, self._pose, self._min_lead = landmark_map, pose, min_lead

    def won(self, answers: Sequence[VerifiedHypothesis], others: Sequence[Hypothesis], asked: QueryContext) -> Decision:
        """The answer that the image looks most like; none when another place explains it about as well.

        Args:
            answers: at least one.
            others: what else the image may show.
            asked: the query.
        """
        accepted = [a for a in answers if a.result.ok]
        if not accepted:
            return Decision(reduce(LocalizationResult.or_better, (a.result for a in answers)))
        best, elsewhere = accepted[0], list(others)
        if len(accepted) > 1:
            shown = [self._hypothesis(a.result, asked.lookout) for a in accepted]
            leader = max(range(len(shown)), key=lambda i: sum(score_margin(shown[i], other) > 0 for other in shown))
            best = accepted[leader]
            elsewhere += [other for i, other in enumerate(shown) if i != leader]
        # rivals are looked for only while none that is known makes the answer ambiguous
        return self._unless_rivalled(best.result, chain(elsewhere, self._rivals(best, elsewhere, asked)), asked.lookout)

    def _rivals(
        self, best: VerifiedHypothesis, known: Sequence[Hypothesis], asked: QueryContext
    ) -> Iterator[Hypothesis]:
        """Other places that many keypoints fit as well as the best answer, and nobody asked."""
        neighbours = best.part.neighbours or best.matches.neighbours
        if best.part.windows or neighbours is None:  # who knows where it is has nothing to choose
            return
        poses = [(self._map.scene_of(other.inlier_points).frame_id, other.map_from_rig) for other in known]
        found = competing_hypotheses(
            best.result, poses, neighbours, asked.query, landmark_map=self._map, pose=self._pose
        )
        for pose, points in found:
            yield self._looked_at_again(Hypothesis.of(pose, points, asked.lookout, self._map), asked)

    def _looked_at_again(self, rough: Hypothesis, asked: QueryContext) -> Hypothesis:
        """A pose of a few keypoints, made of all that it guides to: as good as an answer that it is compared with."""
        matches = rough.sight.matches
        found = estimate_absolute_pose(self._pose, matches, asked.query)
        if found is None:
            return rough
        inliers = sorted_unique(matches.point_indices[inlier_mask(found, self._pose, matches, asked.query)])
        return Hypothesis.of(found, inliers, asked.lookout, self._map) if len(inliers) else rough

    def _unless_rivalled(
        self, result: LocalizationResult, others: Iterable[Hypothesis], lookout: KeypointGrid
    ) -> Decision:
        """An answer; none where it leads one of the others, of another place, by too little."""
        shown: Hypothesis | None = None
        for other in others:
            shown = shown or self._hypothesis(result, lookout)
            if self._of_one_place(shown, other) or (by := score_margin(shown, other)) >= self._min_lead:
                continue
            frame_id = self._map.scene_of(other.inlier_points).frame_id
            apart_m, _ = shown.map_from_rig.distance_to(other.map_from_rig)
            where = f"{apart_m:.1f} m away" if frame_id == result.frame_id else f"in {frame_id}"
            better = by <= -self._min_lead
            how = "better" if better else "as well"
            reason = f"another place, {where}, explains the image {how}: {by:+.1%} of what is expected"
            return Decision(result.refused_as(Status.AMBIGUOUS, reason), other if better else None)
        return Decision(result)

    def _of_one_place(self, first: Hypothesis, second: Hypothesis) -> bool:
        scenes = [self._map.scene_of(hypothesis.inlier_points) for hypothesis in (first, second)]
        return scenes[0] is scenes[1] and not is_distinct_pose(first.map_from_rig, second.map_from_rig)

    def _hypothesis(self, result: LocalizationResult, lookout: KeypointGrid) -> Hypothesis:
        assert result.map_from_rig is not None
        return Hypothesis.of(result.map_from_rig, sorted_unique(result.inlier_points), lookout, self._map)
