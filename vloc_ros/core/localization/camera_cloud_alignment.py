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

"""Alignment of a moving camera's cloud to the surfaces of a map: iterated closest points, point to plane.

Each point counts by its uncertainty along its ray, under the loss of Geman and McClure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vloc_ros.core.clouds.alignment import CloudRegistration, PreparedCloud, SurfaceMatches
from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.geometry.pose import Array, Pose

LEAST_POINTS = 200
_SURFACE_VOXELS, _BEND = 0.3, 1.5
_CONVERGED = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class CameraAgreement:
    """How a camera's cloud and the surfaces of a map agree at a pose.

    Attributes:
        matches: of every point of the cloud.
        stds: (N,) metres, standard deviation of each residual along the normal of its surface.
        on_surface: (N,) bool, points that lie on a surface as far as their noise says.
    """

    matches: SurfaceMatches
    stds: Array
    on_surface: Array

    @property
    def support(self) -> float:
        """Share of the cloud's points that lie on surfaces of the map, 0 to 1."""
        return float(self.on_surface.mean())

    def linearize(self, pose: Pose, used: Array) -> tuple[Array, Array]:
        """(M, 6) Jacobian of some residuals by the pose, and (M,) weights under the robust loss, 1 / metres².

        The pose changes by a shift of the camera and a left rotation about the map's axes.
        """
        normals, stds = self.matches.normals[used], self.stds[used]
        weights = 1.0 / (stds * (1.0 + (self.matches.residuals[used] / (_BEND * stds)) ** 2)) ** 2
        lever = self.matches.points[used] - pose.translation
        return np.column_stack([normals, np.cross(lever, normals)]), weights


@dataclass(frozen=True, slots=True, eq=False)
class CameraAlignment:
    """Aligns clouds of a camera with those of a map.

    Attributes:
        registration: finds the nearest surfaces.
        voxel_m: size of the voxels that it down-samples to.
    """

    registration: CloudRegistration
    voxel_m: float

    def align(
        self, cloud: CameraCloud, target: PreparedCloud, start: Pose, *, reaches: Sequence[float], most: int
    ) -> tuple[Pose, CameraAgreement] | None:
        """The pose at the next optimum and how the cloud agrees there; None where nothing is near.

        Args:
            cloud: in the optical frame.
            target: the map.
            start: target_from_camera.
            reaches: largest distances of matches, in voxels, one after the other.
            most: iterations of each.
        """
        pose = start
        for reach in reaches:
            for _ in range(most):
                agreement = self.compare(cloud, target, pose)
                near = agreement.matches.distances < reach * self.voxel_m
                if near.sum() < LEAST_POINTS / 4:
                    return None
                jacobian, weights = agreement.linearize(pose, near)
                information = jacobian.T @ (jacobian * weights[:, None])
                gradient = jacobian.T @ (weights * agreement.matches.residuals[near])
                step = -np.linalg.solve(information + 1e-6 * np.eye(6), gradient)
                turned = Pose.from_rotation_vector(step[3:], np.zeros(3)).rotation @ pose.rotation
                pose = Pose(turned, pose.translation + step[:3])
                if np.linalg.norm(step) < _CONVERGED:
                    break
        return pose, self.compare(cloud, target, pose)

    def compare(self, cloud: CameraCloud, target: PreparedCloud, pose: Pose) -> CameraAgreement:
        """How a cloud and a map agree at a pose, target_from_camera."""
        surface_m = _SURFACE_VOXELS * self.voxel_m
        matches = self.registration.match(cloud, target, pose)
        across = np.einsum("ij,ij->i", cloud.rays @ pose.rotation.T, matches.normals)
        stds = np.asarray(np.hypot(surface_m, across * cloud.stds_m))
        near = matches.distances < 3 * surface_m + 2 * cloud.stds_m
        return CameraAgreement(matches, stds, near & (np.abs(matches.residuals) < 2 * stds))
