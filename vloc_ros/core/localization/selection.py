"""Selection: of all hypotheses the one that is accepted, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.competing_hypotheses import CompetingHypotheses, is_distinct_pose
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import PoseScorer, ScoredPose, score_margin
from vloc_ros.core.localization.verification import HypothesisVerifier, VerifiedHypothesis
from vloc_ros.core.map.landmark_map import LandmarkMap

# a pose that clearly outscores an accepted one has that in its favour: guided matching need confirm less of the image
_LENIENCY_OF_A_BETTER_POSE = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What the hypotheses so far amount to.

    Attributes:
        result: accepted, or refused with a reason.
        is_final: no other candidate need be matched: accepted, or two poses or two cameras contradict each other, which
            matching one of them alone would not resolve.
    """

    result: LocalizationResult
    is_final: bool = False

    @staticmethod
    def undecided() -> Decision:
        """Before the first candidate."""
        return Decision(LocalizationResult.refused(Status.NO_CANDIDATES, "no candidate part of the map has a pose"))

    def or_better(self, later: Decision) -> Decision:
        """This one, or a later one that is final or progressed further."""
        return later if later.is_final or later.result.progress > self.result.progress else self


class HypothesisSelector:
    """Chooses among a candidate's verified hypotheses, unless the image shows a competing pose about as well."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        *,
        verifier: HypothesisVerifier,
        scorer: PoseScorer,
        competing: CompetingHypotheses,
        min_score_margin: float,
    ) -> None:
        self._map, self._verifier, self._scorer = landmark_map, verifier, scorer
        self._competing, self._min_margin = competing, min_score_margin

    def decide(self, hypotheses: Sequence[Hypothesis], candidate: Candidate, observation: Observation) -> Decision:
        """Accept the hypothesis that the image supports most, unless another pose explains the image about as well.

        Args:
            hypotheses: of a candidate, at least one.
            candidate: its coarse pose and its competitors count too.
            observation: of the query.
        """
        with observation.clock.stage("verification"):
            verified = [self._verifier.verify(hypothesis, observation) for hypothesis in hypotheses]
            if candidate.coarse_pose is not None and not any(one.result.ok for one in verified):
                verified += self._refine(candidate.coarse_pose, verified[0], observation)
            accepted = [one for one in verified if one.result.ok]
            if not accepted:
                best = max(verified, key=lambda one: one.result.progress)
                return Decision(best.result, best.refusal_is_final)
            decision, better = self._compare(accepted, candidate, observation)
            if better is None:
                return decision
            refined = self._refine(better, verified[0], observation, leniency=_LENIENCY_OF_A_BETTER_POSE)
            if any(one.result.ok for one in refined):
                decision, _ = self._compare([*accepted, *refined], candidate, observation)
            return decision

    def _refine(
        self, pose: ScoredPose, first: VerifiedHypothesis, observation: Observation, *, leniency: float = 1.0
    ) -> list[VerifiedHypothesis]:
        """A coarse pose as a hypothesis of the candidate, where guided matching confirms it; at most one."""
        verified = self._verifier.verify_by_guided_matching(pose, first.hypothesis, observation, leniency=leniency)
        return [] if verified is None else [verified]

    def _compare(
        self, accepted: Sequence[VerifiedHypothesis], candidate: Candidate, observation: Observation
    ) -> tuple[Decision, ScoredPose | None]:
        """The leader of the accepted hypotheses, or a refusal as ambiguous and the competing pose that outscores it."""
        leader, others = accepted[0], list(candidate.competitors)
        scored: ScoredPose | None = None
        if len(accepted) > 1:
            poses = [self._score(one, observation) for one in accepted]
            first = max(range(len(poses)), key=lambda i: sum(score_margin(poses[i], other) > 0 for other in poses))
            leader, scored = accepted[first], poses[first]
            others += [pose for i, pose in enumerate(poses) if i != first]
        # competing poses are searched for only while none that is known makes the leader ambiguous
        for competitor in chain(others, self._find_competing(leader, others, candidate, observation)):
            scored = scored or self._score(leader, observation)
            if _is_same_place(scored, competitor):
                continue
            margin = score_margin(scored, competitor)
            if margin < self._min_margin:
                better = competitor if margin <= -self._min_margin else None
                return Decision(self._ambiguous(leader.result, scored, competitor, margin), is_final=True), better
        return Decision(leader.result, is_final=True), None

    def _find_competing(
        self, leader: VerifiedHypothesis, known: Sequence[ScoredPose], candidate: Candidate, observation: Observation
    ) -> Iterator[ScoredPose]:
        """Poses in other parts of the map; none where a prior restricts the search to windows."""
        if candidate.windows:
            return
        neighbours, estimate = candidate.neighbours or leader.hypothesis.matches.neighbours, leader.hypothesis.estimate
        assert estimate is not None
        scene = self._map.scene_of(leader.result.inlier_points)
        yield from self._competing.find(scene, estimate.scene_from_rig, known, neighbours, observation)

    def _ambiguous(
        self, result: LocalizationResult, accepted: ScoredPose, competitor: ScoredPose, margin: float
    ) -> LocalizationResult:
        distance_m, _ = accepted.scene_from_rig.distance_to(competitor.scene_from_rig)
        same_scene = competitor.scene is accepted.scene
        where = f"{distance_m:.1f} m away" if same_scene else f"in {competitor.scene.frame_id}"
        how = "better" if margin <= -self._min_margin else "as well"
        reason = f"a competing pose {where} explains the image {how}: score margin {margin:+.1%}"
        return result.refused_as(Status.AMBIGUOUS, reason)

    def _score(self, accepted: VerifiedHypothesis, observation: Observation) -> ScoredPose:
        estimate = accepted.hypothesis.estimate
        assert estimate is not None
        return self._scorer.score(estimate.scene_from_rig, accepted.result.inlier_points, observation)


def _is_same_place(first: ScoredPose, second: ScoredPose) -> bool:
    return first.scene is second.scene and not is_distinct_pose(first.scene_from_rig, second.scene_from_rig)
