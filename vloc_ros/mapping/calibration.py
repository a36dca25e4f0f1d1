"""Calibrates the covariance on contiguous segments of the trajectory that the map leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vloc_ros.core.covariance import fit_calibration
from vloc_ros.core.errors import MapError
from vloc_ros.core.features import Features
from vloc_ros.core.landmark_map import CovarianceCalibration, LandmarkMap
from vloc_ros.core.localizer import Localizer
from vloc_ros.core.pose import Array
from vloc_ros.core.query import Query
from vloc_ros.mapping.images import MappingImage, Progress

_MIN_IMAGES_PER_SEGMENT = 4
_MIN_SAMPLES = 8


def calibrate(
    images: Sequence[MappingImage],
    features: Sequence[Features],
    *,
    segment_images: int,
    map_without: Callable[[Array], LandmarkMap],
    localizer_factory: Callable[[LandmarkMap], Localizer],
    progress: Progress,
) -> CovarianceCalibration:
    """Leave out each segment in turn, map the rest, and compare the segment's answers with its known poses.

    Args:
        images: N images in the order they were taken, all with poses.
        features: their keypoints.
        segment_images: images of a segment; 0 for no calibration. Short ones leave the neighbourhood that a robot on
            another path has, long ones measure what it is like to leave the mapped path.
        map_without: the map without what these images (indices) saw, with the neutral calibration.
        localizer_factory: asks a map.
        progress: shows how far it has come.

    Returns:
        The calibration; with `samples` 0 when there are too few images to leave any out.
    """
    segments = len(images) // max(segment_images, _MIN_IMAGES_PER_SEGMENT)
    if segment_images == 0 or segments < 2:
        return CovarianceCalibration()
    samples: list[tuple[Array, Array]] = []
    for left_out in progress(np.array_split(np.arange(len(images)), segments), description="calibration"):
        try:
            localizer = localizer_factory(map_without(left_out))
        except MapError:
            continue  # the others share no points: this segment has nothing to be compared with
        samples += _samples(localizer, [images[i] for i in left_out], [features[i] for i in left_out])
    if len(samples) < _MIN_SAMPLES:
        return CovarianceCalibration()
    return fit_calibration(np.stack([error for error, _ in samples]), np.stack([sigma for _, sigma in samples]))


def _samples(
    localizer: Localizer, images: Sequence[MappingImage], features: Sequence[Features]
) -> list[tuple[Array, Array]]:
    """(error, uncalibrated covariance) of every left-out image that is accepted."""
    samples = []
    for image, found in zip(images, features, strict=True):
        blank = np.zeros((image.camera.height, image.camera.width), np.uint8)
        result = localizer.localize_features((found,), Query.single(blank, image.camera))
        truth = image.map_from_camera
        if result.map_from_rig is not None and result.covariance is not None and truth is not None:
            samples.append((result.map_from_rig.error_to(truth), result.covariance))
    return samples
