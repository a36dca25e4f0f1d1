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
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.geometry.covariance import carry_covariance
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_decision import CameraHypothesis
from vloc_ros.core.localization.camera_cloud_evidence import CameraEvidence
from vloc_ros.core.localization.camera_drive_evidence import measure_drive_evidence

# added to what covariances and drift allow: half a voxel, and half a degree
_FLOOR_VOXELS, _FLOOR_RAD = 0.5, np.radians(0.5)
# a cloud that hardly determines its position agrees with no more than this
_MOST_STD_VOXELS = 2.0
# standard deviations that a cloud which does not agree is off
_DISAGREES = 10.0


@dataclass(frozen=True, slots=True)
class OdometryDrift:
    """How far odometry of a camera is off after some distance.

    Attributes:
        scale_std: standard deviation of the relative error of distances.
        yaw_std_rad: standard deviation of the yaw after one metre; it grows with the square root of the distance.
    """

    scale_std: float = 0.01
    yaw_std_rad: float = np.radians(0.1)

    def covariance(self, shift: Array, *, travelled_m: float = 0.0) -> Array:
        """(6, 6) of the pose after a (3,) shift, metres, in the axes that the shift is in.

        Args:
            shift: from the first pose to the second.
            travelled_m: length of the path between them, where it is longer than the shift, as of a loop.
        """
        distance_m = max(float(np.linalg.norm(shift)), travelled_m)
        sideways = np.cross([0.0, 0.0, 1.0], shift)
        yaw_variance = self.yaw_std_rad**2 * distance_m
        of_position = self.scale_std**2 * np.outer(shift, shift) + yaw_variance / 3 * np.outer(sideways, sideways)
        # what a path goes there and back leaves no shift, but its errors stay, in any horizontal direction
        detour_m2 = distance_m**2 - float(shift @ shift)
        of_position += (self.scale_std**2 + yaw_variance / 3) / 4 * detour_m2 * np.diag([1.0, 1.0, 0.0])
        covariance = np.zeros((6, 6))
        covariance[:3, :3], covariance[5, 5] = of_position, yaw_variance
        return covariance


@dataclass(frozen=True, slots=True, eq=False)
class DriveHypothesis:
    """Where the clouds of a drive may have been seen from.

    Attributes:
        at: the hypothesis of each cloud, in the order of time, all in one scene.
        agrees: whether each was aligned near where odometry has it; the others are where odometry has them.
        found: whether its own search found the pose.
        first: whether the pose is the strongest that its own search found.
    """

    at: tuple[CameraHypothesis, ...]
    agrees: tuple[bool, ...]
    found: tuple[bool, ...]
    first: tuple[bool, ...]


def join_drive(
    one: DriveHypothesis,
    odom_from_camera: Sequence[Pose],
    *,
    drift: OdometryDrift,
    voxel_m: float,
) -> CameraHypothesis:
    """The hypothesis of the last cloud's camera by all of them, without the margin.

    Args:
        one: of the drive, of two clouds at least.
        odom_from_camera: of each cloud.
        drift: of odometry.
        voxel_m: size of the map's voxels.
    """
    pose, covariance, scale_error = _fuse(one, odom_from_camera, drift, voxel_m)
    clouds = [at.evidence for at in one.at if isinstance(at.evidence, CameraEvidence)]
    evidence = measure_drive_evidence(
        clouds,
        [at.cells for at in one.at],
        one.found,
        one.first,
        _measure_deviations(one, odom_from_camera, drift, voxel_m),
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
        scale_error,
        sum(at.points for at in one.at),
        np.unique(np.concatenate([at.cells for at in one.at])),
    )


def _fuse(
    one: DriveHypothesis, odom_from_camera: Sequence[Pose], drift: OdometryDrift, voxel_m: float
) -> tuple[Pose, Array, Array]:
    """The last camera's pose by all clouds that agree, by their information, its covariance and the error by the scale.

    The error of odometry's scale is one unknown that all clouds share, beside the six of the pose. The covariance is
    wider where the clouds show the same surfaces, and where they are further apart than they should be.
    """
    reference, information, total = one.at[-1].scene_from_camera, np.diag(np.repeat([0.0, 1.0], [6, 1])), np.zeros(7)
    known = list[tuple[Array, Array, Array]]()
    for at, odom, agrees in zip(one.at, odom_from_camera, one.agrees, strict=True):
        if agrees:
            camera_from_last = odom.inverse() @ odom_from_camera[-1]
            carried = _carry(at, camera_from_last, drift)
            error = (at.scene_from_camera @ camera_from_last).error_to(reference)
            inverse = np.linalg.inv(carried.covariance + _floor(voxel_m))
            by_both = np.column_stack([np.eye(6), carried.scale_error])
            known.append((error, inverse, by_both))
            information += by_both.T @ inverse @ by_both
            total += by_both.T @ inverse @ error
    covariance = np.linalg.inv(information)
    found = covariance @ total
    off = [(error - by_both @ found, inverse) for error, inverse, by_both in known]
    scatter = float(found[6] ** 2) + sum(float(e @ inverse @ e) for e, inverse in off)
    wider = max(1.0, scatter / (6 * (len(off) - 1))) if len(off) > 1 else 1.0
    cells = [at.cells for at in one.at]
    alike = sum(map(len, cells)) / max(len(np.unique(np.concatenate(cells))), 1)
    turn = Pose.from_rotation_vector(found[3:6], np.zeros(3)).rotation
    pose = Pose(turn @ reference.rotation, reference.translation + found[:3])
    return pose, wider * max(alike, 1.0) * covariance[:6, :6], -covariance[:6, 6]


def _measure_deviations(
    one: DriveHypothesis, odom_from_camera: Sequence[Pose], drift: OdometryDrift, voxel_m: float
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
        carried, here = _carry(before, step, drift), _carry(at, Pose.identity(), drift)
        by_scale = carried.scale_error - here.scale_error
        known = [_limit(covariance, voxel_m) for covariance in (carried.covariance, here.covariance)]
        allowed = known[0] + known[1] + np.outer(by_scale, by_scale) + _floor(voxel_m)
        deviations.append(min(float(np.sqrt(error @ np.linalg.solve(allowed, error) / 6)), _DISAGREES))
    return deviations


@dataclass(frozen=True, slots=True, eq=False)
class _Carried:
    """How far off another pose of the camera is, which odometry has from that of a cloud.

    Attributes:
        covariance: (6, 6) without the error of odometry's scale.
        scale_error: (6,) of one standard deviation of the scale.
    """

    covariance: Array
    scale_error: Array


def _carry(at: CameraHypothesis, camera_from_other: Pose, drift: OdometryDrift) -> _Carried:
    shift = at.scene_from_camera.rotation @ camera_from_other.translation
    own = at.covariance - np.outer(at.scale_error, at.scale_error)
    moved = carry_covariance(own, at.scene_from_camera, camera_from_other)
    of_cloud = at.scale_error + np.concatenate([np.cross(at.scale_error[3:], shift), np.zeros(3)])
    return _Carried(
        moved + replace(drift, scale_std=0.0).covariance(shift),
        of_cloud + drift.scale_std * np.concatenate([shift, np.zeros(3)]),
    )


def _limit(covariance: Array, voxel_m: float) -> Array:
    """The covariance, with the position in no direction less certain than some voxels."""
    values, vectors = np.linalg.eigh(covariance[:3, :3])
    smaller = np.minimum(1.0, _MOST_STD_VOXELS * voxel_m / np.sqrt(np.maximum(values, 1e-12)))
    shrink = np.eye(6)
    shrink[:3, :3] = (vectors * smaller) @ vectors.T
    return np.asarray(shrink @ covariance @ shrink.T)


def _floor(voxel_m: float) -> Array:
    return np.diag(np.repeat([(_FLOOR_VOXELS * voxel_m) ** 2, _FLOOR_RAD**2], 3))
