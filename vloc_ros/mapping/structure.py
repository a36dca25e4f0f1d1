"""What reconstruction gives: points, the keypoints that saw them, and where the images were taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vloc_ros.core.pose import Array, Pose


@dataclass(frozen=True, slots=True, eq=False)
class Structure:
    """A sparse reconstruction of N images.

    Attributes:
        points: (P, 3) float64.
        track_points: (O,) int64, ascending: observation o is of point `track_points[o]`,
        track_images: (O,) int64: by this image,
        track_keypoints: (O,) int64: at this of its keypoints.
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
        """Without the points that fewer images saw."""
        images_per_point = np.zeros(len(self.points), np.int64)
        seen = np.unique(np.column_stack([self.track_points, self.track_images]), axis=0)
        np.add.at(images_per_point, seen[:, 0], 1)
        kept = images_per_point >= length
        number = np.cumsum(kept) - 1
        mine = kept[self.track_points]
        return replace(
            self,
            points=self.points[kept],
            track_points=number[self.track_points[mine]],
            track_images=self.track_images[mine],
            track_keypoints=self.track_keypoints[mine],
        )

    def visible(self, image: int) -> Array:
        """(V,) sorted points that an image saw."""
        return np.unique(self.track_points[self.track_images == image])


def mean_descriptors(structure: Structure, descriptors: Sequence[Array]) -> Array:
    """(P, D) float32 L2-normalised mean descriptor of every point's observations."""
    sums = np.zeros((len(structure.points), descriptors[0].shape[1]), np.float32)
    for image, described in enumerate(descriptors):
        mine = structure.track_images == image
        np.add.at(sums, structure.track_points[mine], described[structure.track_keypoints[mine]])
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12))
