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

"""Verification of a hypothesis: its evidence, by what the map predicts from its pose and the image shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.config import PoseConfig, VerificationConfig
from vloc_ros.core.geometry.covariance import apply_calibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import AcceptanceModel
from vloc_ros.core.localization.evidence import (
    CLEAR_MARGIN,
    KeypointEvidence,
    measure_evidence,
    position_std_m,
    relative_position_std,
)
from vloc_ros.core.localization.guided_matching import MAX_ERROR_PX
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import (
    PoseEstimate,
    estimate_pose_with_covariance,
    inlier_mask,
    refine_absolute_pose,
    reprojection_residuals,
)
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.rig_consistency import RigConsistency
from vloc_ros.core.localization.scoring import PoseScorer, ScoredPose
from vloc_ros.core.map.map_index import MapIndex

# fewer inliers agree by chance: three of them determine the pose; the acceptance table needs more
LEAST_INLIERS = 8
# fewer of its own matches are not worth recording for a pose that guided matching found
_LEAST_UNGUIDED = 4
# of a sample of the keypoints, standard deviation of the position as it is seen at the distance of the points, whose
# projections have to lie well inside of the radius of guided matching
_PRECISE_PX = MAX_ERROR_PX / 3.0  # three standard deviations lie within the radius of guided matching
# matches that a pose guides, and that move their projections by more, guide other matches
_STILL_PX, _GUIDED_ROUNDS = 0.5, 3
# share of the inliers that a sample promises that all keypoints must have: right poses in simulated rooms and in a real
# one have 1.03 to 4 times as many, since guided matching finds more than the ratio test keeps
_LEAST_KEPT = 0.8


@dataclass(frozen=True, slots=True, eq=False)
class VerifiedHypothesis:
    """A hypothesis with its evidence, or why there is none.

    Attributes:
        hypothesis: what was verified.
        result: as it is published where the hypothesis is accepted, with its calibrated covariance; or a refusal that
            no evidence changes.
        scored: the pose with what the image shows of its prediction; None for a refusal.
        evidence: without the margin; None for a refusal.
        refusal_is_final: whether no other candidate would change the refusal.
    """

    hypothesis: Hypothesis
    result: LocalizationResult
    scored: ScoredPose | None = None
    evidence: KeypointEvidence | None = None
    refusal_is_final: bool = False


def _with_inliers(result: LocalizationResult, matches: Matches, inliers: Array) -> LocalizationResult:
    """A result that names other matches and inliers, by (M,) bool."""
    return replace(
        result,
        matches=len(matches),
        inliers=int(inliers.sum()),
        inlier_xy=matches.xy[inliers],
        inlier_points=matches.point_indices[inliers],
        inlier_views=matches.views[inliers],
    )


def _guides_matches(hypothesis: Hypothesis, observation: Observation) -> bool:
    """Whether the pose of a sample of the keypoints is precise enough to find the matches of all by projection."""
    estimate, focal_px = hypothesis.estimate, observation.query.views[0].camera.intrinsics[0]
    assert estimate is not None
    relative_std = relative_position_std(hypothesis.matches.points[estimate.inliers], estimate)
    # the covariance is that of all keypoints
    return bool(focal_px * relative_std <= _PRECISE_PX / np.sqrt(hypothesis.candidate.every))


class HypothesisVerifier:
    """Compares each hypothesis with the map by itself.

    Inlier counts alone are misled by a poster that hangs in two rooms: many inliers, all in one corner of the image,
    and nothing of what should surround it. So the map points that covisible keyframes observe are projected, and what
    the image shows of them is evidence.
    """

    def __init__(
        self,
        config: VerificationConfig,
        map_index: MapIndex,
        *,
        pose: PoseConfig,
        scorer: PoseScorer,
        model: AcceptanceModel,
    ) -> None:
        """`pose` is also how a pose is estimated from a single view of a rig, and `model` what accepts that."""
        self._config, self._pose, self._scorer, self._map = config, pose, scorer, map_index.map
        self._model, self._threshold = model, model.threshold(config.false_accept_rate)
        self._rig = RigConsistency(pose=pose, accepts=self._accepts_alone)

    def verify(self, hypothesis: Hypothesis, observation: Observation) -> VerifiedHypothesis:
        """The hypothesis, without views of a rig that contradict the others, and its evidence."""
        if hypothesis.estimate is not None and len(observation.query.views) > 1:
            hypothesis = self._rig.drop_inconsistent_views(hypothesis, observation)
        estimate, matches = hypothesis.estimate, hypothesis.matches
        refusal = LocalizationResult(Status.POSE_REJECTED, matches=len(matches), candidate=hypothesis.candidate.name)
        if len(matches) < self._config.min_matches:
            reason = f"{len(matches)} matches, at least {self._config.min_matches} are needed"
            return VerifiedHypothesis(hypothesis, replace(refusal, status=Status.TOO_FEW_MATCHES, reason=reason))
        if estimate is None or estimate.inliers.sum() < LEAST_INLIERS:
            found = 0 if estimate is None else int(estimate.inliers.sum())
            reason = f"no pose explains more than {found} of the {len(matches)} matches"
            return VerifiedHypothesis(hypothesis, replace(refusal, inliers=found, reason=reason))
        result = self._publishable(hypothesis, estimate)
        if hypothesis.candidate.is_sample and not _guides_matches(hypothesis, observation):
            reason = "a sample of the keypoints does not determine the pose"
            return VerifiedHypothesis(hypothesis, result.refused_as(Status.POSE_REJECTED, reason))
        if len(observation.query.views) > 1 and (reason := self._rig.describe_inconsistency(hypothesis, observation)):
            return VerifiedHypothesis(
                hypothesis, result.refused_as(Status.POSE_REJECTED, reason), refusal_is_final=True
            )
        std_m = position_std_m(self._map, hypothesis)
        if std_m > self._config.max_position_std_m:
            limit = f"at most {self._config.max_position_std_m:g} m is allowed"
            reason = f"the position is uncertain by {std_m:.2g} m, {limit}"
            return VerifiedHypothesis(hypothesis, result.refused_as(Status.POSE_REJECTED, reason))
        scored = self._scorer.score(estimate.scene_from_rig, result.inlier_points, observation)
        evidence = measure_evidence(hypothesis, scored, observation, pose=self._pose)
        return VerifiedHypothesis(hypothesis, result, scored, evidence)

    def refine(
        self, pose: ScoredPose, hypotheses: Sequence[Hypothesis], observation: Observation
    ) -> VerifiedHypothesis | None:
        """A pose refined by the matches that it guides, weighed by the matches that it did not; None where none is.

        For poses of few matches that pass the ratio test. Guided matches agree with the pose that guides them, so the
        evidence counts the inliers among the candidate's own matches in the pose's scene; without as many of those as
        the acceptance table needs there is none. No view of a rig would ever contradict a pose that guides its
        matches, so rigs have none.

        Args:
            pose: coarse.
            hypotheses: of the same candidate, one a scene.
            observation: of the query.
        """
        guided, query = pose.visibility.matches, observation.query
        own = next((one for one in hypotheses if self._is_in_scene(one, pose)), None)
        if own is None or len(query.views) > 1 or len(guided) < self._config.min_matches:
            return None
        estimate = estimate_pose_with_covariance(self._pose, guided, query)
        if estimate is None or estimate.inliers.sum() < LEAST_INLIERS:
            return None
        unguided = inlier_mask(estimate.scene_from_rig, self._pose, own.matches, query)
        refined = Hypothesis(own.candidate, replace(guided, neighbours=own.matches.neighbours), estimate)
        least = max(_LEAST_UNGUIDED, self._model.least_inliers)
        if unguided.sum() < least or position_std_m(self._map, refined) > self._config.max_position_std_m:
            return None
        result = self._publishable(refined, estimate)
        scored = self._scorer.score(estimate.scene_from_rig, result.inlier_points, observation)
        of_own = replace(own, estimate=replace(estimate, inliers=unguided))
        return VerifiedHypothesis(
            refined, result, scored, measure_evidence(of_own, scored, observation, pose=self._pose)
        )

    def refine_accepted(self, verified: VerifiedHypothesis, observation: Observation) -> LocalizationResult | None:
        """The result of an accepted hypothesis, its pose refined to all matches that it guides.

        They are more than those that can be told apart in the whole map, and lie where those are missing. Where one of
        the views has fewer of them, the pose stays. The covariance remains that of the unguided matches: guided ones
        agree with the pose that guides them.

        Returns:
            None where the guided matches of all keypoints have fewer inliers than a sample of them promises, by whose
            extrapolated number the hypothesis was accepted.
        """
        assert verified.scored is not None
        scored, views, result = verified.scored, len(observation.query.views), verified.result
        guided, refined = self._refine_by_guided_matches(verified, scored, observation)
        agreeing = inlier_mask(refined, self._pose, guided, observation.query)
        candidate = verified.hypothesis.candidate
        if candidate.is_sample:
            kept = agreeing.sum() / (candidate.every * result.inliers)
            if kept < _LEAST_KEPT:
                return None
            result = replace(result, covariance=result.covariance / min(kept, 1.0))
        before = np.bincount(result.inlier_views, minlength=views)
        if (np.bincount(guided.views[agreeing], minlength=views) < before).any():
            return result
        result = replace(result, map_from_rig=scored.scene.map_from(refined))
        # those of a sample are a part of what supports the pose
        return _with_inliers(result, guided, agreeing) if candidate.is_sample else result

    def _refine_by_guided_matches(
        self, verified: VerifiedHypothesis, scored: ScoredPose, observation: Observation
    ) -> tuple[Matches, Pose]:
        """The matches that a pose guides in the views of a hypothesis, and the pose refined to them.

        Where the refinement moves their projections, the refined pose guides other matches, and so on.
        """
        has_matches = np.bincount(verified.hypothesis.matches.views, minlength=len(observation.query.views)) > 0
        for rounds_left in reversed(range(_GUIDED_ROUNDS)):
            # views that contradict the others have no matches left
            guided = scored.visibility.matches
            guided = guided.select(has_matches[guided.views])
            refined = refine_absolute_pose(self._pose, scored.scene_from_rig, guided, observation.query)
            before, after = (
                reprojection_residuals(pose, guided, observation.query) for pose in (scored.scene_from_rig, refined)
            )
            moved_px = np.linalg.norm(after - before, axis=1)
            if not rounds_left or not len(guided) or np.median(moved_px) < _STILL_PX:
                break
            scored = self._scorer.score(refined, verified.result.inlier_points, observation)
        return guided, refined

    def _is_in_scene(self, hypothesis: Hypothesis, pose: ScoredPose) -> bool:
        points = hypothesis.matches.point_indices
        return len(points) > 0 and self._map.scene_of(points) is pose.scene

    def reaches_threshold(self, verified: VerifiedHypothesis) -> bool:
        """Whether a hypothesis would be accepted if no pose competes with it."""
        return verified.evidence is not None and self.score(verified) >= self._threshold

    def score(self, verified: VerifiedHypothesis, *, margin: float = CLEAR_MARGIN) -> float:
        """Log odds that a hypothesis with evidence is right, among as many wrong ones.

        They are lower where its scene looks alike. Without a margin, they are those if no pose competes.
        """
        assert verified.evidence is not None
        assert verified.scored is not None
        evidence = replace(verified.evidence, margin=margin)
        return self._model.score(evidence) + verified.scored.scene.self_similarity.score_shift

    def _publishable(self, hypothesis: Hypothesis, estimate: PoseEstimate) -> LocalizationResult:
        matches, inliers = hypothesis.matches, estimate.inliers
        scene = self._map.scene_of(matches.point_indices)
        of_frame = scene.frame_uncertainty.at(estimate.scene_from_rig.translation)
        return LocalizationResult(
            Status.OK,
            map_from_rig=scene.map_from(estimate.scene_from_rig),
            covariance=apply_calibration(estimate.covariance, scene.calibration) + of_frame,
            frame_covariance=of_frame,
            frame_id=scene.frame_id,
            matches=len(matches),
            inliers=int(inliers.sum()),
            candidate=hypothesis.candidate.name,
            inlier_xy=matches.xy[inliers],
            inlier_points=matches.point_indices[inliers],
            inlier_views=matches.views[inliers],
        )

    def _accepts_alone(self, hypothesis: Hypothesis, estimate: PoseEstimate, observation: Observation) -> bool:
        """Whether the pose of one view of a rig would be accepted as a single camera's, unless another competes."""
        return self.reaches_threshold(self.verify(replace(hypothesis, estimate=estimate), observation))
