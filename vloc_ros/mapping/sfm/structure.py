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

"""A sparse reconstruction: points, the keypoints that observe them, and the poses of the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.geometry.pose import Array, Pose

_REFINEMENTS = 8
# an observation that is a mismatch, of the keypoint beside the right one, should move the point no more than it must
_LOSS_SCALE_PX = 1.0
_MIN_DEPTH = 1e-3
_DAMPING, _TINY = 1e-4, 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A sparse reconstruction of N images.

    Attributes:
        points: (P, 3) float64.
        track_points: (O,) int64 point of each observation, ascending.
        track_images: (O,) int64 image of each observation.
        track_keypoints: (O,) int64 keypoint of that image.
        poses: N poses map_from_camera, None for an image that could not be placed.
        mean_reprojection_error_px: over all observations.
    """

    points: Array
    track_points: Array
    track_images: Array
    track_keypoints: Array
    poses: tuple[Pose | None, ...]
    mean_reprojection_error_px: float

    def with_tracks_of_at_least(self, length: int) -> Structure:
        """The structure without points that fewer images observe."""
        return self.select(self.images_per_point() >= length)

    def images_per_point(self) -> Array:
        """(P,) int64 how many images observe each point."""
        points = np.unique(self.track_points * len(self.poses) + self.track_images) // max(len(self.poses), 1)
        return np.bincount(points, minlength=len(self.points))

    def select(self, kept: Array) -> Structure:
        """The structure of those points that a (P,) mask keeps."""
        number = np.cumsum(kept) - 1
        mine = kept[self.track_points]
        return replace(
            self,
            points=self.points[kept],
            track_points=number[self.track_points[mine]],
            track_images=self.track_images[mine],
            track_keypoints=self.track_keypoints[mine],
        )

    def without_images(self, images: Array) -> Structure:
        """The structure without the observations of these images; points keep their positions, see `refine_points`."""
        mine = ~np.isin(self.track_images, images)
        return replace(
            self,
            track_points=self.track_points[mine],
            track_images=self.track_images[mine],
            track_keypoints=self.track_keypoints[mine],
        )

    def covisible_with(self, images: Array) -> Array:
        """(M,) sorted images that observe a point which one of these observes, and these."""
        shared = np.unique(self.track_points[np.isin(self.track_images, images)])
        return np.union1d(images, self.track_images[np.isin(self.track_points, shared)])

    def visible(self) -> tuple[Array, Array]:
        """(N + 1,) int64 offsets and (V,) points: image i observes `points[offsets[i]:offsets[i + 1]]`, ascending."""
        count = max(len(self.points), 1)
        seen = np.unique(self.track_images * count + self.track_points)
        return np.searchsorted(seen, count * np.arange(len(self.poses) + 1)), seen % count


def join_points(parts: Sequence[Structure]) -> Structure:
    """One structure of the points of several, which have the same images and share no observation."""
    starts = np.cumsum([0, *(len(part.points) for part in parts)])
    errors_px = [len(part.points) * part.mean_reprojection_error_px for part in parts]
    return Structure(
        points=np.concatenate([part.points for part in parts]),
        track_points=np.concatenate([part.track_points + start for part, start in zip(parts, starts, strict=False)]),
        track_images=np.concatenate([part.track_images for part in parts]),
        track_keypoints=np.concatenate([part.track_keypoints for part in parts]),
        poses=parts[0].poses,
        mean_reprojection_error_px=sum(errors_px) / max(int(starts[-1]), 1),
    )


def refine_points(structure: Structure, rays: Sequence[Array], focal_lengths_px: Array) -> Structure:
    """Refine the points by their observations under a Cauchy loss: Gauss-Newton over all points at once, poses kept.

    COLMAP triangulates by squared residuals, in which a mismatch weighs as much as it is wrong.

    Args:
        structure: all images that see points have poses.
        rays: (K, 3) rays with z = 1 of each image's keypoints.
        focal_lengths_px: (N,) of each image's camera.
    """
    cameras = [pose.inverse() if pose else Pose.identity() for pose in structure.poses]
    rotations = np.stack([camera.rotation for camera in cameras])[structure.track_images]
    translations = np.stack([camera.translation for camera in cameras])[structure.track_images]
    starts = np.concatenate([[0], np.cumsum([len(r) for r in rays])])[structure.track_images]
    seen = np.concatenate(rays)[starts + structure.track_keypoints, :2]
    scales = (focal_lengths_px[structure.track_images] / _LOSS_SCALE_PX)[:, None]
    points = structure.points.copy()
    for _ in range(_REFINEMENTS):
        in_camera = np.einsum("oij,oj->oi", rotations, points[structure.track_points]) + translations
        depth = np.maximum(in_camera[:, 2:], _MIN_DEPTH)
        residuals = seen - in_camera[:, :2] / depth
        jacobian = (rotations[:, :2] - (in_camera[:, :2] / depth)[:, :, None] * rotations[:, 2:]) / depth[:, :, None]
        weights = 1.0 / (1.0 + ((residuals * scales) ** 2).sum(axis=1))
        weighted = jacobian.transpose(0, 2, 1) * weights[:, None, None]
        information = _sum_by_point(structure, weighted @ jacobian)
        gradient = _sum_by_point(structure, np.einsum("oij,oj->oi", weighted, residuals))
        damping = _DAMPING * np.trace(information, axis1=1, axis2=2)[:, None, None] * np.eye(3)
        points += np.linalg.solve(information + damping + _TINY * np.eye(3), gradient[..., None])[..., 0]
    return replace(structure, points=points)


def mean_descriptors(structure: Structure, descriptors: Sequence[Array]) -> Array:
    """(P, D) float32 L2-normalised mean descriptor of every point's observations."""
    described = np.empty((len(structure.track_points), descriptors[0].shape[1]), np.float32)
    by_image = np.argsort(structure.track_images, kind="stable")
    ends = np.cumsum(np.bincount(structure.track_images, minlength=len(descriptors)))
    for mine, of_image in zip(np.split(by_image, ends[:-1]), descriptors, strict=True):
        described[mine] = of_image[structure.track_keypoints[mine]]
    sums = _sum_by_point(structure, described)
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))


def _sum_by_point(structure: Structure, values: Array) -> Array:
    """(P, ...) sums over the observations of each point of (O, ...) values; observations ascend by point."""
    sums = np.zeros((len(structure.points), *values.shape[1:]), values.dtype)
    seen, starts = np.unique(structure.track_points, return_index=True)
    if len(seen):
        sums[seen] = np.add.reduceat(values, starts, axis=0)
    return sums
