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

"""Every parameter of a global descriptor model and its training, with presets; saved with every run and every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.data.overlap import BOXES, DISTANCE, POINTS
from training.data.view_augmentation import ViewAugmentationConfig
from training.framework.configuration import BEST, LAST, FitConfig, override_parameters
from training.place_recognition.ranking import AT
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError

MODELS = ("teacher", "student", "resnet18-gem", "resnet18-netvlad")
FINE_PATCH_PX, COARSE_PATCH_PX = 12, 16
RESIDUAL_LENGTH = 32


@dataclass(frozen=True, slots=True)
class CrossVitConfig(Checked):
    """A CrossViT: two branches of tokens that exchange their class tokens after every stage."""

    size: int = parameter(240, "side of the input image, a multiple of 12", unit="px", low=48, high=960)
    coarse_size: int = parameter(
        224, "side of the input of the student's second branch, a multiple of 16", unit="px", low=32, high=960
    )
    width: int = parameter(96, "length of a token of the first branch", low=12, high=2048)
    second_width: int = parameter(192, "length of a token of the second branch", low=12, high=2048)
    heads: int = parameter(3, "attention heads", low=1, high=32)
    stages: int = parameter(3, "stages, after each of which the branches exchange class tokens", low=1, high=24)
    blocks: int = parameter(1, "blocks of the first branch in a stage", low=1, high=24)
    second_blocks: int = parameter(4, "blocks of the second branch in a stage", low=1, high=24)
    dimension: int = parameter(256, "length of the descriptor", low=8, high=4096)
    stem: str = parameter(
        "pixels", "input of the patch tokens; gradients need fewer images", choices=("pixels", "gradients")
    )
    residuals: int = parameter(
        0, "clusters of the residual branch (VLAD of dense gradients); 0 for no such branch", low=0, high=1024
    )
    drop_path: float = parameter(0.0, "largest rate of stochastic depth", low=0.0, high=0.9)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        for name, multiple in (("size", FINE_PATCH_PX), ("coarse_size", COARSE_PATCH_PX)):
            if getattr(self, name) % multiple:
                raise ConfigError(f"parameter {name} is {getattr(self, name)}, expected a multiple of {multiple}")
        fewest = -(-self.dimension // RESIDUAL_LENGTH)
        if 0 < self.residuals < fewest:
            raise ConfigError(
                f"parameter residuals is {self.residuals}, expected 0 or at least {fewest} for {self.dimension} numbers"
            )
        for name in ("width", "second_width"):
            if getattr(self, name) % (2 * self.heads):
                raise ConfigError(
                    f"parameter {name} is {getattr(self, name)}, expected a multiple of twice the {self.heads} heads"
                )


@dataclass(frozen=True, slots=True)
class SpatialConfig(Checked):
    """The positional encoding of the teacher's spatial branch."""

    encoding: str = parameter("rotary", "encoding of the 3D positions of patches", choices=("rotary", "none"))
    shortest_m: float = parameter(0.2, "shortest wavelength", unit="m", low=1e-3, high=1e4)
    longest_m: float = parameter(0.0, "longest wavelength; 0 for the extent of the map", unit="m", low=0.0, high=1e6)


@dataclass(frozen=True, slots=True)
class ConvolutionConfig(Checked):
    """The convolutional baselines."""

    backbone: str = parameter("resnet18", "name in timm; its stage of stride 16 is pooled")
    size: int = parameter(240, "side of the input image", unit="px", low=32, high=1920)
    clusters: int = parameter(64, "clusters of NetVLAD", low=2, high=1024)
    power: float = parameter(3.0, "initial power of GeM", low=1.0, high=20.0)


@dataclass(frozen=True, slots=True)
class MiningConfig(Checked):
    """Which images are put into a batch."""

    overlap: str = parameter(
        POINTS,
        "Jaccard index of 3D points, or of their bounding boxes; or by distance, for images without points",
        choices=(POINTS, BOXES, DISTANCE),
    )
    negative_selection: str = parameter(
        "hard",
        "hard: near by pose or by covisibility, and the nearest descriptors of a batch; or random",
        choices=("hard", "random"),
    )
    min_shared: int = parameter(8, "fewest points that an image shares with a positive", low=1, high=10000)
    positive_radius_m: float = parameter(
        10.0, "largest distance of a positive, by distance", unit="m", low=0.0, high=1e6
    )
    negative_radius_m: float = parameter(
        25.0, "least distance of a negative, by distance", unit="m", low=1e-3, high=1e6
    )
    positives: int = parameter(3, "positives of an anchor", low=1, high=100)
    negatives: int = parameter(2, "negatives of an anchor", low=0, high=100)
    hardest: int = parameter(8, "negatives of an image in a batch that enter the loss", low=1, high=10000)


@dataclass(frozen=True, slots=True)
class PlaceAugmentationConfig(ViewAugmentationConfig):
    """How images are augmented at every step of training, and a teacher's structure with them."""

    points: float = parameter(0.7, "largest share of the 3D points that are hidden from a teacher", low=0.0, high=0.99)


@dataclass(frozen=True, slots=True)
class LossConfig(Checked):
    """The loss, a weighted sum."""

    margin: float = parameter(0.5, "margin of the contrastive loss, which has weight 1", low=0.01, high=2.0)
    listwise: float = parameter(0.1, "weight of the listwise ranking loss", low=0.0, high=1000.0)
    distillation: float = parameter(1.0, "weight of the distillation of descriptors", low=0.0, high=1000.0)
    patch_distillation: float = parameter(
        1.0, "weight of the distillation of the residual branch's patch weights", low=0.0, high=1000.0
    )
    sigma: float = parameter(0.2, "width of the Gaussian kernel over descriptor distances", low=0.01, high=10.0)


@dataclass(frozen=True, slots=True)
class PlaceFitConfig(FitConfig):
    """How a network is fitted."""

    epochs: int = parameter(30, "epochs, in each of which every image is an anchor once", low=1, high=100_000)
    scored_every: int = parameter(5, "epochs between retrieval scores of the held-out images", low=1, high=100_000)
    monitored: str = parameter(
        "P@5",
        "retrieval score that kept=best and patience go by",
        choices=tuple(f"{letter}@{k}" for letter in "PR" for k in AT),
    )
    kept: str = parameter(LAST, "epoch whose weights become the model", choices=(BEST, LAST))
    groups: int = parameter(4, "anchors in a batch, each with its positives and negatives", low=1, high=1024)
    scored_share: float = parameter(0.1, "least Jaccard index of a positive in those scores", low=0.0, high=1.0)
    in_memory: bool = parameter(True, "keep all images in memory, decoded")


@dataclass(frozen=True, slots=True)
class PlaceRecognitionConfig(Checked):
    """A global descriptor model and its training."""

    model: str = parameter("student", "model to train", choices=MODELS)
    network: CrossVitConfig = field(default_factory=CrossVitConfig)
    spatial: SpatialConfig = field(default_factory=SpatialConfig)
    convolution: ConvolutionConfig = field(default_factory=ConvolutionConfig)
    mining: MiningConfig = field(default_factory=MiningConfig)
    augmentation: PlaceAugmentationConfig = field(default_factory=PlaceAugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    fit: PlaceFitConfig = field(default_factory=PlaceFitConfig)

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the model's images."""
        size = self.network.size if self.model in ("teacher", "student") else self.convolution.size
        return size, size


PRESETS: dict[str, PlaceRecognitionConfig] = {
    "small": PlaceRecognitionConfig(
        network=CrossVitConfig(
            size=144,
            coarse_size=128,
            width=48,
            second_width=96,
            heads=2,
            stages=2,
            blocks=1,
            second_blocks=2,
            stem="gradients",
            residuals=128,
        ),
        convolution=ConvolutionConfig(size=144),
    ),
    "base": PlaceRecognitionConfig(
        network=CrossVitConfig(drop_path=0.1),
        fit=PlaceFitConfig(
            epochs=60, groups=16, learning_rate=3e-4, precision="bf16-mixed", workers=12, in_memory=False
        ),
    ),
}


def build_config(preset: str, assignments: Sequence[str] = (), *, model: str = "student") -> PlaceRecognitionConfig:
    """A preset of a model with some parameters overridden, such as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], [*assignments, f"model={model}"])
