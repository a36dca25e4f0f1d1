"""Calibrates the covariance on contiguous segments of the trajectory that the map leaves out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from vloc_ros.core.covariance import fit_calibration
from vloc_ros.core.errors import MapError
from vloc_ros.core.features import Features
from vloc_ros.core.landmark_map import CovarianceCalibration, LandmarkMap
from vloc_ros.core.localizer import Localizer
from vloc_ros.core.pose import Array, Pose
from vloc_ros.core.query import Query
from vloc_ros.mapping.images import MappingImage, Progress
from vloc_ros.mapping.pairs import Pair

_MIN_IMAGES_PER_SEGMENT = 4
_MIN_SAMPLES = 8

SubMapBuilder = Callable[[Sequence[MappingImage], Sequence[Features], Mapping[Pair, Array]], LandmarkMap]


def calibrate(
    images: Sequence[MappingImage],
    features: Sequence[Features],
    matches: Mapping[Pair, Array],
    *,
    segments: int,
    build_sub_map: SubMapBuilder,
    localizer_factory: Callable[[LandmarkMap], Localizer],
    progress: Progress,
) -> CovarianceCalibration:
    """Leave out each segment in turn, map the rest, and compare the segment's answers with its known poses.

    Args:
        images: N images in the order they were taken, all with poses.
        features: their keypoints.
        matches: verified matches by pair of image indices.
        segments: number of contiguous segments.
        build_sub_map: maps a part of the images; its covariances are not calibrated.
        localizer_factory: asks a map.
        progress: shows how far it has come.

    Returns:
        The calibration; with `samples` 0 when there are too few images to leave any out.
    """
    if segments < 2 or len(images) < segments * _MIN_IMAGES_PER_SEGMENT:
        return CovarianceCalibration()
    samples: list[tuple[Array, Array]] = []
    for left_out in progress(np.array_split(np.arange(len(images)), segments), description="calibration"):
        kept = np.setdiff1d(np.arange(len(images)), left_out)
        try:
            sub_map = build_sub_map([images[i] for i in kept], [features[i] for i in kept], _restricted(matches, kept))
        except MapError:
            continue  # what is left shares no points: this segment has nothing to be compared with
        samples += _samples(localizer_factory(sub_map), [images[i] for i in left_out], [features[i] for i in left_out])
    if len(samples) < _MIN_SAMPLES:
        return CovarianceCalibration()
    return fit_calibration(np.stack([error for error, _ in samples]), np.stack([sigma for _, sigma in samples]))


def _restricted(matches: Mapping[Pair, Array], kept: Array) -> dict[Pair, Array]:
    """The matches among the kept images, which are numbered anew."""
    number = {int(old): new for new, old in enumerate(kept)}
    return {(number[i], number[j]): m for (i, j), m in matches.items() if i in number and j in number}


def _samples(
    localizer: Localizer, images: Sequence[MappingImage], features: Sequence[Features]
) -> list[tuple[Array, Array]]:
    """(error, uncalibrated covariance) of every left-out image that is accepted."""
    samples = []
    for image, found in zip(images, features, strict=True):
        blank = np.zeros((image.camera.height, image.camera.width), np.uint8)
        result = localizer.localize_features((found,), Query.single(blank, image.camera))
        truth: Pose | None = image.map_from_camera
        if result.map_from_rig is not None and result.covariance is not None and truth is not None:
            samples.append((result.map_from_rig.error_to(truth), result.covariance))
    return samples
