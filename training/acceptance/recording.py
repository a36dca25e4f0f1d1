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

"""Recording of evidence: every hypothesis of every query, right or wrong, with its evidence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import ADDITIVE, AcceptanceModel, EvidenceTerm
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.evidence import EVIDENCE, KeypointEvidence
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.localization.selection import Decision, HypothesisSelector, WeighedHypothesis
from vloc_ros.core.localization.verification import VerifiedHypothesis
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query

RIGHT_M, RIGHT_RAD = 0.25, np.radians(2.0)
# what lies between right and wrong teaches nothing
WRONG_M, WRONG_RAD = 0.5, np.radians(5.0)
# competing poses of one candidate that are refined
_MOST_BETTER = 2
# hypotheses of fewer are far from accepted: no competing pose is searched for, which takes most of the time
_LEAST_WITH_MARGIN = float(np.log1p(12))
_NOTHING = EvidenceTerm(np.zeros(1), np.zeros(1))
# every hypothesis scores above the threshold
NEUTRAL = AcceptanceModel(
    "none", 0.0, dict.fromkeys(ADDITIVE, _NOTHING), _NOTHING, 0, np.zeros(1), np.full(1, -np.inf), negatives=0
)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedHypothesis:
    """A hypothesis of a query with its evidence and what would have been published."""

    evidence: KeypointEvidence
    result: LocalizationResult

    def label(self, frame_id: str, truth: Pose | None) -> int:
        """1 where it is right, 0 where it is wrong, -1 between; `truth` is None for an image of another place."""
        pose = self.result.map_from_rig
        assert pose is not None
        if truth is None or self.result.frame_id != frame_id:
            return 0
        distance_m, angle_rad = pose.distance_to(truth)
        if distance_m <= RIGHT_M and angle_rad <= RIGHT_RAD:
            return 1
        return 0 if distance_m > WRONG_M or angle_rad > WRONG_RAD else -1


class EvidenceRecorder(HypothesisSelector):
    """Decides nothing, so that all candidates are tried, and keeps every hypothesis."""

    recorded: list[RecordedHypothesis]

    def decide(self, hypotheses: Sequence[Hypothesis], candidate: Candidate, observation: Observation) -> Decision:
        """Record the hypotheses, and all poses that the product might refine: theirs, the coarse, the competing."""
        if candidate.is_sample:  # evidence of a sample estimates that of all keypoints, which are matched next
            return Decision.undecided()
        verified = [self._verifier.verify(hypothesis, observation) for hypothesis in hypotheses]
        able = [one for one in verified if one.evidence is not None]
        able += self._refine([*(one.scored for one in able), candidate.coarse_pose], hypotheses, observation)
        weighed = [self._weigh_recorded(one, able, candidate, observation) for one in able]
        better = [one.competitor for one in weighed if one.evidence.margin < 0]
        for one in self._refine(better[:_MOST_BETTER], hypotheses, observation):
            weighed.append(self._weigh_recorded(one, able, candidate, observation))
        self.recorded += [RecordedHypothesis(one.evidence, one.verified.result) for one in weighed]
        return Decision.undecided()

    def _weigh_recorded(
        self,
        one: VerifiedHypothesis,
        able: Sequence[VerifiedHypothesis],
        candidate: Candidate,
        observation: Observation,
    ) -> WeighedHypothesis:
        assert one.evidence is not None
        if one.evidence.inliers < _LEAST_WITH_MARGIN:
            return WeighedHypothesis(one, one.evidence, 0.0)
        return self._weigh_against_competitors(one, able, candidate, observation)


class RecordingLocalizer:
    """The product's localizer with a recorder in place of the decision."""

    def __init__(self, landmark_map: LandmarkMap, extractor: Extractor) -> None:
        """`extractor` is the map's."""
        self.localizer = build_localizer(
            LocalizerConfig(), landmark_map, extractor=extractor, acceptance=NEUTRAL, make_selector=EvidenceRecorder
        )
        self._recorder = cast(EvidenceRecorder, self.localizer.selector)

    def record(self, features: Features, query: Query) -> list[RecordedHypothesis]:
        """Every hypothesis of a query."""
        self._recorder.recorded = []
        self.localizer.localize_features((features,), query)
        return self._recorder.recorded


def evidence_array(recorded: Iterable[RecordedHypothesis]) -> Array:
    """(N, E) float32."""
    return np.array([one.evidence.values() for one in recorded], np.float32).reshape(-1, len(EVIDENCE))
