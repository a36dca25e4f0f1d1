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

"""The result of a query: a pose with its covariance, or a typed refusal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose


class Status(Enum):
    """Outcome of a query, in the order of progress."""

    NO_FEATURES = "no_features"
    NO_CANDIDATES = "no_candidates"
    TOO_FEW_MATCHES = "too_few_matches"
    POSE_REJECTED = "pose_rejected"
    AMBIGUOUS = "ambiguous"
    HELD = "held"
    OK = "ok"


_PROGRESS = {status: rank for rank, status in enumerate(Status)}


@dataclass(frozen=True, slots=True, eq=False)
class LocalizationResult:
    """The result of one query.

    Attributes:
        status: `OK`, or why there is no pose.
        map_from_rig: the pose, only when `OK`.
        covariance: (6, 6) of the position of the rig origin in the map frame and of a left rotation about the map's
            axes, order x y z rx ry rz (metres², metres·radians, radians²), only when `OK`.
        frame_id: of the scene that the pose is in, only when `OK`.
        matches: number of 2D-3D matches of the best estimate. Where a sample of the keypoints decided, number of the
            guided matches of all keypoints, to which the pose was refined.
        inliers: number of those that agree with it.
        confidence: probability that the pose of the best hypothesis is right, accepted or not; 0 where there is none.
        candidate: name of the candidate that the estimate came from, empty when none was matched.
        reason: one readable sentence, empty when `OK`.
        inlier_xy: (M, 2) float32 pixels of the inliers, over all views in order.
        inlier_points: (M,) int64 indices of their map points.
        inlier_views: (M,) int32 index of the view of each.
        keypoints: number of keypoints over all views.
        times_ms: milliseconds by stage name, in the order of their start: `candidates`, `features`, `matching`, `pose`,
            `verification`. Each is the sum over all candidates.
        frame_covariance: (6, 6) the part of the covariance that poses nearby have in common: how the map lies in its
            frame. It says nothing of how far two poses are from each other.
    """

    status: Status
    map_from_rig: Pose | None = None
    covariance: Array | None = None
    frame_id: str = ""
    matches: int = 0
    inliers: int = 0
    confidence: float = 0.0
    candidate: str = ""
    reason: str = ""
    inlier_xy: Array = field(default_factory=lambda: np.zeros((0, 2), np.float32))
    inlier_points: Array = field(default_factory=lambda: np.zeros(0, np.int64))
    inlier_views: Array = field(default_factory=lambda: np.zeros(0, np.int32))
    keypoints: int = 0
    times_ms: dict[str, float] = field(default_factory=dict)
    frame_covariance: Array = field(default_factory=lambda: np.zeros((6, 6)))

    def __post_init__(self) -> None:
        assert (self.map_from_rig is not None) == (self.covariance is not None) == self.ok

    @property
    def ok(self) -> bool:
        """True when a pose was accepted."""
        return self.status is Status.OK

    @staticmethod
    def refused(status: Status, reason: str = "") -> LocalizationResult:
        """A refusal before any estimate."""
        return LocalizationResult(status, reason=reason)

    @property
    def progress(self) -> tuple[int, int]:
        """Greater for a result that progressed further, whose reason is more specific."""
        return _PROGRESS[self.status], self.inliers

    def refused_as(self, status: Status, reason: str) -> LocalizationResult:
        """The same result without its pose: `AMBIGUOUS`, or `HELD` until it is confirmed."""
        return replace(self, status=status, map_from_rig=None, covariance=None, frame_id="", reason=reason)

    def timed(self, times_ms: dict[str, float], keypoints: int) -> LocalizationResult:
        """The same result with the time of its stages and the number of keypoints."""
        return replace(self, times_ms=times_ms, keypoints=keypoints)
