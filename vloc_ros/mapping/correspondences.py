"""2D-2D matches between two images, and which of them agree with the images' known poses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from vloc_ros.core.camera import Camera
from vloc_ros.core.features import Features
from vloc_ros.core.pose import Array, Pose, skew
from vloc_ros.mapping.pairs import Pair

_MIN_BASELINE_M = 1e-6
_WORKERS = 2


def matches_of_pairs(
    features: Sequence[Features], pairs: Sequence[Pair], *, ratio: float
) -> Iterator[tuple[Pair, Array]]:
    """Every pair with its `mutual_matches`, in the order of the pairs, from two workers."""
    pool = ThreadPoolExecutor(_WORKERS)
    try:
        # BLAS threads of its own per worker would spin while they wait for each other's cores
        with threadpool_limits(1):
            found = pool.map(lambda pair: mutual_matches(features[pair[0]], features[pair[1]], ratio=ratio), pairs)
            yield from zip(pairs, found, strict=True)
    finally:
        pool.shutdown(cancel_futures=True)


def mutual_matches(first: Features, second: Features, *, ratio: float) -> Array:
    """(M, 2) uint32 keypoint indices: mutual nearest neighbours that pass the ratio test (Lowe 2004)."""
    if len(first) < 2 or len(second) < 2:
        return np.zeros((0, 2), np.uint32)
    similarity = first.descriptors @ second.descriptors.T
    rows, forward = np.arange(len(similarity)), similarity.argmax(axis=1)
    best = similarity[rows, forward]
    similarity[rows, forward] = -np.inf
    # of unit vectors the squared distance is 2 - 2 times the similarity
    distinct = np.flatnonzero(1 - best < ratio**2 * (1 - similarity.max(axis=1)))
    similarity[rows, forward] = best
    # the way back only for what is left: a maximum down the columns is the slow one
    backward = similarity[:, forward[distinct]].argmax(axis=0)
    mutual = distinct[backward == distinct]
    return np.column_stack([mutual, forward[mutual]]).astype(np.uint32)


def epipolar_inliers(
    rays: tuple[Array, Array], poses: tuple[Pose, Pose], cameras: tuple[Camera, Camera], *, max_error_px: float
) -> Array:
    """(M,) bool: rays with z = 1 of matched keypoints that meet, by Sampson's distance in pixels.

    Sampson's approximation of the reprojection error: Hartley and Zisserman, Multiple View Geometry, 11.4.3.
    """
    first_from_second = poses[0].inverse() @ poses[1]
    baseline = float(np.linalg.norm(first_from_second.translation))
    if baseline < _MIN_BASELINE_M:
        return np.zeros(len(rays[0]), bool)
    essential = skew(first_from_second.translation / baseline) @ first_from_second.rotation
    line_in_first, line_in_second = rays[1] @ essential.T, rays[0] @ essential
    algebraic = np.einsum("ij,ij->i", rays[0], line_in_first)
    gradient = (line_in_first[:, :2] ** 2).sum(axis=1) + (line_in_second[:, :2] ** 2).sum(axis=1)
    focal_px = min(camera.intrinsics[0] for camera in cameras)
    with np.errstate(invalid="ignore"):
        return np.asarray(algebraic**2 < (max_error_px / focal_px) ** 2 * gradient)
