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

"""Consistency of the cameras of a rig: a view whose matches support another pose than the common one contradicts it."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import replace

import numpy as np

from vloc_ros.core.config import PoseConfig
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.evidence import SUPPORTING_INLIERS
from vloc_ros.core.localization.hypotheses import Hypothesis
from vloc_ros.core.localization.observation import Observation
from vloc_ros.core.localization.pose_estimation import PoseEstimate, estimate_pose_with_covariance

# a view with so many times more inliers to a pose of its own contradicts the common one
_INCONSISTENT_RATIO = 1.25


class RigConsistency:
    """Compares the common pose of a rig with the poses of its views by themselves."""

    def __init__(self, *, pose: PoseConfig, accepts: Callable[[Hypothesis, PoseEstimate, Observation], bool]) -> None:
        """Consistency of hypotheses.

        Args:
            pose: estimation of a pose from a single view.
            accepts: whether the pose of a single view would be accepted.
        """
        self._pose, self._accepts = pose, accepts

    def drop_inconsistent_views(self, hypothesis: Hypothesis, observation: Observation) -> Hypothesis:
        """A hypothesis estimated again without views that more of the others contradict.

        Chance matches of such a view would pull at the pose.
        """
        assert hypothesis.estimate is not None
        if hypothesis.estimate.inliers.sum() < SUPPORTING_INLIERS:
            return hypothesis
        common, own = self._inconsistent_views(hypothesis, observation)
        if not own or self._supporting_views(common, own) <= len(own):
            return hypothesis
        matches = hypothesis.matches.without_views(list(own))
        estimate = estimate_pose_with_covariance(self._pose, matches, observation.query)
        return replace(hypothesis, matches=matches, estimate=estimate)

    def describe_inconsistency(self, hypothesis: Hypothesis, observation: Observation) -> str:
        """Why the cameras of a rig disagree, in words; empty while most views support the common pose."""
        common, own = self._inconsistent_views(hypothesis, observation)
        if not own or self._supporting_views(common, own) > len(own):
            return ""
        view = max(own, key=lambda view: own[view])
        return (
            f"the cameras of the rig disagree: {common[view]} matches of view {view + 1} of {len(common)} are inliers, "
            f"{own[view]} to a pose of its own; check extrinsics and synchronisation"
        )

    def _inconsistent_views(self, hypothesis: Hypothesis, observation: Observation) -> tuple[Array, dict[int, int]]:
        """(V,) inliers of each view, and the inliers to a pose of its own of each view that has many more of them."""
        assert hypothesis.estimate is not None
        matches = hypothesis.matches
        common = np.bincount(matches.views[hypothesis.estimate.inliers], minlength=len(observation.query.views))
        own = {
            view: self._inliers_of_one_view(hypothesis, view, observation)
            for view in range(len(common))
            if (matches.views == view).sum() > _INCONSISTENT_RATIO * common[view]  # fewer matches contradict nothing
        }
        return common, {view: count for view, count in own.items() if count > _INCONSISTENT_RATIO * common[view]}

    def _supporting_views(self, common: Array, inconsistent: Container[int]) -> int:
        return sum(count >= SUPPORTING_INLIERS for view, count in enumerate(common) if view not in inconsistent)

    def _inliers_of_one_view(self, hypothesis: Hypothesis, view: int, observation: Observation) -> int:
        """Inliers to the pose of one view by itself; none where it would be refused as a single camera's."""
        alone, matches = observation.of_view(view), hypothesis.matches.of_view(view)
        estimate = estimate_pose_with_covariance(self._pose, matches, alone.query)
        if estimate is None or not self._accepts(
            replace(hypothesis, matches=matches, estimate=estimate), estimate, alone
        ):
            return 0
        return int(estimate.inliers.sum())
