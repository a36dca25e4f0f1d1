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

"""Re-ranking of candidates by spatial verification: coarse poses from the strongest keypoints, compared pairwise.

Spatial verification of retrieved candidates: Philbin et al. 2007.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import estimate_absolute_pose, inlier_mask
from vloc_ros.core.localization.scoring import PoseScorer, ScoredPose, score_margin

# keypoints that find a coarse pose, if there is one
_KEYPOINTS = 320
# where a fifth of the matches are inliers, so many samples miss them once in a thousand times
_ITERATIONS = 1000
_MIN_INLIERS, _MIN_INLIER_RATIO = 8, 0.1
# when the best candidate is refused, the next one is matched
_MAX_CANDIDATES = 2


@dataclass(frozen=True, slots=True, eq=False)
class CandidateReranker:
    """Orders candidates by how well the image supports their coarse poses.

    Attributes:
        matcher: of the map.
        pose: RANSAC, and when a match is an inlier.
        scorer: of poses.
    """

    matcher: NearestNeighbourMatcher
    pose: PoseConfig
    scorer: PoseScorer

    def rerank(self, candidates: Sequence[Candidate], observation: Observation) -> Iterator[Candidate]:
        """At most two candidates, whose coarse poses outscore most of the others, with the others as their competitors.

        A candidate without a coarse pose is left out.
        """
        found = [(one, pose) for one in candidates if (pose := self._coarse_pose(one, observation)) is not None]
        with observation.clock.stage("verification"):
            wins = [sum(score_margin(pose, other) > 0 for _, other in found) for _, pose in found]
        order = sorted(range(len(found)), key=lambda i: -wins[i])
        for i in order[:_MAX_CANDIDATES]:
            competitors = tuple(found[k][1] for k in order if k != i)
            yield replace(found[i][0], coarse_pose=found[i][1], competitors=competitors)

    def _coarse_pose(self, candidate: Candidate, observation: Observation) -> ScoredPose | None:
        """From the strongest keypoints; None where no pose is found or has enough inliers."""
        clock, query = observation.clock, observation.query
        with clock.stage("matching"):
            matches = self.matcher.match(observation, candidate, keypoints=slice(_KEYPOINTS))
        with clock.stage("pose"):
            quick = replace(self.pose, max_iterations=min(_ITERATIONS, self.pose.max_iterations))
            found = estimate_absolute_pose(quick, matches, query)
        if found is None:
            return None
        with clock.stage("verification"):
            inliers = matches.point_indices[inlier_mask(found, self.pose, matches, query)]
            if len(inliers) < max(_MIN_INLIERS, _MIN_INLIER_RATIO * len(matches)):
                return None
            return self.scorer.score(found, inliers, observation)
