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

"""Poses of a moving camera that several clouds of one drive tell of together, held together by odometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_drive_evidence import measure_drive_evidence
from vloc_ros.core.localization.camera_errors import COMMON, CameraErrors

# added to what covariances and drift allow: half a voxel, and half a degree
_FLOOR_VOXELS, _FLOOR_RAD = 0.5, np.radians(0.5)
# a cloud that hardly determines its position agrees with no more than this
_MOST_STD_VOXELS = 2.0
# standard deviations that a cloud which does not agree is off
_DISAGREES = 10.0


@dataclass(frozen=True, slots=True, eq=False)
class DriveHypothesis:
    """Where the clouds of a drive may have been seen from.

    Attributes:
        at: the hypothesis of each cloud, in the order of time, all in one scene.
        agrees: whether each was aligned near where odometry has it; the others are where odometry has them.
        preferences: by how much each is stronger here than at the best other pose that its own search found.
    """

    at: tuple[CameraHypothesis, ...]
    agrees: tuple[bool, ...]
    preferences: tuple[float, ...]


def join_drive(
    one: DriveHypothesis,
    odom_from_camera: Sequence[Pose],
    *,
    errors: CameraErrors,
    voxel_m: float,
) -> CameraHypothesis:
    """The hypothesis of the last cloud's camera by all of them, without the margin.

    Args:
        one: of the drive, of two clouds at least.
        odom_from_camera: of each cloud.
        errors: of odometry and calibration.
        voxel_m: size of the map's voxels.
    """
    pose, covariance, common_errors = _fuse(one, odom_from_camera, errors, voxel_m)
    clouds = [at.evidence for at in one.at if isinstance(at.evidence, CameraEvidence)]
    evidence = measure_drive_evidence(
        clouds,
        [at.cells for at in one.at],
        one.preferences,
        _measure_deviations(one, odom_from_camera, errors, voxel_m),
        covariance,
        voxel_m=voxel_m,
    )
    last = one.at[-1]
    # a scene is shifted in the map's frame, not turned
    origin = last.map_from_camera.translation - last.scene_from_camera.translation
    return CameraHypothesis(
        last.scene,
        last.frame_id,
        pose,
        Pose(pose.rotation, pose.translation + origin),
        evidence,
        covariance,
        common_errors,
        sum(at.points for at in one.at),
        np.unique(np.concatenate([at.cells for at in one.at])),
    )


def _fuse(
    one: DriveHypothesis, odom_from_camera: Sequence[Pose], errors: CameraErrors, voxel_m: float
) -> tuple[Pose, Array, Array]:
    """The last camera's pose by all clouds that agree, by their information, its covariance and its common errors.

    The errors that all clouds share are unknowns beside the six of the pose. The covariance is wider where the clouds
    show the same surfaces, and where they are further apart than they should be.
    """
    reference, information = one.at[-1].scene_from_camera, np.diag(np.repeat([0.0, 1.0], [6, COMMON]))
    total = np.zeros(6 + COMMON)
    known = list[tuple[Array, Array, Array]]()
    for at, odom, agrees in zip(one.at, odom_from_camera, one.agrees, strict=True):
        if agrees:
            camera_from_last = odom.inverse() @ odom_from_camera[-1]
            carried = _carry(at, camera_from_last, errors)
            error = (at.scene_from_camera @ camera_from_last).error_to(reference)
            inverse = np.linalg.inv(carried.covariance + _floor(voxel_m))
            by_both = np.column_stack([np.eye(6), carried.common_errors])
            known.append((error, inverse, by_both))
            information += by_both.T @ inverse @ by_both
            total += by_both.T @ inverse @ error
    covariance = np.linalg.inv(information)
    found = covariance @ total
    off = [(error - by_both @ found, inverse) for error, inverse, by_both in known]
    scatter = float(found[6:] @ found[6:]) + sum(float(e @ inverse @ e) for e, inverse in off)
    wider = max(1.0, scatter / (6 * (len(off) - 1))) if len(off) > 1 else 1.0
    cells = [at.cells for at in one.at]
    alike = sum(map(len, cells)) / max(len(np.unique(np.concatenate(cells))), 1)
    turn = Pose.from_rotation_vector(found[3:6], np.zeros(3)).rotation
    pose = Pose(turn @ reference.rotation, reference.translation + found[:3])
    return pose, wider * max(alike, 1.0) * covariance[:6, :6], -covariance[:6, 6:]


def _measure_deviations(
    one: DriveHypothesis, odom_from_camera: Sequence[Pose], errors: CameraErrors, voxel_m: float
) -> list[float]:
    """How far each cloud but the first is off the one before and odometry, in standard deviations."""
    deviations = list[float]()
    for k in range(1, len(one.at)):
        before, at = one.at[k - 1], one.at[k]
        if not (one.agrees[k - 1] and one.agrees[k]):
            deviations.append(_DISAGREES)
            continue
        step = odom_from_camera[k - 1].inverse() @ odom_from_camera[k]
        error = (before.scene_from_camera @ step).error_to(at.scene_from_camera)
        carried, here = _carry(before, step, errors), _carry(at, Pose.identity(), errors)
        apart = carried.common_errors - here.common_errors
        known = [_limit(covariance, voxel_m) for covariance in (carried.covariance, here.covariance)]
        allowed = known[0] + known[1] + apart @ apart.T + _floor(voxel_m)
        deviations.append(min(float(np.sqrt(error @ np.linalg.solve(allowed, error) / 6)), _DISAGREES))
    return deviations


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    """How far off another pose of the camera is, which odometry has from that of a cloud.

    Attributes:
        covariance: (6, 6) without the common errors.
        common_errors: (6, 7) by one standard deviation of each.
    """

    covariance: Array
    common_errors: Array


def _carry(at: CameraHypothesis, camera_from_other: Pose, errors: CameraErrors) -> _Carried:
    shift = at.scene_from_camera.rotation @ camera_from_other.translation
    own = at.covariance - at.common_errors @ at.common_errors.T
    moved = carry_covariance(own, at.scene_from_camera, camera_from_other)
    of_cloud = at.common_errors.copy()
    of_cloud[:3] += np.cross(of_cloud[3:].T, shift).T
    of_way = errors.displace(at.scene_from_camera.rotation, camera_from_other.rotation, shift)
    return _Carried(moved + errors.drift_by_yaw(shift), of_cloud + of_way)


def _limit(covariance: Array, voxel_m: float) -> Array:
    """The covariance, with the position in no direction less certain than some voxels."""
    values, vectors = np.linalg.eigh(covariance[:3, :3])
    smaller = np.minimum(1.0, _MOST_STD_VOXELS * voxel_m / np.sqrt(np.maximum(values, 1e-12)))
    shrink = np.eye(6)
    shrink[:3, :3] = (vectors * smaller) @ vectors.T
    return np.asarray(shrink @ covariance @ shrink.T)


def _floor(voxel_m: float) -> Array:
    return np.diag(np.repeat([(_FLOOR_VOXELS * voxel_m) ** 2, _FLOOR_RAD**2], 3))
