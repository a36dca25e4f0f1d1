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

"""Evidence for a pose of a scan: how well the scan and a place of the map agree there, as a few named numbers.

For each more is better. What they weigh is fitted, see `acceptance`. What lies flat counts for none of them but the
covariance: there is level ground everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vloc_ros.core.clouds.alignment import PreparedCloud, SurfaceMatches, find_open_direction, share_seen_through
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.evidence import CLEAR_MARGIN

# of a surface that is upright, the vertical part of its normal is less
_UPRIGHT = 0.7
# points lie on a surface within so many voxels
_ON_SURFACE_VOXELS = 1.5
# and on the plane of one within so many
_ON_PLANE_VOXELS = 0.25
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class CloudEvidence:
    """Evidence for one hypothesis; greater is better for every attribute.

    Attributes:
        inliers: natural logarithm of 1 + the upright points of the scan that lie on surfaces of the place.
        overlap: share of the scan's upright points that do, of those within the place's range.
        overlap_of_place: share of the place's upright points that lie on surfaces of the scan.
        fine_overlap: the mean of both, of points that lie on the planes of those surfaces within a quarter of a voxel.
        free_space: share of the place's points that no ray of the scan went through.
        free_space_of_place: share of the scan's points that no ray of the place's scan went through.
        fit: negative natural logarithm of the inliers' median distance from their surfaces, in voxels.
        constraint: natural logarithm of how much the inliers' normals hold the position in its worst direction.
        margin: by how much it overlaps better than the best competing pose, `CLEAR_MARGIN` at most and where there is
            none.
    """

    inliers: float
    overlap: float
    overlap_of_place: float
    fine_overlap: float
    free_space: float
    free_space_of_place: float
    fit: float
    constraint: float
    margin: float = CLEAR_MARGIN

    @property
    def support(self) -> float:
        """What competing poses are compared by: the overlap both ways, less the rays that went through surfaces."""
        seen_through = 2.0 - self.free_space - self.free_space_of_place
        return (self.overlap + self.overlap_of_place) / 2 - seen_through / 2

    def values(self) -> Array:
        """(E,) float64, in the order of `CLOUD_EVIDENCE`."""
        return np.array([getattr(self, name) for name in CLOUD_EVIDENCE])


CLOUD_EVIDENCE = tuple(item.name for item in fields(CloudEvidence))


@dataclass(frozen=True, slots=True, eq=False)
class CloudAgreement:
    """How a scan and a place agree at a pose.

    Attributes:
        evidence: without the margin.
        on_surface: (N,) bool, points of the scan that lie on a surface of the place, level ones too.
        upright: number of upright points of the scan within the place's range.
    """

    evidence: CloudEvidence
    on_surface: Array
    upright: int


def measure_agreement(
    scan: PreparedCloud,
    place: PreparedCloud,
    place_from_scan: Pose,
    matches: SurfaceMatches,
    matches_of_place: SurfaceMatches,
    *,
    voxel_m: float,
    range_m: float,
) -> CloudAgreement:
    """How a scan and a place agree at a pose.

    Args:
        scan: in the frame of its sensor, z up.
        place: in the frame of its sensor, z up.
        place_from_scan: the pose.
        matches: of the scan's points with the place.
        matches_of_place: of the place's points with the scan.
        voxel_m: size of their voxels.
        range_m: the place's points are not further from its sensor.
    """
    tolerance_m = _ON_SURFACE_VOXELS * voxel_m
    on_surface = (matches.distances < tolerance_m) & (np.abs(matches.residuals) < tolerance_m)
    upright = _is_upright(scan.normals @ place_from_scan.rotation.T)
    upright &= np.linalg.norm(matches.points, axis=1) < range_m
    place_upright = _is_upright(place.normals)
    place_upright &= np.linalg.norm(matches_of_place.points, axis=1) < range_m
    count, inliers = int(upright.sum()), upright & on_surface
    constraint, _ = find_open_direction(matches.normals[on_surface])
    fine = [_on_plane(matches, voxel_m)[upright], _on_plane(matches_of_place, voxel_m)[place_upright]]
    evidence = CloudEvidence(
        inliers=float(np.log1p(inliers.sum())),
        overlap=float(inliers.sum()) / max(count, 1),
        overlap_of_place=_mean(matches_of_place.distances[place_upright] < tolerance_m),
        fine_overlap=float(np.mean([_mean(one) for one in fine])),
        free_space=1.0 - share_seen_through(matches_of_place.points[place_upright], scan.points, voxel_m=voxel_m),
        free_space_of_place=1.0 - share_seen_through(matches.points[upright], place.points, voxel_m=voxel_m),
        fit=_fit(np.abs(matches.residuals[inliers]), voxel_m),
        constraint=float(np.log(max(constraint, _LEAST))),
    )
    return CloudAgreement(evidence, on_surface, count)


def _is_upright(normals: Array) -> Array:
    return np.asarray(np.abs(normals[:, 2]) < _UPRIGHT)


def _on_plane(matches: SurfaceMatches, voxel_m: float) -> Array:
    near = matches.distances < _ON_SURFACE_VOXELS * voxel_m
    return np.asarray(near & (np.abs(matches.residuals) < _ON_PLANE_VOXELS * voxel_m))


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def _fit(residuals_m: Array, voxel_m: float) -> float:
    median_m = float(np.median(residuals_m)) if len(residuals_m) else voxel_m
    return -float(np.log(max(median_m / voxel_m, _LEAST)))
