"""Which keypoints of two images show the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from threadpoolctl import threadpool_limits

from vloc_ros.core.camera import Camera
from vloc_ros.core.features import Features
from vloc_ros.core.pose import Array, Pose, skew
from vloc_ros.mapping.config import PairMatchConfig
from vloc_ros.mapping.images import MappingImage
from vloc_ros.mapping.pairs import Pair
from vloc_ros.mapping.progress import Progress

_THREADS = 2

PairMatches = Mapping[Pair, Array]


def match_pairs(
    config: PairMatchConfig, descriptors: Sequence[Array], pairs: Sequence[Pair], *, progress: Progress
) -> dict[Pair, Array]:
    """(M, 2) uint32 keypoint indices for every pair with enough matches.

    Args:
        config: when keypoints match.
        descriptors: (N_i, d) float32 of every image.
        pairs: which images to compare.
        progress: shows how far it is.
    """

    def match(pair: Pair) -> Array:
        return match_descriptors(descriptors[pair[0]], descriptors[pair[1]], ratio=config.ratio)

    # one BLAS thread per worker: two that share two cores only wait for each other
    with threadpool_limits(1), ThreadPoolExecutor(_THREADS) as pool:
        try:
            found = list(progress.track(pool.map(match, pairs), stage="matching", total=len(pairs)))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return {pair: matches for pair, matches in zip(pairs, found, strict=True) if len(matches) >= config.min_matches}


def match_descriptors(first: Array, second: Array, *, ratio: float) -> Array:
    """(M, 2) uint32 mutual nearest neighbours that pass the ratio test (Lowe 2004) in the first image."""
    if not len(first) or len(second) < 2:
        return np.zeros((0, 2), np.uint32)
    half = (first @ second.T) * np.float32(-2.0)
    half += (second**2).sum(axis=1)
    forward, backward = half.argmin(axis=1), (half + (first**2).sum(axis=1)[:, None]).argmin(axis=0)
    rows = np.flatnonzero(backward[forward] == np.arange(len(first)))
    norms = (first[rows] ** 2).sum(axis=1)
    two = np.partition(half[rows], 1, axis=1)[:, :2] + norms[:, None]
    two = np.maximum(two, 0.0)
    rows = rows[two[:, 0] <= ratio**2 * two[:, 1]]
    return np.column_stack([rows, forward[rows]]).astype(np.uint32)


def verify_by_poses(
    config: PairMatchConfig, images: Sequence[MappingImage], features: Sequence[Features], matches: PairMatches
) -> dict[Pair, Array]:
    """The matches that agree with the given poses: near their epipolar lines, in front of both cameras.

    Raises:
        AssertionError: an image of a pair has no pose.
    """
    rays = [image.camera.unproject(found.xy) for image, found in zip(images, features, strict=True)]
    verified = {}
    for (i, j), found in matches.items():
        first, second = images[i].map_from_camera, images[j].map_from_camera
        assert first is not None
        assert second is not None
        limit = config.max_epipolar_error_px / min(_focal_px(images[i].camera), _focal_px(images[j].camera))
        good = epipolar_errors(second.inverse() @ first, rays[i][found[:, 0]], rays[j][found[:, 1]]) <= limit
        if good.sum() >= config.min_matches:
            verified[i, j] = found[good]
    return verified


def _focal_px(camera: Camera) -> float:
    fx, fy, _, _ = camera.intrinsics
    return (fx + fy) / 2


def epipolar_errors(second_from_first: Pose, first: Array, second: Array) -> Array:
    """(M,) larger distance of two rays with z = 1 to each other's epipolar line, on the plane z = 1; NaN stays NaN."""
    essential = skew(second_from_first.translation) @ second_from_first.rotation
    lines_in_second, lines_in_first = first @ essential.T, second @ essential
    algebraic = np.abs((second * lines_in_second).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        in_second = algebraic / np.linalg.norm(lines_in_second[:, :2], axis=1)
        in_first = algebraic / np.linalg.norm(lines_in_first[:, :2], axis=1)
    return np.asarray(np.maximum(in_first, in_second))
