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

"""The decision on poses of a moving camera by its cloud: the best is accepted, or all are refused with a reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.geometry.covariance import CovarianceCalibration, apply_calibration
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.acceptance import CAMERA_KIND, DRIVE_KIND, AcceptanceModel
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_drive_evidence import CameraDriveEvidence
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.result import LocalizationResult, Status
from vloc_ros.core.localization.scan_covariance import describe_open_position
from vloc_ros.core.map.landmark_map import LandmarkMap

# names of what won, by the kind of the table that decided
_CANDIDATES = {CAMERA_KIND: "camera/lidar", DRIVE_KIND: "camera/lidar/drive"}


@dataclass(frozen=True, slots=True, eq=False)
class CameraHypothesis:
    """A pose that the camera may have.

    Attributes:
        scene: number of the scene.
        frame_id: of the scene.
        scene_from_camera: the pose of the optical frame, from the scene's origin.
        map_from_camera: the same in the map's frame.
        evidence: with the margin over the best other pose.
        covariance: (6, 6) of the camera in the map's frame, not calibrated.
        common_errors: (6, 7) errors of the pose by one standard deviation of each error that all clouds of a drive
            share, in the map's axes, see `CameraErrors`. The covariance includes them.
        points: of the cloud that were compared.
        cells: (C,) int64 ascending numbers of the scene's cells with upright points of the cloud on surfaces.
    """

    scene: int
    frame_id: str
    scene_from_camera: Pose
    map_from_camera: Pose
    evidence: CameraEvidence | CameraDriveEvidence
    covariance: Array
    common_errors: Array
    points: int
    cells: Array


@dataclass(frozen=True, slots=True, eq=False)
class CameraDecision:
    """Accepts the best hypothesis of a query, or refuses all of them.

    Attributes:
        model: scores hypotheses by their evidence.
        calibration: of the covariance.
        false_accept_rate: that is tolerated; 0 is the smallest that the negatives support.
        negative_share: of all queries, for the confidence.
        max_position_std_m: a position that is less certain in some direction is refused.
    """

    model: AcceptanceModel
    calibration: CovarianceCalibration
    false_accept_rate: float
    negative_share: float
    max_position_std_m: float

    def decide(self, found: Sequence[CameraHypothesis], landmark_map: LandmarkMap) -> LocalizationResult:
        """The pose of the camera as that of the rig, its optical frame."""
        if not found:
            return LocalizationResult.refused(
                Status.NO_CANDIDATES, "no surfaces of the map are near the camera's cloud"
            )
        best, threshold = self.rank(found)[0], self.model.threshold(self.false_accept_rate)
        score = self.model.score(best.evidence)
        result = self.publish(best, landmark_map)
        assert result.covariance is not None
        if reason := describe_open_position(result.covariance, most_m=self.max_position_std_m):
            return result.refused_as(Status.POSE_REJECTED, reason)
        if score >= threshold:
            return result
        needed = self.model.confidence(threshold, self.negative_share)
        needs = f"confidence {result.confidence:.1%}, at least {needed:.1%} is needed"
        if self.model.score(replace(best.evidence, margin=CLEAR_MARGIN)) >= threshold:
            margin = f"by a margin of {best.evidence.margin:+.1%}"
            reason = f"a competing pose explains the camera's cloud about as well, {margin}; {needs}"
            return result.refused_as(Status.AMBIGUOUS, reason)
        return result.refused_as(Status.POSE_REJECTED, f"{self.model.explain(best.evidence)}: {needs}")

    def rank(self, found: Sequence[CameraHypothesis]) -> list[CameraHypothesis]:
        """The hypotheses by their score, best first; of equal ones, by their strength."""
        return sorted(found, key=lambda one: (-self.model.score(one.evidence), -one.evidence.strength))

    def publish(self, one: CameraHypothesis, landmark_map: LandmarkMap) -> LocalizationResult:
        """What is published where it is accepted."""
        of_frame = landmark_map.scenes[one.scene].frame_uncertainty.at(one.scene_from_camera.translation)
        return LocalizationResult(
            Status.OK,
            map_from_rig=one.map_from_camera,
            covariance=apply_calibration(one.covariance, self.calibration) + of_frame,
            frame_covariance=of_frame,
            frame_id=one.frame_id,
            matches=one.points,
            inliers=int(np.expm1(one.evidence.inliers).round()),
            confidence=self.model.confidence(self.model.score(one.evidence), self.negative_share),
            candidate=_CANDIDATES[self.model.kind],
        )


def to_metres(calibration: CovarianceCalibration, *, voxel_m: float) -> CovarianceCalibration:
    """A calibration whose floor of the position is in voxels², for a map of such voxels."""
    return replace(calibration, floor=calibration.floor * np.repeat([voxel_m**2, 1.0], 3))
