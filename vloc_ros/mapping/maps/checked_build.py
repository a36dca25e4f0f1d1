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

"""Build a map and say whether it is one: it finds its own left-out images; else, which wrong input explains it."""

from __future__ import annotations

from collections.abc import Sequence

from vloc_ros.assembly import build_extractor
from vloc_ros.core.errors import MapError
from vloc_ros.core.features.keypoint_model import KeypointModel
from vloc_ros.core.map.landmark_map import LandmarkMap
from vloc_ros.core.sources import PosedImage, Progress, silent
from vloc_ros.mapping.config import MappingConfig
from vloc_ros.mapping.maps import build
from vloc_ros.mapping.maps.calibration import MIN_SAMPLES, count_localized
from vloc_ros.mapping.sfm.input_mistakes import find_input_mistakes
from vloc_ros.mapping.sfm.scale import ScaleSource
from vloc_ros.mapping.workers import THIS_PROCESS, Workers

# where fewer of the left-out images are localized, something is wrong with the map, as a rule
USUALLY_LOCALIZED = 0.5
# where none is named, the most likely first
LIKELY_CAUSES = (
    "check that --camera is the calibration of these images, or the bag's camera_info is (a wrong focal length is "
    "enough), and that the poses are map_from_camera of their optical frames; where both are right, take images closer "
    "together"
)


def build_checked_map(
    images: Sequence[PosedImage],
    *,
    name: str,
    config: MappingConfig,
    keypoint_model: KeypointModel | None = None,
    frame_id: str = "map",
    scale: ScaleSource | None = None,
    progress: Progress = silent,
    workers: Workers = THIS_PROCESS,
) -> LandmarkMap:
    """Build a map; see `build_map`. Where the images make none, the error begins with the mistake that explains it."""
    try:
        return build.build_map(
            images,
            name=name,
            config=config,
            keypoint_model=keypoint_model,
            frame_id=frame_id,
            scale=scale,
            progress=progress,
            workers=workers,
        )
    except MapError as error:
        causes = _find_causes(images, config, keypoint_model, progress)
        if not causes:
            raise
        raise MapError(f"{causes}; {error}") from error


def find_doubt(
    landmark_map: LandmarkMap,
    images: Sequence[PosedImage],
    *,
    config: MappingConfig,
    keypoint_model: KeypointModel | None = None,
    progress: Progress = silent,
) -> str:
    """Why a map is no use, the likely causes included; empty for one that finds its own left-out images.

    A map of a usual mistake looks like one: every image has a pose, and some points by chance. Where too few images
    were left out to tell, only a mistake that explains the images is a reason.
    """
    if config.calibration_gap_m <= 0:
        return ""
    keyframes, samples = landmark_map.keyframes, landmark_map.scene().calibration.samples
    left_out = count_localized(keyframes.translations, config.calibration_gap_m)
    if left_out and samples >= USUALLY_LOCALIZED * left_out:
        return ""
    causes = _find_causes(images, config, keypoint_model, progress)
    localized = str(samples) if samples else f"fewer than {MIN_SAMPLES}"
    found = f"{localized} of {left_out} left-out images were localized" if left_out else "there are few to leave out"
    if causes:
        return f"the map is of wrong input: {causes}; {found}"
    # of fewer that were left out, most may have been found
    if samples or left_out < MIN_SAMPLES / USUALLY_LOCALIZED:
        return ""
    return f"the map does not find its own images: {found}; {LIKELY_CAUSES}"


def _find_causes(
    images: Sequence[PosedImage], config: MappingConfig, keypoint_model: KeypointModel | None, progress: Progress
) -> str:
    extractor = build_extractor(config.extractor, keypoint_model, inference=config.inference)
    return "; or ".join(map(str, find_input_mistakes(images, extractor, progress)))
