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

"""Every parameter of a landmark recogniser and its training, with presets; saved with every run and every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

from training.data.image_augmentation import ImageAugmentationConfig
from training.framework.configuration import FitConfig, override_parameters
from training.landmark_recognizer.scores import RecognitionScores
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError


@dataclass(frozen=True, slots=True)
class ModelConfig(Checked):
    """The transformer."""

    width: int = parameter(128, "length of a token", low=8, high=2048)
    layers: int = parameter(3, "self-attention layers", low=1, high=48)
    heads: int = parameter(4, "attention heads of each layer", low=1, high=32)
    candidates: int = parameter(16, "coarse landmarks of an image whose fine landmarks are classified", low=1, high=256)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.width % (2 * self.heads):
            raise ConfigError(f"parameter width is {self.width}, expected a multiple of twice the {self.heads} heads")


@dataclass(frozen=True, slots=True)
class KeypointAugmentationConfig(Checked):
    """How keypoints are augmented at every step of training."""

    drop: float = parameter(0.3, "largest share of keypoints that are dropped", low=0.0, high=0.95)
    distractors: float = parameter(0.1, "largest share of keypoints taken from other images", low=0.0, high=1.0)
    noise: float = parameter(0.2, "largest length of noise that is added to descriptors of length 1", low=0.0, high=2.0)
    stretch: float = parameter(0.1, "largest stretch and shear of rays", low=0.0, high=0.9)
    roll_deg: float = parameter(10.0, "largest rotation of rays about the optical axis", low=0.0, high=180.0)


@dataclass(frozen=True, slots=True)
class RecognizerFitConfig(FitConfig):
    """How the network is fitted."""

    epochs: int = parameter(
        16, "epochs, in each of which every version of every image is seen once", low=1, high=100_000
    )
    learning_rate: float = parameter(1e-3, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(0.01, "weight decay, decoupled from the gradient by adamw", low=0.0, high=1.0)
    warm_up: float = parameter(0.05, "share of the steps in which the learning rate rises", low=0.0, high=0.9)
    monitored: str = parameter(
        "top1",
        "score of the held-out keyframes that kept=best and patience go by",
        choices=tuple(score.name for score in fields(RecognitionScores)),
    )
    batch: int = parameter(8, "images per step", low=1, high=4096)
    keypoints: int = parameter(512, "strongest keypoints of a query, in use and for scores", low=8, high=8192)
    drawn_keypoints: int = parameter(256, "random keypoints of an image at a training step", low=8, high=8192)
    kept_keypoints: int = parameter(
        1024, "strongest keypoints of an image from which those are drawn", low=8, high=20000
    )
    background_weight: float = parameter(0.2, "weight of background keypoints in the loss", low=0.0, high=10.0)


@dataclass(frozen=True, slots=True)
class RecognizerConfig(Checked):
    """A landmark recogniser and its training."""

    model: ModelConfig = field(default_factory=ModelConfig)
    images: ImageAugmentationConfig = field(default_factory=ImageAugmentationConfig)
    keypoints: KeypointAugmentationConfig = field(default_factory=KeypointAugmentationConfig)
    fit: RecognizerFitConfig = field(default_factory=RecognizerFitConfig)


PRESETS: dict[str, RecognizerConfig] = {
    "small": RecognizerConfig(),
    "base": RecognizerConfig(
        model=ModelConfig(width=256, layers=9, heads=4),
        fit=RecognizerFitConfig(
            epochs=60, batch=32, drawn_keypoints=512, learning_rate=5e-4, precision="bf16-mixed", workers=8
        ),
    ),
}


def build_config(preset: str, assignments: Sequence[str] = ()) -> RecognizerConfig:
    """A preset with some parameters overridden, such as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], assignments)
