"""Calibration of the covariance on contiguous segments of the trajectory that the map leaves out."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.covariance import CovarianceCalibration, fit_calibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage, Progress

MIN_SAMPLES = 8
# what calibration finds on most maps; `samples` 0 says that it is not this map's own
_TYPICAL = CovarianceCalibration(scale=2.0)
_MIN_SEGMENTS, _ENOUGH_SEGMENTS, _ENOUGH_IMAGES = 4, 12, 40


def calibrate(
    images: Sequence[PosedImage],
    features: Sequence[Features],
    *,
    gap_m: float,
    extractor: Extractor,
    map_without: Callable[[Array], LandmarkMap],
    progress: Progress,
) -> CovarianceCalibration:
    """Leave out each segment in turn, map the rest, and compare the results of the segment with its known poses.

    Args:
        images: N images in the order they were taken, all with poses.
        features: their keypoints.
        gap_m: way of the camera along a segment; 0 for no calibration. A robot on another path is about half of it
            away from what was mapped.
        extractor: that found them; only so that no other is built.
        map_without: the map without the observations of these images (indices), with the neutral calibration, in the
            frame of the images' poses.
        progress: shows the progress.

    Returns:
        The calibration; with `samples` 0, and a typical scale, when there are too few images to leave any out.
    """
    centres = np.array([image.map_from_camera.translation for image in images if image.map_from_camera is not None])
    segments = segments_left_out(centres, gap_m)
    if not segments:
        return _TYPICAL
    samples: list[tuple[Array, Array]] = []
    for left_out in progress(segments, description="calibration"):
        try:
            localizer = build_localizer(LocalizerConfig(), map_without(left_out), extractor=extractor)
        except MapError:
            continue  # the others share no points: this segment has nothing to be compared with
        samples += _samples(localizer, [images[i] for i in left_out], [features[i] for i in left_out])
    if len(samples) < MIN_SAMPLES:
        return _TYPICAL
    return fit_calibration(np.stack([error for error, _ in samples]), np.stack([sigma for _, sigma in samples]))


def segments_left_out(centres: Array, gap_m: float) -> list[Array]:
    """The segments that calibration leaves out: contiguous images along `gap_m` of the trajectory each.

    Args:
        centres: (N, 3) of the cameras in the map, metres, in the order they were taken.
        gap_m: as `calibrate` has it.

    Returns:
        Indices of each segment; evenly chosen ones when there are more than it takes, none when nothing is calibrated.
    """
    if gap_m <= 0 or len(centres) < MIN_SAMPLES:
        return []
    way_m = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    count = max(_MIN_SEGMENTS, min(len(centres), int(way_m[-1] / gap_m)))
    number = np.minimum((way_m / max(way_m[-1], 1e-9) * count).astype(int), count - 1)
    segments = [np.flatnonzero(number == one) for one in np.unique(number)]
    enough = max(_ENOUGH_SEGMENTS, int(_ENOUGH_IMAGES * len(segments) / len(centres)))
    if len(segments) <= enough:
        return segments
    return [segments[i] for i in np.linspace(0, len(segments) - 1, enough).round().astype(int)]


def _samples(
    localizer: Localizer, images: Sequence[PosedImage], features: Sequence[Features]
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
