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

from vloc_ros.core.clouds.alignment import PreparedCloud, SurfaceMatches, find_open_direction, find_visibility
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.evidence import CLEAR_MARGIN

# of a surface that is upright, the vertical part of its normal is less
_UPRIGHT = 0.7
# points lie on a surface within so many voxels
_ON_SURFACE_VOXELS = 1.5
_LEAST = 1e-3


@dataclass(frozen=True, slots=True)
class CloudEvidence:
    """Evidence for one hypothesis; greater is better for every attribute.

    Upright points of the scan and of the place count, within the place's range. A sensor can confirm a point only if it
    looks there and nothing occludes the point: a scan that is far from the place sees much that the place does not.

    Attributes:
        inliers: natural logarithm of 1 + the points of the scan that lie on surfaces of the place.
        confirmed: share of the points that lie on surfaces of the other cloud, of those that its sensor could see; the
            smaller of the scan's and the place's.
        free_space: share of the points that no ray of the other cloud went through, of those that either lie on its
            surfaces or were seen through; the smaller of both.
        constraint: natural logarithm of how much the inliers' normals hold the position in its worst direction.
        margin: by how much the support is above that of the best competing pose, `CLEAR_MARGIN` at most and where there
            is none.
    """

    inliers: float
    confirmed: float
    free_space: float
    constraint: float
    margin: float = CLEAR_MARGIN

    def values(self) -> Array:
        """(E,) float64, in the order of `CLOUD_EVIDENCE`."""
        return np.array([getattr(self, name) for name in CLOUD_EVIDENCE])


CLOUD_EVIDENCE = tuple(item.name for item in fields(CloudEvidence))


@dataclass(frozen=True, slots=True, eq=False)
class CloudAgreement:
    """How a scan and a place agree at a pose.

    Attributes:
        evidence: without the margin.
        overlap: share of the upright points that lie on surfaces of the other cloud, the mean of both clouds.
        on_surface: (N,) bool, points of the scan that lie on a surface of the place, level ones too.
        upright: number of upright points of the scan within the place's range.
    """

    evidence: CloudEvidence
    overlap: float
    on_surface: Array
    upright: int

    @property
    def support(self) -> float:
        """What competing poses are compared by: what overlaps and is confirmed, less what is contradicted.

        In a corridor all poses along it are confirmed, and the right one overlaps most; of houses that look alike the
        right one is confirmed most.
        """
        return self.overlap + self.evidence.confirmed - (1.0 - self.evidence.free_space)


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
    on_surface = _on_surface(matches, voxel_m)
    upright = _is_upright(scan.normals @ place_from_scan.rotation.T)
    of_scan = _compare(matches, upright, place.points, voxel_m=voxel_m, range_m=range_m)
    of_place = _compare(matches_of_place, _is_upright(place.normals), scan.points, voxel_m=voxel_m, range_m=range_m)
    constraint, _ = find_open_direction(matches.normals[on_surface])
    evidence = CloudEvidence(
        inliers=float(np.log1p(of_scan.on_surface)),
        confirmed=min(of_scan.confirmed, of_place.confirmed),
        free_space=min(of_scan.not_contradicted, of_place.not_contradicted),
        constraint=float(np.log(max(constraint, _LEAST))),
    )
    return CloudAgreement(evidence, (of_scan.overlap + of_place.overlap) / 2, on_surface, of_scan.count)


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Numbers of a cloud's upright points within range.

    Attributes:
        count: of all.
        on_surface: that lie on surfaces of the other cloud.
        visible: that lie on surfaces of the other cloud, or that its sensor could see if they were there.
        seen_through: that do not, and that a ray of the other cloud went through.
    """

    count: int
    on_surface: int
    visible: int
    seen_through: int

    @property
    def overlap(self) -> float:
        return self.on_surface / max(self.count, 1)

    @property
    def confirmed(self) -> float:
        return self.on_surface / max(self.visible, 1)

    @property
    def not_contradicted(self) -> float:
        return self.on_surface / max(self.on_surface + self.seen_through, 1)


def _compare(matches: SurfaceMatches, upright: Array, others: Array, *, voxel_m: float, range_m: float) -> _Comparison:
    """How the upright ones of matched points compare with the (M, 3) points that the other sensor sees."""
    counted = upright & (np.linalg.norm(matches.points, axis=1) < range_m)
    visibility = find_visibility(matches.points, others, voxel_m=voxel_m)
    on_surface = counted & _on_surface(matches, voxel_m)
    seen_through = counted & visibility.seen_through & ~on_surface
    visible = on_surface | seen_through | (counted & visibility.in_view)
    return _Comparison(*(int(rows.sum()) for rows in (counted, on_surface, visible, seen_through)))


def _on_surface(matches: SurfaceMatches, voxel_m: float) -> Array:
    tolerance_m = _ON_SURFACE_VOXELS * voxel_m
    return np.asarray((matches.distances < tolerance_m) & (np.abs(matches.residuals) < tolerance_m))


def _is_upright(normals: Array) -> Array:
    return np.asarray(np.abs(normals[:, 2]) < _UPRIGHT)
