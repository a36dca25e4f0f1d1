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

"""A map in use, with its localizer and the models that this was made with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from vloc_ros.assembly import build_localizer, build_moving_camera
from vloc_ros.core.config import LocalizerConfig
from vloc_ros.core.errors import VlocError
from vloc_ros.core.features.matching_network import MatchingNetwork
from vloc_ros.core.localization.landmark_candidates import LandmarkRecognizer
from vloc_ros.core.localization.localizer import Localizer
from vloc_ros.core.retrieval.encoders import QueryEncoder
from vloc_ros.core.tracking.moving_camera import MovingCamera


@dataclass(frozen=True, slots=True)
class LoadedMap:
    """A map in use.

    Attributes:
        localizer: localizer of the map.
        hash: hash of the map.
        recognizer: landmark recogniser, None without one.
        encoder: global descriptor model, None without one.
        network: learned matcher, None without one.
        sensor: that is localized, the parameter of the node.
        moving_camera: localizes by clouds of the last images, None where the map has another use for images.
    """

    localizer: Localizer
    hash: str
    recognizer: LandmarkRecognizer | None = None
    encoder: QueryEncoder | None = None
    network: MatchingNetwork | None = None
    sensor: str = "camera"
    moving_camera: MovingCamera | None = None

    def with_moving_camera(self, config: LocalizerConfig, *, warn: Callable[[str], object]) -> LoadedMap:
        """Return the map with what localizes by its LiDAR places a camera; with both sensors the LiDAR does without.

        Raises:
            VlocError: the map cannot be used so, and nothing else localizes.
        """
        if self.sensor == "lidar":
            return replace(self, moving_camera=None)
        try:
            return replace(self, moving_camera=build_moving_camera(config, self.localizer.map))
        except VlocError as error:
            if self.sensor == "camera":
                raise
            warn(f"images are not localized, scans are: {error}; sensor:=lidar leaves them out")
            return replace(self, moving_camera=None)

    def with_parameters(self, config: LocalizerConfig, *, warn: Callable[[str], object]) -> LoadedMap:
        """Return the same map with other parameters of the stages.

        Raises:
            VlocError: the map cannot be used with them.
        """
        localizer = build_localizer(
            config,
            self.localizer.map_index,
            extractor=self.localizer.extractor,
            recognizer=self.recognizer,
            encoder=self.encoder,
            network=self.network,
            by_scans=self.sensor != "camera",
        )
        return replace(self, localizer=localizer).with_moving_camera(config, warn=warn)
