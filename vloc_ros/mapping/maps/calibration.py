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

"""Calibration on contiguous segments of the trajectory that the map leaves out: of the covariance, and of acceptance.

The images of a segment are localized twice: in the map without them, where they should be found; and in what they do
not show, the map without all images that are covisible with them too, where they should not be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from math import ceil

import numpy as np

from vloc_ros.assembly import build_localizer
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoints import Extractor, Features
from vloc_ros.core.geometry.covariance import CovarianceCalibration, fit_calibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.localization.result import LocalizationResult
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import SelfSimilarity
from vloc_ros.core.query import Query
from vloc_ros.core.sources import PosedImage, Progress
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

MIN_SAMPLES = 8
WRONG_M, WRONG_RAD = 0.5, np.radians(5.0)
# what calibration finds on most maps; `samples` 0 says that it is not this map's own
_TYPICAL = CovarianceCalibration(scale=2.0)
# of the left-out images that were accepted this part stays accepted, however much the map resembles itself
_KEPT = 0.95
_ROUNDING = 1e-3
_MIN_SEGMENTS, _ENOUGH_SEGMENTS, _ENOUGH_IMAGES = 4, 12, 40
# more images than so many tell little more, and each is localized twice
_MOST_LOCALIZED = 60


def calibrate(
    images: Sequence[PosedImage],
    features: Sequence[Features],
    *,
    gap_m: float,
    extractor: Extractor,
    map_without: Callable[[Array], LandmarkMap],
    covisible_with: Callable[[Array], Array],
    progress: Progress,
    workers: Workers = THIS_PROCESS,
) -> tuple[CovarianceCalibration, SelfSimilarity]:
    """Leave out each segment in turn, map the rest, and compare the results of the segment with its known poses.

    Args:
        images: N images in the order they were taken, all with poses.
        features: their keypoints.
        gap_m: way of the camera along a segment; 0 for no calibration. A robot on another path is about half of it
            away from what was mapped.
        extractor: that found them; only so that no other is built.
        map_without: the map without the observations of these images (indices), with the neutral calibration, in the
            frame of the images' poses.
        covisible_with: the images (indices) that share a point with some, and these.
        progress: shows the progress.
        workers: localize the images.

    Returns:
        The calibration of the covariance; with `samples` 0, and a typical scale, when there are too few images to leave
        any out. How much the map resembles itself; with `negatives` 0 where every image shares points with all others.
    """
    centres = np.array([_rig_position(image) for image in images])
    segments = segments_left_out(centres, gap_m)
    if not segments:
        return _TYPICAL, SelfSimilarity()
    # each segment twice: in the map without it, and in what it does not show
    tasks = [
        ([(images[i], features[i]) for i in localized], left_out)
        for segment, localized in zip(segments, _choose_localized(segments), strict=True)
        for left_out in (segment, covisible_with(segment))
    ]
    work = partial(_localize, map_without=map_without, extractor=extractor)
    results = list(progress(workers.map(work, tasks), description="calibration", total=len(tasks)))
    found, elsewhere = list(chain(*results[::2])), list(chain(*results[1::2]))
    accepted = [one for one in found if one.result.ok]
    right = [one.excess for one in accepted if not one.is_wrong]
    wrong = [one.excess for one in (*found, *elsewhere) if one.is_wrong]
    alike = measure_self_similarity(right, wrong)
    alike = replace(alike, negatives=len(elsewhere))
    if len(accepted) < MIN_SAMPLES:
        return _TYPICAL, alike
    covariances = [one.result.covariance for one in accepted if one.result.covariance is not None]
    return fit_calibration(np.stack([one.error for one in accepted]), np.stack(covariances)), alike


def _rig_position(image: PosedImage) -> Array:
    """(3,) of the camera, or of the one that leads its rig: a way does not go to and fro between cameras."""
    assert image.map_from_camera is not None
    if image.rig is None:
        return image.map_from_camera.translation
    return (image.map_from_camera @ image.rig.lead_from_camera.inverse()).translation


def measure_self_similarity(right: Sequence[float], wrong: Sequence[float]) -> SelfSimilarity:
    """The shift of scores that refuses what was accepted elsewhere, but not so much that left-out images are refused.

    Args:
        right: how far the scores of accepted left-out images lie above the threshold.
        wrong: the same of images that were accepted where they do not belong.
    """
    if not wrong:
        return SelfSimilarity()
    allowed = float(np.quantile(right, 1.0 - _KEPT, method="lower")) if right else np.inf
    return SelfSimilarity(score_shift=-min(max(wrong) + _ROUNDING, max(allowed, 0.0)))


def count_localized(centres: Array, gap_m: float) -> int:
    """How many images calibration localizes, see `segments_left_out`."""
    return sum(map(len, _choose_localized(segments_left_out(centres, gap_m))))


def _choose_localized(segments: Sequence[Array]) -> list[Array]:
    """Of each segment the images that are localized, evenly along it."""
    step = max(1, ceil(sum(map(len, segments)) / _MOST_LOCALIZED))
    return [segment[::step] for segment in segments]


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


@dataclass(frozen=True, slots=True, eq=False)
class _Localized:
    """A left-out image's result.

    Attributes:
        result: with the uncalibrated covariance.
        error: (6,) of an accepted pose; NaN else.
        excess: of the score over the threshold, log odds; -inf without a pose.
    """

    result: LocalizationResult
    error: Array
    excess: float

    @property
    def is_wrong(self) -> bool:
        """Whether a pose was accepted that is not where the image was taken."""
        return self.result.ok and (
            float(np.linalg.norm(self.error[:3])) > WRONG_M or float(np.linalg.norm(self.error[3:])) > WRONG_RAD
        )


def _localize(
    task: tuple[Sequence[tuple[PosedImage, Features]], Array],
    *,
    map_without: Callable[[Array], LandmarkMap],
    extractor: Extractor,
) -> list[_Localized]:
    """Results of images in the map without those that are left out; none where nothing is left of it."""
    posed, left_out = task
    try:
        rest = map_without(left_out)
    except MapError:
        return []
    localizer = build_localizer(LocalizerConfig(), rest, extractor=extractor)
    localized = []
    for image, found in posed:
        blank = np.zeros((image.camera.height, image.camera.width), np.uint8)
        result = localizer.localize_features((found,), Query.single(blank, image.camera))
        error, truth = np.full(6, np.nan), image.map_from_camera
        if result.map_from_rig is not None and truth is not None:
            error = result.map_from_rig.error_to(truth)
        localized.append(_Localized(result, error, localizer.selector.excess(result)))
    return localized
