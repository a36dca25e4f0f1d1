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

"""The covariance of a new map, calibrated on segments of the trajectory that are left out in turn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoints import Extractor
from vloc_ros.core.geometry.covariance import CovarianceCalibration
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.map.scene import SelfSimilarity
from vloc_ros.core.sources import Progress
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps.calibration import calibrate
from vloc_ros.mapping.sfm.extracted_images import ExtractedImage, focal_lengths_px, make_keyframes
from vloc_ros.mapping.sfm.structure import Structure, mean_descriptors, refine_points
from vloc_ros.mapping.workers import Workers


def calibrate_structure(
    landmark_map: LandmarkMap,
    structure: Structure,
    images: Sequence[ExtractedImage],
    config: MappingConfig,
    extractor: Extractor,
    progress: Progress,
    workers: Workers,
) -> tuple[CovarianceCalibration, SelfSimilarity]:
    """What segments of the trajectory tell that the map leaves out in turn."""
    views = [replace(view, image=replace(view.image, load=_not_sent)) for view in images]
    return calibrate(
        [view.image for view in views],
        [view.features for view in views],
        gap_m=config.calibration_gap_m,
        extractor=extractor,
        map_without=partial(_map_without, landmark_map=landmark_map, structure=structure, images=views, config=config),
        covisible_with=structure.covisible_with,
        progress=progress,
        workers=workers,
    )


def _not_sent() -> Array:
    raise AssertionError("calibration needs no pixels, and workers get none")


def _map_without(
    left_out: Array,
    *,
    landmark_map: LandmarkMap,
    structure: Structure,
    images: Sequence[ExtractedImage],
    config: MappingConfig,
) -> LandmarkMap:
    """The map as if these images had not been taken: their observations move no point and describe none."""
    rest = structure.without_images(left_out)
    kept = rest.images_per_point() >= config.min_track_length
    if not kept.any():
        raise MapError("no point is left")
    changed = kept & (rest.images_per_point() < structure.images_per_point())
    points, codes = landmark_map.points.copy(), landmark_map.codes.copy()
    if changed.any():
        refined = refine_points(rest.select(changed), [image.rays for image in images], focal_lengths_px(images))
        descriptors = mean_descriptors(refined, [image.features.descriptors for image in images])
        points[changed], codes[changed] = refined.points, landmark_map.codec.encode(descriptors)
    return replace(
        landmark_map,
        scenes=(replace(landmark_map.scene(), points=range(int(kept.sum()))),),
        points=points[kept],
        landmark_ids=landmark_map.landmark_ids[kept],
        codes=codes[kept],
        keyframes=make_keyframes(images, rest.select(kept)),
    )
