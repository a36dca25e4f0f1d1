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

"""Aerial tiles beside the landmarks of a map: the extractor of their keypoints, and how well they lie in its frame."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from vloc_ros.core.errors import ConfigError, MapError
from vloc_ros.core.features.extractor_config import ExtractorConfig, extractor_config_from
from vloc_ros.core.geometry.covariance import FrameUncertainty
from vloc_ros.core.geometry.pose import Array

_EXTRACTOR, _STDS = "extractor", "placement_std"


@dataclass(frozen=True, slots=True)
class TilePlacement:
    """How well tiles lie in the frame of a map; zero where they are the map.

    Attributes:
        position_std_m: standard deviation of their shift along each horizontal axis, metres.
        height_std_m: of their height.
        yaw_std_rad: of their turn about the vertical through their middle.
    """

    position_std_m: float = 0.0
    height_std_m: float = 0.0
    yaw_std_rad: float = 0.0

    def __post_init__(self) -> None:
        values = (self.position_std_m, self.height_std_m, self.yaw_std_rad)
        if not np.isfinite(values).all() or min(values) < 0:
            raise MapError(
                f"the aerial tiles lie in their map by standard deviations of {values}, expected finite values, none "
                "below 0; add them again with `vloc map aerial add`"
            )

    def uncertainty(self, centre: Array) -> FrameUncertainty:
        """That of a frame which the tiles were moved with; `centre` is their (3,) middle."""
        variances = np.array([self.position_std_m, self.position_std_m, self.height_std_m, 0, 0, self.yaw_std_rad, 0])
        return FrameUncertainty(np.diag(variances**2), centre)


def store_placement(extractor: ExtractorConfig, placement: TilePlacement) -> dict[str, Array]:
    """What the retrieval index of tiles beside landmarks stores with its encoder."""
    stds = (placement.position_std_m, placement.height_std_m, placement.yaw_std_rad)
    text = json.dumps(asdict(extractor), sort_keys=True).encode()
    return {_EXTRACTOR: np.frombuffer(text, np.uint8).copy(), _STDS: np.array(stds, np.float64)}


def restore_placement(arrays: Mapping[str, Array]) -> TilePlacement:
    """The placement of tiles.

    Raises:
        MapError: it is damaged.
    """
    stds = np.asarray(arrays.get(_STDS, np.zeros(3)), np.float64)
    if stds.shape != (3,):
        raise MapError(f"the placement of aerial tiles has shape {stds.shape}, expected (3,); add them again")
    return TilePlacement(*(float(value) for value in stds))


def restore_extractor(arrays: Mapping[str, Array], of_map: ExtractorConfig) -> ExtractorConfig:
    """The extractor of the tiles' keypoints, that of the map where the index names none.

    Raises:
        MapError: it is damaged, or unknown.
    """
    if _EXTRACTOR not in arrays:
        return of_map
    try:
        return extractor_config_from(json.loads(np.asarray(arrays[_EXTRACTOR], np.uint8).tobytes()))
    except (ValueError, ConfigError) as error:
        raise MapError(
            f"the aerial tiles name no extractor that this version has ({error}); update vloc_ros, or add them again "
            "with `vloc map aerial add`"
        ) from error
