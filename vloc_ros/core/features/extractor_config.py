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

"""Configurations of the extractors that find a map's keypoints: one class for each, distinguished by `name`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from vloc_ros.core.config import Checked, config_from_mapping, parameter
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics

_HASH = re.compile(r"[0-9a-f]{64}")
# what says which model it is, not how it is run
_IDENTITY = ("name", "model", "model_hash")


@dataclass(frozen=True, slots=True)
class RootSiftConfig(Checked):
    """RootSIFT. Fixed when a map is built, and stored with it."""

    name: str = parameter("rootsift", "keypoint extractor", choices=("rootsift",))
    max_keypoints: int = parameter(1500, "keypoints per image, strongest first", low=50, high=20000)
    contrast_threshold: float = parameter(
        0.02, "SIFT contrast threshold of a well-lit image; lower finds more", low=0.001, high=0.2
    )
    min_contrast_threshold: float = parameter(
        0.005, "the threshold falls to this where an image shows fewer keypoints than it should", low=0.001, high=0.2
    )
    min_keypoints: int = parameter(
        750,
        "keypoints that an image of 640x480 or more should show; where it shows fewer its contrast threshold falls",
        low=0,
        high=20000,
    )
    max_megapixels: float = parameter(
        1.0, "of an image; a larger one is reduced to so many first", unit="Mpx", low=0.01, high=1000.0
    )

    # Medians over six scenes, two real and four simulated. The distance of one point depends on texture and viewpoints,
    # 0.12 to 0.19 from scene to scene; limits measured on one map would depend on its scene.
    recorded_statistics: ClassVar[DescriptorStatistics | None] = DescriptorStatistics(
        same_point=0.154, unrelated=0.819, source="recorded for rootsift over six scenes"
    )

    # no model
    model_hash: ClassVar[str] = ""

    def covers(self, other: ExtractorConfig) -> bool:
        """Whether descriptors of both can be compared."""
        return isinstance(other, RootSiftConfig)

    def merge(self, other: ExtractorConfig) -> RootSiftConfig:
        """The extractor that finds what either finds."""
        assert isinstance(other, RootSiftConfig)
        return replace(
            self,
            max_keypoints=max(self.max_keypoints, other.max_keypoints),
            contrast_threshold=min(self.contrast_threshold, other.contrast_threshold),
            min_contrast_threshold=min(self.min_contrast_threshold, other.min_contrast_threshold),
            min_keypoints=max(self.min_keypoints, other.min_keypoints),
            max_megapixels=max(self.max_megapixels, other.max_megapixels),
        )

    @property
    def acceptance_table(self) -> str:
        """Name of the table that decides on hypotheses from these keypoints."""
        return self.name

    def describe(self) -> str:
        """The name, for messages."""
        return self.name


@dataclass(frozen=True, slots=True)
class KeypointModelConfig(Checked):
    """A learned extractor: keypoints by a network, of which the map carries the model.

    Raises:
        ConfigError: a value has the wrong type or lies outside its range, or there is no hash of a model.
    """

    name: str = parameter("xfeat", "keypoint extractor", choices=("xfeat", "aliked"))
    model: str = parameter("", "name of the model; that of `vloc map build --extractor MODEL`")
    model_hash: str = parameter("", "hash of the model; that of `vloc map build --extractor MODEL`")
    max_keypoints: int = parameter(
        2000, "keypoints per image, strongest first; the default is the model's own", low=50, high=20000
    )
    min_score: float = parameter(
        0.0, "keypoints with a lower score are left out; the default is the model's own", low=0.0, high=1.0
    )
    max_megapixels: float = parameter(
        1.0, "of an image; a larger one is reduced to so many first", unit="Mpx", low=0.01, high=1000.0
    )

    # measured on every map: networks differ
    recorded_statistics: ClassVar[DescriptorStatistics | None] = None

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if not _HASH.fullmatch(self.model_hash):
            raise ConfigError(
                f"the extractor {self.name} has the model hash {self.model_hash!r}, expected 64 hexadecimal digits; "
                "build the map with --extractor MODEL, a folder that `vloc model export` wrote"
            )

    def covers(self, other: ExtractorConfig) -> bool:
        """Whether descriptors of both can be compared: only those of one model."""
        return (self.name, self.model_hash) == (other.name, other.model_hash)

    def merge(self, other: ExtractorConfig) -> KeypointModelConfig:
        """The extractor that finds what either finds."""
        assert isinstance(other, KeypointModelConfig)
        assert self.covers(other)
        return replace(
            self,
            max_keypoints=max(self.max_keypoints, other.max_keypoints),
            min_score=min(self.min_score, other.min_score),
            max_megapixels=max(self.max_megapixels, other.max_megapixels),
        )

    @property
    def acceptance_table(self) -> str:
        """Name of the table that decides on hypotheses from these keypoints.

        ALIKED has none of its own and is judged by XFeat's, since no evidence depends on the extractor's distances.
        """
        return "xfeat" if self.name == "aliked" else self.model or self.name

    def describe(self) -> str:
        """The model and its short hash, for messages."""
        return f"{self.model or self.name} {self.model_hash[:12]}"


# a union: a further extractor is a class of its own here and in the table
ExtractorConfig = RootSiftConfig | KeypointModelConfig
EXTRACTOR_CONFIGS: Mapping[str, type[ExtractorConfig]] = {
    "rootsift": RootSiftConfig,
    "xfeat": KeypointModelConfig,
    "aliked": KeypointModelConfig,
}


def extractor_config_from(values: Mapping[str, Any]) -> ExtractorConfig:
    """The configuration that a manifest holds, by its `name`.

    Raises:
        ConfigError: the extractor is unknown, or a parameter is.
    """
    name = values.get("name") if isinstance(values, Mapping) else values
    if not isinstance(name, str) or name not in EXTRACTOR_CONFIGS:
        raise ConfigError(
            f"the extractor is {name!r}, this version has {', '.join(EXTRACTOR_CONFIGS)}; update vloc_ros"
        )
    return config_from_mapping(EXTRACTOR_CONFIGS[name], values, "extractor.")


def change_extractor(config: ExtractorConfig, values: Mapping[str, Any]) -> ExtractorConfig:
    """A configuration with some parameters changed, but not those that say which extractor it is.

    Raises:
        ConfigError: a parameter is unknown, has the wrong type or lies outside its range, or names another extractor.
    """
    present = asdict(config)
    for name in _IDENTITY:
        if name in values and values[name] != present.get(name, values[name]):
            raise ConfigError(
                f"parameter extractor.{name} is {values[name]!r}, expected {present[name]!r}; choose the extractor "
                "with --extractor"
            )
    return extractor_config_from({**present, **values})
