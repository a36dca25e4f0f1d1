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

"""Every parameter of a training from positions alone, as the visual geo-localization benchmark has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.data.view_augmentation import ViewAugmentationConfig
from training.framework.configuration import BEST, LAST, FitConfig, override_parameters
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError
from vloc_ros.evaluation.place_scores import RECALLS

EFFICIENTNET, CROSSVIT = "efficientnet-lite0", "crossvit"
GEM, NETVLAD, MIXVPR, GRID = "gem", "netvlad", "mixvpr", "grid"
TRIPLET, MULTI_SIMILARITY, COSPLACE = "triplet", "multi_similarity", "cosplace"
FULL, PARTIAL, RANDOM = "full", "partial", "random"
STRIDE_PX, CROSSVIT_PATCH_PX = 32, 12
TURN_DEG = 360.0


@dataclass(frozen=True, slots=True)
class NetworkConfig(Checked):
    """A backbone whose local features are aggregated to one descriptor."""

    backbone: str = parameter(EFFICIENTNET, f"{EFFICIENTNET}, {CROSSVIT}, or a convolutional network of timm by name")
    aggregation: str = parameter(GEM, "of the local features", choices=(GEM, NETVLAD, MIXVPR, GRID))
    stride: int = parameter(16, "stride of the local features, of convolutional backbones", unit="px", low=4, high=32)
    frozen: int = parameter(
        0, "first layers and blocks of a pretrained backbone that are not trained, from the input on", low=0, high=1000
    )
    height: int = parameter(224, f"height of the input, a multiple of {STRIDE_PX}", unit="px", low=64, high=1920)
    width: int = parameter(288, f"width of the input, a multiple of {STRIDE_PX}", unit="px", low=64, high=1920)
    own_statistics: bool = parameter(True, "standardise each image by its own mean and deviation too")
    dimension: int = parameter(256, "length of the descriptor, by a projection; 0 for none", low=0, high=65536)
    power: float = parameter(3.0, "initial power of GeM", low=1.0, high=20.0)
    clusters: int = parameter(32, "clusters of NetVLAD", low=2, high=1024)
    mixer_layers: int = parameter(4, "feature mixers of MixVPR", low=1, high=32)
    mixer_channels: int = parameter(128, "channels after MixVPR's projection", low=1, high=4096)
    mixer_rows: int = parameter(4, "values of each of these channels", low=1, high=64)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        multiple = CROSSVIT_PATCH_PX if self.backbone == CROSSVIT else STRIDE_PX
        for name in ("height", "width"):
            if getattr(self, name) % multiple:
                raise ConfigError(f"parameter {name} is {getattr(self, name)}, expected a multiple of {multiple}")
        if self.backbone == CROSSVIT and self.height != self.width:
            raise ConfigError(
                f"parameters height and width are {self.height} and {self.width}, expected a square for {CROSSVIT}, "
                "such as 240 and 240"
            )

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.height, self.width


@dataclass(frozen=True, slots=True)
class TupleConfig(Checked):
    """Which images are put into a batch."""

    mining: str = parameter(
        PARTIAL,
        "negatives of triplets: the hardest of all, the hardest of a random sample, or random ones",
        choices=(FULL, PARTIAL, RANDOM),
    )
    sampled: int = parameter(1000, "database images in the sample of partial mining", low=1, high=10_000_000)
    negatives: int = parameter(5, "negatives of a query", low=1, high=1000)
    images_per_place: int = parameter(4, "images of a place in a batch of multi_similarity", low=2, high=100)
    max_angle_deg: float = parameter(
        0.0, "largest angle between the headings of positives; 0 for any", unit="deg", low=0.0, high=180.0
    )
    cell_m: float = parameter(10.0, "side of a cell of cosplace", unit="m", low=0.01, high=1e5)
    sector_deg: float = parameter(
        60.0, "headings in a cell of cosplace; 360 where they are not known", unit="deg", low=1.0, high=360.0
    )
    groups: int = parameter(2, "neighbouring cells along each axis that are in different groups", low=1, high=20)
    images_per_cell: int = parameter(2, "fewest images of a cell of cosplace", low=1, high=10_000)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        sectors = TURN_DEG / self.sector_deg
        if sectors not in (1.0, *range(2, 361, 2)):  # else the first and the last sector would be in one group
            raise ConfigError(
                f"parameter sector_deg is {self.sector_deg:g}, expected 360, or that by an even number, such as 60"
            )


@dataclass(frozen=True, slots=True)
class PositionLossConfig(Checked):
    """The loss."""

    kind: str = parameter(TRIPLET, "which", choices=(TRIPLET, MULTI_SIMILARITY, COSPLACE))
    margin: float = parameter(0.1, "margin of triplet", low=0.001, high=2.0)
    positive_scale: float = parameter(1.0, "alpha of multi_similarity", low=0.1, high=1000.0)
    negative_scale: float = parameter(50.0, "beta of multi_similarity", low=0.1, high=1000.0)
    base: float = parameter(0.0, "similarity around which multi_similarity weights", low=-1.0, high=1.0)
    cosine_scale: float = parameter(30.0, "scale of cosplace's logits", low=1.0, high=1000.0)
    cosine_margin: float = parameter(0.4, "margin of cosplace's cosines", low=0.0, high=1.0)
    distillation: float = parameter(1.0, "weight of the distillation from teachers", low=0.0, high=1000.0)
    sigma: float = parameter(0.2, "width of the distillation's kernel over descriptor distances", low=0.01, high=10.0)


@dataclass(frozen=True, slots=True)
class PositionFitConfig(FitConfig):
    """How a network is fitted."""

    epochs: int = parameter(30, "epochs; negatives are mined at the start of each", low=1, high=100_000)
    learning_rate: float = parameter(1e-4, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(1e-4, "weight decay, decoupled from the gradient by adamw", low=0.0, high=1.0)
    groups: int = parameter(
        4, "queries, or places, in a batch; of cosplace four times as many images", low=1, high=1024
    )
    batches: int = parameter(0, "batches of an epoch; 0 for every query once", low=0, high=1_000_000)
    monitored: str = parameter(
        "R@5", "score of val that kept=best and patience go by", choices=tuple(f"R@{n}" for n in RECALLS)
    )
    kept: str = parameter(BEST, "epoch whose weights become the model", choices=(BEST, LAST))
    patience: int = parameter(
        3, "validations without a better score after which training stops; 0 for never", low=0, high=100_000
    )
    in_memory: bool = parameter(True, "keep all images in memory, reduced to 1.3 times the input")


@dataclass(frozen=True, slots=True)
class GeolocalizationConfig(Checked):
    """A network and its training from positions."""

    network: NetworkConfig = field(default_factory=NetworkConfig)
    tuples: TupleConfig = field(default_factory=TupleConfig)
    loss: PositionLossConfig = field(default_factory=PositionLossConfig)
    augmentation: ViewAugmentationConfig = field(default_factory=ViewAugmentationConfig)
    fit: PositionFitConfig = field(default_factory=PositionFitConfig)


PRESETS = {"small": GeolocalizationConfig()}
PRESETS["base"] = GeolocalizationConfig(
    network=NetworkConfig(height=320, width=320),
    fit=PositionFitConfig(groups=16, precision="bf16-mixed", workers=12, in_memory=False),
)


def build_config(preset: str, assignments: Sequence[str] = ()) -> GeolocalizationConfig:
    """A preset with some parameters overridden, such as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], assignments)
