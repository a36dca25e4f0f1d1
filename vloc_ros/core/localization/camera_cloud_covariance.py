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

"""The covariance of a camera's pose by the surfaces that its cloud was aligned with, before calibration.

Errors of neighbouring points are alike: they come of the same pair of images, whose relative pose is off. So the
covariance is not that of as many independent points, but how much the pose moves where a part of the view is left out:
the jackknife over clusters, which unlike the sandwich is not too small for few of them (Bell and McCaffrey 2002). The
errors of odometry's scale and of the calibration are common to all parts and come to it, see `camera_errors`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_alignment import CameraAgreement
from vloc_ros.core.localization.camera_cloud_evidence import parts_of_view
from vloc_ros.core.localization.camera_errors import COMMON, CameraErrors
from vloc_ros.core.localization.scan_covariance import widen_open_direction

# 1 / m² or 1 / rad²: a kilometre
_LEAST_INFORMATION = 1e-6
_PART_RAD = np.radians(12.0)
# fewer parts, six of which the pose takes up, say nothing of how far off they are
_LEAST_PARTS, _LEAST_PARTS_OF_HALF, _LEAST_IN_HALF = 8, 2, 20


@dataclass(frozen=True, slots=True, eq=False)
class CameraUncertainty:
    """How far off a camera's pose may be.

    Attributes:
        covariance: (6, 6) of the camera in the scene, not calibrated.
        common_errors: (6, 7) errors of the pose by one standard deviation of each error that all clouds of a drive
            share. The covariance includes them.
        halves_m: distance between the positions by two halves of the cloud.
    """

    covariance: Array
    common_errors: Array
    halves_m: float


def estimate_camera_covariance(
    cloud: CameraCloud, scene_from_camera: Pose, agreement: CameraAgreement, errors: CameraErrors
) -> CameraUncertainty:
    """The covariance of a camera's pose by the surfaces that its cloud was aligned with.

    Of a view that is too narrow for it, the covariance is that of an unknown pose and the distance infinite.

    Args:
        cloud: in the optical frame.
        scene_from_camera: the pose.
        agreement: of the cloud with the scene there.
        errors: of odometry and calibration.
    """
    used = np.flatnonzero(agreement.on_surface)
    jacobian, weights = agreement.linearize(scene_from_camera, used)
    weighted, residuals = jacobian * weights[:, None], agreement.matches.residuals[used]
    information = weighted.T @ jacobian
    parts, which = np.unique(parts_of_view(cloud.points[used], part_rad=_PART_RAD), return_inverse=True)
    if len(parts) < _LEAST_PARTS:
        return CameraUncertainty(np.eye(6) / _LEAST_INFORMATION, np.zeros((6, COMMON)), np.inf)
    normals = agreement.matches.normals[used] @ scene_from_camera.rotation
    deformed = np.einsum("ij,ijk->ik", normals, errors.deform(cloud.select(used)))
    common_errors = -_invert(information) @ weighted.T @ deformed
    moved = _leave_out_each(weighted, jacobian, residuals, which)
    covariance = _invert(information) + (len(parts) - 1) / len(parts) * moved.T @ moved
    covariance = covariance + common_errors @ common_errors.T
    widened = widen_open_direction(covariance, agreement.matches.normals[used])
    is_first = parts % 2 == 0
    halves = (is_first[which], ~is_first[which])
    if min(is_first.sum(), (~is_first).sum()) < _LEAST_PARTS_OF_HALF or min(map(np.sum, halves)) < _LEAST_IN_HALF:
        return CameraUncertainty(widened, common_errors, np.inf)
    halves_m = _distance_of_halves(weighted, jacobian, residuals, halves)
    return CameraUncertainty(widened, common_errors, halves_m)


def _leave_out_each(weighted: Array, jacobian: Array, residuals: Array, which: Array) -> Array:
    """(P, 6) steps of Gauss and Newton of the pose where each of some parts of the points is left out."""
    order = np.argsort(which, kind="stable")
    first = np.flatnonzero(np.diff(which[order], prepend=-1))
    products = weighted[order, :, None] * jacobian[order, None, :]
    parts = np.add.reduceat(products, first)
    gradients = np.add.reduceat(weighted[order] * residuals[order, None], first)
    return np.asarray((_invert(parts.sum(axis=0) - parts) @ gradients[:, :, None])[:, :, 0])


def _distance_of_halves(weighted: Array, jacobian: Array, residuals: Array, halves: tuple[Array, Array]) -> float:
    """Metres between the positions that two halves of the points lead to by a step of Gauss and Newton."""
    steps = []
    for half in halves:
        steps.append(_invert(weighted[half].T @ jacobian[half]) @ weighted[half].T @ residuals[half])
    return float(np.linalg.norm(steps[0][:3] - steps[1][:3]))


def _invert(information: Array) -> Array:
    """(..., 6, 6) inverses of information matrices, a kilometre where there is none."""
    values, vectors = np.linalg.eigh((information + np.swapaxes(information, -1, -2)) / 2)
    shares = vectors / np.maximum(values, _LEAST_INFORMATION)[..., None, :]
    return np.asarray(shares @ np.swapaxes(vectors, -1, -2))
