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

"""The covariance of a scan's pose by the surfaces that it was aligned with."""

from __future__ import annotations

import numpy as np

from vloc_ros.core.clouds.alignment import SurfaceMatches, find_open_direction
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.pose_estimation import largest_position_std

# noise of normals: a corridor's surfaces hold the position along it by less than this
_NOISE_OF_NORMALS = 0.008
_LEAST_RESIDUAL_VOXELS = 0.02
# 1 / m² or 1 / rad²: a kilometre
_LEAST_INFORMATION = 1e-6


def estimate_covariance(
    matches: SurfaceMatches, on_surface: Array, scene_from_place: Pose, scene_from_rig: Pose, *, voxel_m: float
) -> Array:
    """(6, 6) covariance of the rig in the scene by the point-to-plane matches, not calibrated.

    Where the normals hold the position in some direction by no more than their own noise does, it is left open.
    """
    normals = matches.normals[on_surface] @ scene_from_place.rotation.T
    lever = scene_from_place.apply(matches.points[on_surface]) - scene_from_rig.translation
    jacobian = np.column_stack([normals, np.cross(lever, normals)])
    residuals = np.abs(matches.residuals[on_surface])
    std_m = max(1.4826 * float(np.median(residuals)) if len(residuals) else voxel_m, _LEAST_RESIDUAL_VOXELS * voxel_m)
    information = jacobian.T @ jacobian / std_m**2
    values, vectors = np.linalg.eigh(information)
    covariance = np.asarray((vectors / np.maximum(values, _LEAST_INFORMATION)) @ vectors.T)
    return widen_open_direction(covariance, normals)


def widen_open_direction(covariance: Array, normals: Array) -> Array:
    """(6, 6) covariance where (N, 3) normals hold the position in some direction by hardly more than their noise."""
    held, direction = find_open_direction(normals)
    along = np.concatenate([direction, np.zeros(3)])
    by_noise = min(_NOISE_OF_NORMALS / max(held, _NOISE_OF_NORMALS), 1.0 - 1e-9)
    widened = by_noise / (1.0 - by_noise) * float(along @ covariance @ along) * np.outer(along, along)
    return np.asarray(covariance + widened)


def describe_open_position(covariance: Array, *, most_m: float) -> str:
    """Along which axis a (6, 6) covariance leaves the position more uncertain than allowed; empty where none."""
    std_m = largest_position_std(covariance)
    if std_m <= most_m:
        return ""
    values, vectors = np.linalg.eigh(covariance[:3, :3])
    x, y, z = vectors[:, int(values.argmax())]
    return (
        f"the surfaces leave the position open along ({x:.2f}, {y:.2f}, {z:.2f}), uncertain by {std_m:.2g} m; at "
        f"most {most_m:g} m is allowed"
    )
