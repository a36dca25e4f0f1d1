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

"""Evidence for a pose of a moving camera by its cloud: how well cloud and map agree there, as a few named numbers.

For each more is better. What they weigh is fitted, see `acceptance`. Level surfaces count for the covariance and the
constraint alone: there is level ground everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from vloc_ros.core.clouds.alignment import find_open_direction, find_seen_through
from vloc_ros.core.clouds.motion_stereo import CameraCloud
from vloc_ros.core.clouds.place_clouds import POINTS_CM, decode_points
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.localization.camera_cloud_alignment import CameraAgreement
from vloc_ros.core.localization.evidence import CLEAR_MARGIN
from vloc_ros.core.localization.occupancy_grid import OccupancyGrid
from vloc_ros.core.localization.pose_estimation import largest_position_std
from vloc_ros.core.map.places import Places

# of a surface that is upright, the vertical part of its normal is less
_UPRIGHT = 0.7
# points that are certain to a voxel say how well the cloud fits
_CERTAIN_VOXELS = 1.0
# of this many places next to the camera the scans are compared; a surface that one sees this far behind a point, and
# beyond the point's noise, is not at the point
_PLACES, _BEFORE_VOXELS = 3, 1.75
# rays are followed back from their points in steps of a voxel, so far; within so much of a point's surface, or of its
# noise, nothing is in the way
_RAY_VOXELS, _ALONG_SURFACE_VOXELS, _NOISE = 60, 2.0, 2.0
_RAYS, _NEAR_VOXELS = 800, 3.0
# parts of the view that are compared: as many points, and the share of them that the worst ones are
_PART_RAD, _LEAST_IN_PART, _WORST = np.radians(10.0), 10, 0.2
_LEAST = 1e-3
# along each axis, cells of a scene have so many numbers
_CELLS = 1 << 20


@dataclass(frozen=True, slots=True)
class CameraEvidence:
    """Evidence for one hypothesis; greater is better for every attribute.

    Attributes:
        inliers: natural logarithm of 1 + the upright points of the cloud that lie on surfaces of the map.
        support: share of the upright points that do, as far as their noise says.
        closeness: mean over the upright points of the likelihood of their distance from the surface, 1 where it is 0.
        evenness: the support in the part of the view that a fifth of the parts fall short of.
        free_space: share of the rays from the camera to its points that pass through no surface of the map.
        free_space_of_place: share of the upright points that no ray of the next places' scans went through.
        fit: negative natural logarithm of the median distance of certain points from their surfaces, in voxels.
        constraint: natural logarithm of how much the inliers' normals hold the position in its worst direction.
        certainty: negative natural logarithm of the position's largest standard deviation, in voxels, before
            calibration.
        agreement: negative natural logarithm of the distance between the positions by two halves of the cloud, in
            voxels.
        margin: by how much the support is more than that of the best competing pose, `CLEAR_MARGIN` at most and where
            there is none.
    """

    inliers: float
    support: float
    closeness: float
    evenness: float
    free_space: float
    free_space_of_place: float
    fit: float
    constraint: float
    certainty: float
    agreement: float
    margin: float = CLEAR_MARGIN

    @property
    def strength(self) -> float:
        """What competing poses are compared by: the support, less the rays that went through surfaces."""
        return self.support - (1.0 - self.free_space) - (1.0 - self.free_space_of_place)

    def values(self) -> Array:
        """(E,) float64, in the order of `CAMERA_EVIDENCE`."""
        return np.array([getattr(self, name) for name in CAMERA_EVIDENCE])


CAMERA_EVIDENCE = tuple(item.name for item in fields(CameraEvidence))


def measure_camera_evidence(
    cloud: CameraCloud,
    scene_from_camera: Pose,
    agreement: CameraAgreement,
    grid: OccupancyGrid,
    places: Places,
    *,
    covariance: Array,
    halves_m: float,
) -> CameraEvidence:
    """How a cloud and the map agree at a pose, without the margin.

    Args:
        cloud: in the optical frame.
        scene_from_camera: the pose.
        agreement: of the cloud with the scene there.
        grid: of the scene's points.
        places: of the scene, with points.
        covariance: (6, 6) of the pose, not calibrated.
        halves_m: distance between the positions by two halves of the cloud.
    """
    matches, voxel_m = agreement.matches, grid.cell_m
    upright = np.abs(matches.normals[:, 2]) < _UPRIGHT
    certain = upright & (cloud.stds_m < _CERTAIN_VOXELS * voxel_m)
    residuals, inliers = np.abs(matches.residuals), upright & agreement.on_surface
    median_m = float(np.median(residuals[certain])) if certain.any() else np.inf
    constraint, _ = find_open_direction(matches.normals[agreement.on_surface])
    return CameraEvidence(
        inliers=float(np.log1p(inliers.sum())),
        support=_mean(agreement.on_surface[upright]),
        closeness=measure_closeness(cloud, agreement, voxel_m=voxel_m),
        evenness=_worst_part(cloud.points[upright], agreement.on_surface[upright]),
        free_space=1.0 - _share_in_the_way(cloud, scene_from_camera, agreement, grid),
        free_space_of_place=1.0
        - _share_before_surfaces(matches.points[upright], cloud.stds_m[upright], scene_from_camera, places, voxel_m),
        fit=_log_of(median_m / voxel_m),
        constraint=float(np.log(max(constraint, _LEAST))),
        certainty=_log_of(largest_position_std(covariance) / voxel_m),
        agreement=_log_of(halves_m / voxel_m),
    )


def occupied_cells(agreement: CameraAgreement, *, cell_m: float) -> Array:
    """(C,) int64 ascending numbers of the scene's cells with upright points of the cloud on surfaces."""
    inliers = agreement.on_surface & (np.abs(agreement.matches.normals[:, 2]) < _UPRIGHT)
    cells = np.floor(agreement.matches.points[inliers] / cell_m).astype(np.int64) + _CELLS // 2
    return np.unique(cells @ np.array([_CELLS**2, _CELLS, 1]))


def parts_of_view(points: Array, *, part_rad: float) -> Array:
    """(N,) number of the part of the view, a cell of directions, of each of (N, 3) points in the optical frame."""
    columns = np.floor(np.arctan2(points[:, 0], points[:, 2]) / part_rad).astype(np.int64)
    rows = np.floor(np.arctan2(points[:, 1], np.hypot(points[:, 0], points[:, 2])) / part_rad).astype(np.int64)
    return np.asarray(1000 * rows + columns)


def _worst_part(points: Array, on_surface: Array) -> float:
    if not len(points):
        return 0.0
    _, part, counts = np.unique(parts_of_view(points, part_rad=_PART_RAD), return_inverse=True, return_counts=True)
    shares = np.bincount(part, on_surface) / counts
    enough = counts >= _LEAST_IN_PART
    return float(np.quantile(shares[enough], _WORST)) if enough.any() else 0.0


def measure_closeness(cloud: CameraCloud, agreement: CameraAgreement, *, voxel_m: float) -> float:
    """Mean over the upright points of the likelihood of their distance from their surface, 1 where it is 0."""
    upright = np.abs(agreement.matches.normals[:, 2]) < _UPRIGHT
    near = agreement.matches.distances < _NEAR_VOXELS * voxel_m + _NOISE * cloud.stds_m
    off = agreement.matches.residuals / agreement.stds
    return _mean(np.where(near, np.exp(-0.5 * off**2), 0.0)[upright])


def _share_before_surfaces(points: Array, stds_m: Array, pose: Pose, places: Places, voxel_m: float) -> float:
    """Share of (N, 3) points in the scene that lie where a scan of a place next to the camera sees further."""
    before, comparable = np.zeros(len(points), bool), np.zeros(len(points), bool)
    away_m = np.linalg.norm(places.translations - pose.translation, axis=1)
    for place in np.argsort(away_m)[:_PLACES]:
        seen = decode_points(places.payloads[POINTS_CM].of(int(place)))
        through, compared = find_seen_through(
            places.pose(int(place)).inverse().apply(points), seen, clear_m=_BEFORE_VOXELS * voxel_m + _NOISE * stds_m
        )
        before |= through
        comparable |= compared
    return _mean(before[comparable]) if comparable.any() else 1.0  # what no scan shows speaks for no pose


def _share_in_the_way(cloud: CameraCloud, pose: Pose, agreement: CameraAgreement, grid: OccupancyGrid) -> float:
    """Share of the rays to points on no level ground that pass through cells with points of the map."""
    matches, voxel_m = agreement.matches, grid.cell_m
    upright = np.flatnonzero(np.abs(matches.normals[:, 2]) < _UPRIGHT)
    if not len(upright):
        return 1.0
    rows = upright[np.linspace(0, len(upright) - 1, min(_RAYS, len(upright))).astype(int)]
    rays = cloud.rays[rows] @ pose.rotation.T
    back_m = voxel_m * np.arange(1, _RAY_VOXELS + 1)
    samples = matches.points[rows, None] - rays[:, None] * back_m[:, None]
    off_surface = np.abs(np.einsum("nsi,ni->ns", samples - matches.points[rows, None], matches.normals[rows]))
    clear_m = _NOISE * cloud.stds_m[rows] + _ALONG_SURFACE_VOXELS * voxel_m
    depth_m = np.linalg.norm(cloud.points[rows], axis=1)
    counted = (back_m > clear_m[:, None]) & (back_m < depth_m[:, None] - _ALONG_SURFACE_VOXELS * voxel_m)
    counted &= off_surface > _ALONG_SURFACE_VOXELS * voxel_m
    return float((counted & grid.is_occupied(samples)).any(axis=1).mean())


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else 0.0


def _log_of(value: float) -> float:
    return -float(np.log(np.clip(value, _LEAST, 1.0 / _LEAST)))
