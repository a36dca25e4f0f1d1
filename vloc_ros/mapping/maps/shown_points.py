"""Which point of the map each keypoint of an image really shows, where the image's pose is known."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree

from vloc_ros.core.geometry.camera import Camera
from vloc_ros.core.geometry.pose import Array, Pose
from vloc_ros.core.map.landmark_map import LandmarkMap

# farthest that a point may appear from its keypoint, and largest distance of their descriptors in the map's space;
# of unrelated RootSIFT that is 0.8
NEAR_PX, ALIKE = 3.0, 0.65
NONE = -1
_NEAREST = 5


def points_shown(
    xy: Array,
    descriptors: Array,
    *,
    landmark_map: LandmarkMap,
    points: Array,
    camera: Camera,
    map_from_camera: Pose,
    near_px: float = NEAR_PX,
    alike: float = ALIKE,
) -> Array:
    """(N,) int64 map point that each keypoint of an image shows, -1 for none.

    Of the few points that appear nearest to a keypoint it is the nearest that looks like it.

    Args:
        xy: (N, 2) pixels of keypoints.
        descriptors: (N, D), as extracted.
        landmark_map: the map.
        points: (V,) indices of its points that the image may show.
        camera: of the image.
        map_from_camera: its pose.
        near_px: how near a point must appear.
        alike: how alike it must look.
    """
    pixels = camera.project(map_from_camera.inverse().apply(landmark_map.points[points]))
    visible = np.flatnonzero(camera.contains(pixels))
    if not len(visible) or not len(xy):
        return np.full(len(xy), NONE, np.int64)
    distances_px, nearest = cKDTree(pixels[visible]).query(xy, k=_NEAREST, distance_upper_bound=near_px)
    near = np.isfinite(distances_px)
    candidates = points[visible[np.where(near, nearest, 0)]].astype(np.int64)
    projected = landmark_map.codec.project(descriptors)
    apart = np.linalg.norm(landmark_map.descriptors[candidates] - projected[:, None], axis=2)
    fits = near & (apart <= alike)
    first = fits.argmax(axis=1)
    return np.asarray(np.where(fits.any(axis=1), candidates[np.arange(len(xy)), first], NONE))
