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

"""Hypotheses: poses that a query may have been taken from, by matching it against a candidate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.localization.candidates import Candidate
from vloc_ros.core.localization.matches import Matches
from vloc_ros.core.localization.matching import NearestNeighbourMatcher
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import PoseEstimate, estimate_pose_with_covariance
from vloc_ros.core.map.landmark_map import LandmarkMap

# scenes with most matches for which a pose is estimated
_MAX_SCENES = 3


@dataclass(frozen=True, slots=True, eq=False)
class Hypothesis:
    """A pose of the query in one scene, not verified.

    Attributes:
        candidate: that it was estimated from.
        matches: with points of one scene.
        estimate: the pose that most of them agree with, or None.
    """

    candidate: Candidate
    matches: Matches
    estimate: PoseEstimate | None


class PoseSolver(Protocol):
    """From an observation and a candidate to poses: matching and estimation together, since some interleave them."""

    def solve(self, observation: Observation, candidate: Candidate) -> list[Hypothesis]:
        """At least one hypothesis, without an estimate where none is found."""
        ...


class NearestNeighbourPoseSolver:
    """Nearest neighbours, then LO-RANSAC, in each scene of the candidate."""

    def __init__(self, landmark_map: LandmarkMap, *, matcher: NearestNeighbourMatcher, pose: PoseConfig) -> None:
        self._map, self._matcher, self._pose = landmark_map, matcher, pose

    def solve(self, observation: Observation, candidate: Candidate) -> list[Hypothesis]:
        """One hypothesis for each of the scenes with most matches."""
        clock = observation.clock
        with clock.stage("matching"):
            matches = self._matcher.match(observation, candidate)
        hypotheses = []
        for of_scene in matches.by_scene(self._map)[:_MAX_SCENES]:
            with clock.stage("pose"):
                estimate = estimate_pose_with_covariance(self._pose, of_scene, observation.query)
            if estimate is not None:  # all keypoints determine a pose better than a sample of them
                estimate = replace(estimate, covariance=estimate.covariance / candidate.every)
            hypotheses.append(Hypothesis(candidate, of_scene, estimate))
        return hypotheses
