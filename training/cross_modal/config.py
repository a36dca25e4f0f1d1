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

"""Every parameter of a cross-modal model and its training, with presets; saved with every run and every model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from training.data.view_augmentation import ViewAugmentationConfig
from training.framework.configuration import BEST, LAST, FitConfig, override_parameters
from training.place_recognition.geolocalization.config import GEM, MIXVPR, NETVLAD, STRIDE_PX, NetworkConfig
from vloc_ros.core.clouds.range_view import RangeView
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError

MONITORED = "R@1"
_STRIDE = 8


@dataclass(frozen=True, slots=True)
class ImageNetworkConfig(NetworkConfig):
    """The network of the images."""

    aggregation: str = parameter(MIXVPR, "of the local features", choices=(GEM, NETVLAD, MIXVPR))
    frozen: int = parameter(
        4, "first layers and blocks of a pretrained backbone that are not trained, from the input on", low=0, high=1000
    )
    height: int = parameter(64, f"height of the input, a multiple of {STRIDE_PX}", unit="px", low=64, high=1920)
    width: int = parameter(160, f"width of the input, a multiple of {STRIDE_PX}", unit="px", low=64, high=1920)
    dimension: int = parameter(256, "length of both networks' descriptors", low=8, high=65536)
    mixer_layers: int = parameter(2, "feature mixers of MixVPR", low=1, high=32)
    mixer_channels: int = parameter(96, "channels after MixVPR's projection", low=1, high=4096)


@dataclass(frozen=True, slots=True)
class CameraAugmentationConfig(ViewAugmentationConfig):
    """How images are augmented; a cropped image no longer has the field of view of its scan."""

    crop: float = parameter(0.08, "largest share of width and of height that is cropped", low=0.0, high=0.9)


@dataclass(frozen=True, slots=True)
class RangeNetworkConfig(Checked):
    """The views of a cloud, and the network that describes one."""

    height: int = parameter(32, f"rows of a view, a multiple of {_STRIDE}", unit="px", low=8, high=512)
    width: int = parameter(96, f"columns of a view, a multiple of {_STRIDE}", unit="px", low=8, high=2048)
    lowest_deg: float = parameter(-25.0, "elevation of the lower edge", unit="deg", low=-90.0, high=90.0)
    highest_deg: float = parameter(15.0, "elevation of the upper edge", unit="deg", low=-90.0, high=90.0)
    range_m: float = parameter(80.0, "points further away are left out", unit="m", low=1.0, high=1000.0)
    headings: int = parameter(8, "views of a place on the map, all around", low=1, high=64)
    channels: int = parameter(24, "channels of the first stage, doubled by each of the next two", low=4, high=256)
    blocks: int = parameter(1, "residual blocks of a stage", low=1, high=16)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for name in ("height", "width"):
            if getattr(self, name) % _STRIDE:
                raise ConfigError(f"parameter {name} is {getattr(self, name)}, expected a multiple of {_STRIDE}")
        if self.lowest_deg >= self.highest_deg:
            raise ConfigError(
                f"parameters lowest_deg and highest_deg are {self.lowest_deg:g} and {self.highest_deg:g}, expected "
                "the lower one first"
            )

    def view(self, field_of_view_rad: float) -> RangeView:
        """The pixels of a view as wide as a camera's."""
        lowest, highest = math.radians(self.lowest_deg), math.radians(self.highest_deg)
        return RangeView(self.height, self.width, field_of_view_rad, lowest, highest, self.range_m)


@dataclass(frozen=True, slots=True)
class PairConfig(Checked):
    """Which records show one place."""

    positive_m: float = parameter(10.0, "largest distance of records of one place", unit="m", low=0.1, high=1000.0)
    negative_m: float = parameter(25.0, "least distance of records of different places", unit="m", low=0.1, high=1000.0)
    max_angle_deg: float = parameter(
        30.0, "largest angle between the optical axes of one place", unit="deg", low=1.0, high=180.0
    )

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.negative_m < self.positive_m:
            raise ConfigError(
                f"parameter negative_m is {self.negative_m:g}, expected at least positive_m, {self.positive_m:g}"
            )


@dataclass(frozen=True, slots=True)
class ContrastiveConfig(Checked):
    """The loss."""

    temperature: float = parameter(0.05, "of the softmax over a batch", low=0.001, high=10.0)
    within: float = parameter(0.25, "weight of image against image, and of view against view", low=0.0, high=10.0)


@dataclass(frozen=True, slots=True)
class CloudAugmentationConfig(Checked):
    """How clouds are augmented at every step."""

    shift_m: float = parameter(1.5, "largest shift of the sensor along each level axis", unit="m", low=0.0, high=20.0)
    turn_deg: float = parameter(8.0, "largest turn of the sensor about the vertical", unit="deg", low=0.0, high=180.0)
    without_intensity: float = parameter(0.2, "share of clouds whose intensity is left out", low=0.0, high=1.0)
    thinned: float = parameter(0.3, "share of clouds of which up to three quarters of the points are left out",
                               low=0.0, high=1.0)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CrossModalFitConfig(FitConfig):
    """How the two networks are fitted together."""

    epochs: int = parameter(30, "epochs", low=1, high=100_000)
    learning_rate: float = parameter(1e-3, "largest learning rate, of random weights", low=1e-7, high=1.0)
    backbone_rate: float = parameter(0.3, "learning rate of a pretrained backbone, as a share", low=0.0, high=1.0)
    weight_decay: float = parameter(1e-2, "weight decay, decoupled from the gradient by adamw", low=0.0, high=1.0)
    places: int = parameter(16, "places of a batch, with two records each", low=2, high=4096)
    batches: int = parameter(0, "batches of an epoch; 0 for every record once", low=0, high=1_000_000)
    scored_every: int = parameter(3, "epochs between validations; the last epoch has one", low=1, high=100_000)
    monitored: str = parameter(MONITORED, "score of val that kept=best and patience go by")
    kept: str = parameter(BEST, "epoch whose weights become the model", choices=(BEST, LAST))


@dataclass(frozen=True, slots=True)
class CrossModalConfig(Checked):
    """Two networks with one descriptor space, and their training."""

    image: ImageNetworkConfig = field(default_factory=ImageNetworkConfig)
    range: RangeNetworkConfig = field(default_factory=RangeNetworkConfig)
    pairs: PairConfig = field(default_factory=PairConfig)
    loss: ContrastiveConfig = field(default_factory=ContrastiveConfig)
    augmentation: CameraAugmentationConfig = field(default_factory=CameraAugmentationConfig)
    clouds: CloudAugmentationConfig = field(default_factory=CloudAugmentationConfig)
    fit: CrossModalFitConfig = field(default_factory=CrossModalFitConfig)


PRESETS = {"small": CrossModalConfig()}
PRESETS["base"] = CrossModalConfig(
    image=ImageNetworkConfig(height=192, width=512, frozen=0, mixer_layers=4, mixer_channels=128),
    range=RangeNetworkConfig(height=64, width=256, channels=48, blocks=2),
    fit=CrossModalFitConfig(places=64, precision="bf16-mixed", workers=12),
)


def build_config(preset: str, assignments: Sequence[str] = ()) -> CrossModalConfig:
    """A preset with some parameters overridden, such as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], assignments)
