"""From a part of the map to an answer: matches, pose, verification; of several rivals the one that the image shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.integer_arrays import sorted_unique
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.pose_estimation import (
    estimate_absolute_pose,
    estimate_pose_with_covariance,
    inlier_mask,
)
from vloc_ros.core.localization.query_context import QueryContext
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.selection import Hypothesis, HypothesisSelector, VerifiedHypothesis, score_margin
from vloc_ros.core.localization.verification import Verifier
from vloc_ros.core.map.landmark_map import LandmarkMap

# so many scenes, those with most matches, are asked about an image
_SCENES_ASKED = 3
# where a fifth of the matches are right, so many samples miss them once in a thousand times
_QUICK_ITERATIONS = 1000
_FEWEST_INLIERS = 8
# when the leader of the rivals is refused, the next one is asked
_RIVALS_VERIFIED = 2
# a place that clearly leads one that was accepted has that for it: less of the image has to be found again
_OF_A_LEADER = 0.7


class MatchingPoseSolver:
    """Answers from the parts of one map."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        *,
        matcher: NearestNeighbourMatcher,
        pose: PoseConfig,
        verifier: Verifier,
        contest: HypothesisSelector,
    ) -> None:
        self._map, self._matcher, self._pose = landmark_map, matcher, pose
        self._verifier, self._contest = verifier, contest
        self._quick = replace(pose, max_iterations=min(_QUICK_ITERATIONS, pose.max_iterations))

    def solve(self, asked: QueryContext, proposal: Candidate) -> LocalizationResult:
        """The answer from a part of the map, or from that of several rivals which the image looks most like."""
        if proposal.keypoints is None:
            answers = list(self._answers(asked, proposal))
            with asked.clock.stage("verification"):
                return self._won(answers, (), asked)
        refusal = LocalizationResult.refused(Status.NO_CANDIDATES, "no place that was proposed has a pose")
        contenders = self._contenders(asked, proposal)
        for one in contenders[:_RIVALS_VERIFIED]:
            answers = list(self._answers(asked, one.part))
            with asked.clock.stage("verification"):
                if not any(a.result.ok for a in answers):
                    answers += self._second_look(asked, one.hypothesis, answers[0])
                result = self._won(answers, [c.hypothesis for c in contenders if c is not one], asked)
            if result.is_final:
                return result
            refusal = refusal.or_better(result)
        return refusal

    def _won(
        self, answers: list[VerifiedHypothesis], others: Sequence[Hypothesis], asked: QueryContext
    ) -> LocalizationResult:
        """The answer that counts; a place that nobody answered from is asked when the image looks more like it."""
        verdict = self._contest.won(answers, others, asked)
        better = verdict.better
        more = self._second_look(asked, better, answers[0], enough=_OF_A_LEADER) if better else []
        if any(answer.result.ok for answer in more):
            verdict = self._contest.won([*answers, *more], others, asked)
        return verdict.result

    def _contenders(self, asked: QueryContext, proposal: Candidate) -> list[_Contender]:
        """Rivals with a pose from their strongest keypoints, the one that leads all others first."""
        few = tuple(found.strongest(proposal.keypoints) for found in asked.features)
        contenders = []
        for part in (proposal, *proposal.rivals):
            with asked.clock.stage("matching"):
                matches = self._matcher.match(few, part)
            with asked.clock.stage("pose"):
                found = estimate_absolute_pose(self._quick, matches, asked.query)
            if found is None:
                continue
            with asked.clock.stage("verification"):
                inliers = matches.point_indices[inlier_mask(found, self._pose, matches, asked.query)]
                if len(inliers) >= max(_FEWEST_INLIERS, self._verifier.fewest_inliers(len(matches))):
                    contenders.append(_Contender(part, Hypothesis.of(found, inliers, asked.lookout, self._map)))
        wins = [sum(score_margin(one.hypothesis, other.hypothesis) > 0 for other in contenders) for one in contenders]
        return [contenders[i] for i in sorted(range(len(contenders)), key=lambda i: -wins[i])]

    def _answers(self, asked: QueryContext, part: Candidate) -> Iterator[VerifiedHypothesis]:
        """What a part of the map says, and each scene of it."""
        with asked.clock.stage("matching"):
            matches = self._matcher.match(asked.features, part)
        for of_scene in matches.by_scene(self._map)[:_SCENES_ASKED]:
            with asked.clock.stage("pose"):
                estimate = estimate_pose_with_covariance(self._pose, of_scene, asked.query)
            with asked.clock.stage("verification"):
                if estimate and (views := self._verifier.outvoted(estimate, of_scene, asked.features, asked.query)):
                    of_scene = of_scene.without_views(views)
                    estimate = estimate_pose_with_covariance(self._pose, of_scene, asked.query)
                result = self._verifier.verify(estimate, of_scene, asked.features, asked.query, part.name)
                yield VerifiedHypothesis(result, matches, part)

    def _second_look(
        self, asked: QueryContext, hypothesis: Hypothesis, first: VerifiedHypothesis, *, enough: float = 1.0
    ) -> list[VerifiedHypothesis]:
        """What too few distinct matches left open: is most of the image found again from the pose that they tell?

        Matches that a pose guides to agree with it, so verification as usual is not enough; and of a rig no view would
        ever speak against it. `enough` is the part of `min_found_again` that has to be.
        """
        matches = hypothesis.sight.matches
        estimate = (
            estimate_pose_with_covariance(self._pose, matches, asked.query) if len(asked.query.views) == 1 else None
        )
        if estimate is None:
            return []
        inliers = sorted_unique(matches.point_indices[estimate.inliers])
        found_again = Hypothesis.of(estimate.map_from_rig, inliers, asked.lookout, self._map).sight.found_again
        if found_again < enough * self._verifier.min_found_again:
            return []
        result = self._verifier.verify(estimate, matches, asked.features, asked.query, first.part.name)
        return [VerifiedHypothesis(result, first.matches, first.part)]


@dataclass(frozen=True, slots=True, eq=False)
class _Contender:
    """A part of the map, and the pose that it suggests."""

    part: Candidate
    hypothesis: Hypothesis
