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

"""Parameters of building a map."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vloc_ros.core.config import Checked, InferenceConfig, config_from_mapping, parameter
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.features.extractor_config import ExtractorConfig, RootSiftConfig, change_extractor


@dataclass(frozen=True, slots=True)
class MappingConfig(Checked):
    """How a map is built."""

    extractor: ExtractorConfig = field(default_factory=RootSiftConfig)
    pairs_per_image: int = parameter(20, "other images that each image is matched with", low=1, high=1000)
    pair_max_angle_rad: float = parameter(
        1.05, "viewing directions of two matched images differ at most by this", unit="rad", low=0.05, high=3.15
    )
    exhaustive_max_images: int = parameter(
        120, "without poses, up to this many images all pairs are matched", low=2, high=10000
    )
    match_ratio: float = parameter(0.85, "nearest over second-nearest descriptor distance, at most", low=0.1, high=1.0)
    max_epipolar_error_px: float = parameter(
        3.0, "distance of a match from the epipolar line of two known poses", unit="px", low=0.1, high=100.0
    )
    max_relative_pose_error_px: float = parameter(
        1.0, "distance of a match from the epipolar line of an estimated relative pose", unit="px", low=0.1, high=100.0
    )
    min_pair_matches: int = parameter(
        12, "matches that agree with two images' known poses and make the pair count", low=5, high=1000
    )
    min_unposed_matches: int = parameter(
        20, "matches that one relative pose must explain to make a pair without known poses count", low=5, high=1000
    )
    min_track_length: int = parameter(3, "images that must observe a point", low=2, high=100)
    min_placed_share: float = parameter(
        0.5,
        "part of the images that must see enough of the map; less makes a map of the largest part that fits together",
        low=0.0,
        high=1.0,
    )
    refine_calibration: bool = parameter(
        False, "correct the cameras' calibrations by what the images show; the map carries the corrected ones"
    )
    descriptor_dimension: int = parameter(64, "bytes of a compact descriptor", low=8, high=256)
    landmark_extent_rad: float = parameter(
        0.6, "a landmark fills this angle of a view, at most", unit="rad", low=0.05, high=3.15
    )
    landmark_max_points: int = parameter(300, "points of a landmark, at most", low=20, high=100000)
    landmark_min_points: int = parameter(30, "a landmark is not divided into parts of fewer points", low=1, high=100000)
    coarse_landmark_extent_rad: float = parameter(
        1.5,
        "a coarse landmark, of which the others are parts, fills this angle, at most",
        unit="rad",
        low=0.05,
        high=6.3,
    )
    coarse_landmark_max_points: int = parameter(2000, "points of a coarse landmark, at most", low=20, high=1000000)
    vocabulary_words: int = parameter(32, "visual words of the VLAD index", low=2, high=4096)
    calibration_gap_m: float = parameter(
        0.8,
        "length of the trajectory segments that are left out in turn to calibrate the covariance; 0 for none",
        unit="m",
        low=0.0,
        high=1000.0,
    )
    inference: InferenceConfig = field(default_factory=InferenceConfig)


def mapping_config_from(values: Mapping[str, Any], *, extractor: ExtractorConfig | None = None) -> MappingConfig:
    """A configuration from nested mappings.

    Args:
        values: by group; those of `extractor` are parameters of the extractor that is given.
        extractor: None for RootSIFT.

    Raises:
        ConfigError: a name is unknown, a value has the wrong type or lies outside its range.
    """
    config = config_from_mapping(MappingConfig, {name: value for name, value in values.items() if name != "extractor"})
    given = values.get("extractor", {})
    if not isinstance(given, Mapping):
        raise ConfigError(f"parameter extractor is {given!r}, expected a group of parameters")
    return replace(config, extractor=change_extractor(extractor or config.extractor, given))
