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

"""Evidence for a pose of a moving camera by several clouds of one drive, which odometry holds together.

Little of it depends on how clean images and maps are: it compares the pose with the others that each cloud's search
finds, with odometry, and with the best pose elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.pose_estimation import largest_position_std

_LEAST = 1e-3
# of simulated recordings, rough ones included, most clouds at right poses have this strength and few at wrong ones
_SUFFICES = 0.2
# a cloud that prefers a pose by more could not mean another one
_CLEAR_PREFERENCE = 0.3


@dataclass(frozen=True, slots=True)
class CameraDriveEvidence:
    """Evidence for one hypothesis of a drive; greater is better for every attribute.

    Attributes:
        inliers: natural logarithm of 1 + the different cells of the scene with upright points on surfaces.
        worst: the least of the clouds' strengths, 0.2 at most: more tells of how clean the recording is.
        preference: mean over the clouds of by how much each is stronger here than at the best other pose that its own
            search found, see `measure_preference`.
        consistency: negative natural logarithm of how far the clouds' poses are off odometry, in standard deviations.
        certainty: negative natural logarithm of the position's largest standard deviation, in voxels, before
            calibration.
        margin: by how much the strength is more than that of the best competing pose of the drive, `CLEAR_MARGIN` at
            most and where there is none.
        strength: mean of the clouds' strength, the support less the rays that went through surfaces. Competing poses
            are compared by it; it is no evidence itself.
    """

    inliers: float
    worst: float
    preference: float
    consistency: float
    certainty: float
    margin: float = CLEAR_MARGIN
    strength: float = 0.0

    def values(self) -> Array:
        """(E,) float64, in the order of `CAMERA_DRIVE_EVIDENCE`."""
        return np.array([getattr(self, name) for name in CAMERA_DRIVE_EVIDENCE])


CAMERA_DRIVE_EVIDENCE = tuple(item.name for item in fields(CameraDriveEvidence) if item.name != "strength")


def measure_drive_evidence(
    clouds: Sequence[CameraEvidence],
    cells: Sequence[Array],
    preferences: Sequence[float],
    deviations: Sequence[float],
    covariance: Array,
    *,
    voxel_m: float,
) -> CameraDriveEvidence:
    """What the clouds of a drive say together for a pose, without the margin.

    Args:
        clouds: the evidence of each at its pose.
        cells: of each, numbers of the scene's cells with upright points on surfaces.
        preferences: of each, see `measure_preference`.
        deviations: of each but the first, how far its pose is off that of the one before and odometry, in standard
            deviations.
        covariance: (6, 6) of the pose by all clouds, not calibrated.
        voxel_m: size of the map's voxels.
    """
    root_mean_square = float(np.sqrt(np.mean(np.square(deviations))))
    return CameraDriveEvidence(
        inliers=float(np.log1p(len(np.unique(np.concatenate(cells))))),
        worst=min(_SUFFICES, *(one.strength for one in clouds)),
        preference=_mean(preferences),
        consistency=_log_of(root_mean_square),
        certainty=_log_of(largest_position_std(covariance) / voxel_m),
        strength=_mean([one.strength for one in clouds]),
    )


def measure_preference(at: CameraEvidence, others: Sequence[float]) -> float:
    """By how much a cloud is stronger at a pose than at the best other one, 0.3 at most either way.

    A cloud whose certain points lie more than a voxel off the surfaces, at the median, prefers no pose: without certain
    points it fits anything.

    Args:
        at: its evidence at the pose.
        others: strengths of the other poses that its own search found.
    """
    by = at.strength - max(others, default=-np.inf)
    return float(np.clip(by, -_CLEAR_PREFERENCE, _CLEAR_PREFERENCE if at.fit > 0.0 else 0.0))


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def _log_of(value: float) -> float:
    return -float(np.log(np.clip(value, _LEAST, 1.0 / _LEAST)))
