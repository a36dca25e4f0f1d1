"""Configurations of the extractors that find a map's keypoints: one class for each, distinguished by `name`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from vloc_ros.core.config import Checked, config_from_mapping, parameter
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.features.descriptor_statistics import DescriptorStatistics


@dataclass(frozen=True, slots=True)
class RootSiftConfig(Checked):
    """RootSIFT. Fixed when a map is built, and stored with it."""

    name: str = parameter("rootsift", "keypoint extractor", choices=("rootsift",))
    max_keypoints: int = parameter(1500, "keypoints per image, strongest first", low=50, high=20000)
    contrast_threshold: float = parameter(0.02, "SIFT contrast threshold; lower finds more", low=0.001, high=0.2)

    # Medians over six scenes, two real and four simulated. The distance of one point depends on texture and viewpoints,
    # 0.12 to 0.19 from scene to scene; limits measured on one map would depend on its scene.
    recorded_statistics: ClassVar[DescriptorStatistics | None] = DescriptorStatistics(
        same_point=0.154, unrelated=0.819, source="recorded for rootsift over six scenes"
    )

    def covers(self, other: ExtractorConfig) -> bool:
        """Whether descriptors of both can be compared."""
        return isinstance(other, RootSiftConfig)

    def merge(self, other: RootSiftConfig) -> RootSiftConfig:
        """The extractor that finds what either finds."""
        return replace(
            self,
            max_keypoints=max(self.max_keypoints, other.max_keypoints),
            contrast_threshold=min(self.contrast_threshold, other.contrast_threshold),
        )


# a union: a further extractor is a class of its own here and in the table
ExtractorConfig = RootSiftConfig
EXTRACTOR_CONFIGS: Mapping[str, type[ExtractorConfig]] = {"rootsift": RootSiftConfig}


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
