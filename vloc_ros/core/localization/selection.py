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

"""Selection: of all hypotheses the one that is accepted, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.config import VerificationConfig
from vloc_ros.core.localization.acceptance import AcceptanceModel
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.competing_hypotheses import CompetingHypotheses, is_distinct_pose
from vloc_ros.core.localization.evidence import CLEAR_MARGIN, KeypointEvidence
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scoring import ScoredPose, score_margin
from vloc_ros.core.localization.verification import HypothesisVerifier, VerifiedHypothesis
from vloc_ros.core.map.landmark_map import LandmarkMap

# coarse poses that are outscored by more are not refined to see whether they compete
_FAR_MARGIN = 2 * CLEAR_MARGIN
# poses within such a margin explain the image about as well
_ALIKE = 0.02
# a sample of the keypoints decides where the log odds are so high, by so many inliers
_CERTAIN, _CERTAIN_INLIERS = 4.0, 25


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What the hypotheses so far amount to.

    Attributes:
        result: accepted, or refused with a reason.
        is_final: no other candidate need be matched: accepted, or two poses or two cameras contradict each other, which
            matching one of them alone would not resolve.
        better: the part of the map around a pose that explains the image better than the refused one. Few of its
            matches pass a ratio test against the other place's, so that it has to be matched by itself.
    """

    result: LocalizationResult
    is_final: bool = False
    better: Candidate | None = None

    @staticmethod
    def undecided() -> Decision:
        """Before the first candidate."""
        return Decision(LocalizationResult.refused(Status.NO_CANDIDATES, "no candidate part of the map has a pose"))

    def or_better(self, later: Decision) -> Decision:
        """This one, or a later one that is final or progressed further."""
        return later if later.is_final or later.result.progress > self.result.progress else self


@dataclass(frozen=True, slots=True, eq=False)
class WeighedHypothesis:
    """A verified hypothesis with its score.

    Attributes:
        verified: the hypothesis.
        evidence: with the margin over the best competing pose.
        score: of the evidence.
        competitor: the best competing pose, or None.
    """

    verified: VerifiedHypothesis
    evidence: KeypointEvidence
    score: float
    competitor: ScoredPose | None = None


class HypothesisSelector:
    """Accepts the best of a candidate's hypotheses where its score reaches the threshold."""

    def __init__(
        self,
        landmark_map: LandmarkMap,
        *,
        verifier: HypothesisVerifier,
        competing: CompetingHypotheses,
        model: AcceptanceModel,
        config: VerificationConfig,
    ) -> None:
        self._map, self._verifier, self._competing, self._model = landmark_map, verifier, competing, model
        self._threshold = model.threshold(config.false_accept_rate)
        self._negative_share = config.negative_share
        self._confidence_needed = model.confidence(self._threshold, config.negative_share)

    def decide(self, hypotheses: Sequence[Hypothesis], candidate: Candidate, observation: Observation) -> Decision:
        """Accept the hypothesis that the image supports most, unless another pose explains the image about as well.

        Args:
            hypotheses: of a candidate, at least one.
            candidate: its coarse pose and its competitors count too.
            observation: of the query.
        """
        with observation.clock.stage("verification"):
            verified = [self._verifier.verify(hypothesis, observation) for hypothesis in hypotheses]
            if candidate.is_sample:
                return self._decide_by_sample(verified, candidate, observation)
            weighed = self._weigh(verified, hypotheses, candidate, observation)
            if weighed is not None and weighed.score >= self._threshold:
                return self._decide(weighed, candidate, observation)
            final = next((one for one in verified if one.refusal_is_final), None)
            if final is not None:
                return Decision(final.result, is_final=True)
            if weighed is not None:
                return self._decide(weighed, candidate, observation)
            return Decision(max(verified, key=lambda one: one.result.progress).result)

    def _decide_by_sample(
        self, verified: Sequence[VerifiedHypothesis], candidate: Candidate, observation: Observation
    ) -> Decision:
        """Accept the best hypothesis from a sample of the keypoints where it is certain; else nothing is decided."""
        able = [one for one in verified if one.evidence is not None and one.result.inliers >= _CERTAIN_INLIERS]
        certain = max(self._threshold, _CERTAIN)
        if able and self._verifier.score(self._lead(able)) >= certain:
            weighed = self._weigh_against_competitors(self._lead(able), able, candidate, observation)
            if weighed.score >= certain:
                return self._decide(weighed, candidate, observation)
        return Decision.undecided()

    def excess(self, result: LocalizationResult) -> float:
        """How far the score of a result lies above the threshold, log odds; -inf without a pose."""
        if not result.confidence:
            return -np.inf
        return self._model.score_of(result.confidence, self._negative_share) - self._threshold

    def _weigh(
        self,
        verified: Sequence[VerifiedHypothesis],
        hypotheses: Sequence[Hypothesis],
        candidate: Candidate,
        observation: Observation,
    ) -> WeighedHypothesis | None:
        """The best hypothesis with its score.

        Where it would not be accepted, it and the candidate's coarse pose are refined by guided matching.
        """
        able = [one for one in verified if one.evidence is not None]
        if not able or self._verifier.score(self._lead(able)) < self._threshold:
            poses = [self._lead(able).scored] if able else []
            able += self._refine([*poses, candidate.coarse_pose], hypotheses, observation)
        if not able:
            return None
        return self._weigh_against_competitors(self._lead(able), able, candidate, observation)

    def _lead(self, able: Sequence[VerifiedHypothesis]) -> VerifiedHypothesis:
        return max(able, key=self._verifier.score)

    def _refine(
        self, poses: Sequence[ScoredPose | None], hypotheses: Sequence[Hypothesis], observation: Observation
    ) -> list[VerifiedHypothesis]:
        """Poses refined by guided matching, as hypotheses of the candidate."""
        refined = [self._verifier.refine(pose, hypotheses, observation) for pose in poses if pose is not None]
        return [one for one in refined if one is not None]

    def _weigh_against_competitors(
        self,
        leader: VerifiedHypothesis,
        able: Sequence[VerifiedHypothesis],
        candidate: Candidate,
        observation: Observation,
    ) -> WeighedHypothesis:
        """The leader's score with the margin over the best competing pose, or the first that outscores it.

        Competing poses are searched for only where the leader would be accepted without them.
        """
        assert leader.scored is not None
        assert leader.evidence is not None
        others = [one.scored for one in able if one is not leader and one.scored is not None]
        weighed = WeighedHypothesis(leader, leader.evidence, self._verifier.score(leader))
        if weighed.score < self._threshold:
            return weighed
        for competitor in self._competitors(leader, others, candidate, observation):
            margin = score_margin(leader.scored, competitor)
            if margin < weighed.evidence.margin:
                evidence = replace(leader.evidence, margin=margin)
                score = self._verifier.score(leader, margin=margin)
                weighed = WeighedHypothesis(leader, evidence, score, competitor)
            if weighed.score < self._threshold and weighed.evidence.margin < 0:
                break
        return weighed

    def _competitors(
        self, leader: VerifiedHypothesis, others: Sequence[ScoredPose], candidate: Candidate, observation: Observation
    ) -> Iterator[ScoredPose]:
        """Poses of other places, refined so that they compare with the leader."""
        assert leader.scored is not None
        yield from (pose for pose in others if not _is_same_place(leader.scored, pose))
        for coarse in candidate.competitors:
            # a coarse pose that the leader outscores by far does not compete when it is refined either
            if not _is_same_place(leader.scored, coarse) and score_margin(leader.scored, coarse) < _FAR_MARGIN:
                yield self._competing.refine(coarse, observation)
        known = [*others, *candidate.competitors]
        for pose in self._find_competing(leader, known, candidate, observation):
            if not _is_same_place(leader.scored, pose):
                yield pose

    def _decide(self, weighed: WeighedHypothesis, candidate: Candidate, observation: Observation) -> Decision:
        confidence = self._model.confidence(weighed.score, self._negative_share)
        if weighed.score >= self._threshold:
            refined = self._verifier.refine_accepted(weighed.verified, observation)
            if refined is None:
                return Decision.undecided()
            return Decision(replace(refined, confidence=confidence), is_final=True)
        result = replace(weighed.verified.result, confidence=confidence)
        needed = f"confidence {confidence:.1%}, at least {self._confidence_needed:.1%} is needed"
        if weighed.competitor is None:
            reason = f"{self._model.explain(weighed.evidence)}: {needed}"
            return Decision(result.refused_as(Status.POSE_REJECTED, reason))
        assert weighed.verified.scored is not None
        reason = self._describe_competitor(weighed.verified.scored, weighed.competitor, weighed.evidence.margin)
        refused = result.refused_as(Status.AMBIGUOUS, f"{reason}; {needed}")
        return Decision(refused, is_final=True, better=self._around_competitor(weighed, candidate))

    def _around_competitor(self, weighed: WeighedHypothesis, candidate: Candidate) -> Candidate | None:
        """What to match for a competing pose that outscores the leader, with which the leader competes in turn."""
        leader, competitor = weighed.verified.scored, weighed.competitor
        if leader is None or competitor is None or weighed.evidence.margin >= 0 or not candidate.holds_places:
            return None
        points = self._competing.points_around(competitor)
        neighbours = candidate.neighbours or weighed.verified.hypothesis.matches.neighbours
        return Candidate(
            candidate.name,
            points,
            neighbours=neighbours,
            coarse_pose=competitor,
            competitors=(leader, *candidate.competitors),
        )

    def _find_competing(
        self, leader: VerifiedHypothesis, known: Sequence[ScoredPose], candidate: Candidate, observation: Observation
    ) -> Iterator[ScoredPose]:
        """Poses in other parts of the map; none where a certain prior restricts the search."""
        if not candidate.holds_places:
            return
        neighbours, estimate = candidate.neighbours or leader.hypothesis.matches.neighbours, leader.hypothesis.estimate
        assert estimate is not None
        scene = self._map.scene_of(leader.result.inlier_points)
        yield from self._competing.find(scene, estimate.scene_from_rig, known, neighbours, observation)

    @staticmethod
    def _describe_competitor(leader: ScoredPose, competitor: ScoredPose, margin: float) -> str:
        distance_m, _ = leader.scene_from_rig.distance_to(competitor.scene_from_rig)
        where = f"{distance_m:.1f} m away" if competitor.scene is leader.scene else f"in {competitor.scene.frame_id}"
        how = "better" if margin < -_ALIKE else "about as well"
        return f"a competing pose {where} explains the image {how}, by a score margin of {margin:+.1%}"


def _is_same_place(first: ScoredPose, second: ScoredPose) -> bool:
    return first.scene is second.scene and not is_distinct_pose(first.scene_from_rig, second.scene_from_rig)
