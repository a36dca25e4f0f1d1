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

"""Every parameter of a matcher and its training, with presets; saved with every run and every model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from training.framework.configuration import FitConfig, override_parameters
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.errors import ConfigError
from vloc_ros.model_export.matcher_shape import MatcherShape

ROTARY, IMP = "rotary", "imp"


@dataclass(frozen=True, slots=True)
class MatcherNetworkConfig(Checked):
    """The network."""

    kind: str = parameter(ROTARY, "rotary: exported and run by vloc; imp: the published one", choices=(ROTARY, IMP))
    width: int = parameter(128, "length of a token", low=8, high=1024)
    layers: int = parameter(5, "layers, each of self- and cross-attention", low=1, high=48)
    heads: int = parameter(4, "attention heads of each layer", low=1, high=32)
    group: int = parameter(2, "layers between two assignments of the exported network", low=1, high=48)
    share_attention: bool = parameter(False, "every second layer of a group attends as the layer before it")
    temperature: float = parameter(30.0, "of the similarities at the start of training", low=1.0, high=100.0)
    sinkhorn: int = parameter(20, "iterations of Sinkhorn's algorithm, of imp alone", low=1, high=200)
    pooling: bool = parameter(False, "of imp alone: keypoints that are not attended to are left out (EIMP)")

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.width % (2 * self.heads):
            raise ConfigError(f"parameter width is {self.width}, expected a multiple of twice the {self.heads} heads")

    @property
    def groups(self) -> tuple[int, ...]:
        """How many layers run between two assignments; the first group takes the remainder."""
        rest = self.layers % self.group
        return (*((rest,) if rest else ()), *([self.group] * (self.layers // self.group)))

    def shape(self, dimension: int) -> MatcherShape:
        """The network's shape for descriptors of a length."""
        shared: list[int] = []
        first = 0
        for count in self.groups if self.share_attention else ():
            shared += range(first + 1, first + count, 2)
            first += count
        return MatcherShape(dimension, self.width, self.heads, self.layers, tuple(shared))


@dataclass(frozen=True, slots=True)
class DataConfig(Checked):
    """Which pairs are trained on."""

    keypoints: int = parameter(1024, "strongest keypoints of an image that are kept", low=16, high=16384)
    positive_px: float = parameter(3.0, "largest reprojection error of a match", unit="px", low=0.1, high=50.0)
    negative_px: float = parameter(5.0, "least reprojection error of what is no match", unit="px", low=0.1, high=100.0)
    least_overlap: float = parameter(0.1, "of a pair, share of keypoints that the other shows", low=0.01, high=1.0)
    most_overlap: float = parameter(0.9, "of a pair, share of keypoints that the other shows", low=0.01, high=1.0)
    strangers: float = parameter(0.1, "share of pairs of different places, where nothing matches", low=0.0, high=0.9)
    dusk: float = parameter(0.25, "share of the second walks in simulated worlds at dusk", low=0.0, high=1.0)
    night: float = parameter(0.25, "share of the second walks in simulated worlds at night", low=0.0, high=1.0)
    frames: int = parameter(16, "images of each of the two walks in a simulated world", low=2, high=1000)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.positive_px > self.negative_px:
            raise ConfigError(
                f"parameter positive_px is {self.positive_px:g}, expected at most negative_px, {self.negative_px:g}"
            )
        if self.least_overlap >= self.most_overlap:
            raise ConfigError(
                f"parameter least_overlap is {self.least_overlap:g}, expected less than most_overlap, "
                f"{self.most_overlap:g}"
            )


@dataclass(frozen=True, slots=True)
class VersionConfig(Checked):
    """Versions of an image by the motion of a camera in front of a plane, see `draw_homography`."""

    versions: int = parameter(4, "versions of each image, the first of them unchanged", low=2, high=100)
    sideways: float = parameter(0.25, "largest sideways step, relative to the distance", low=0.0, high=1.0)
    forward: float = parameter(0.3, "largest step forward or back, relative to the distance", low=0.0, high=0.8)
    tilt_deg: float = parameter(40.0, "largest tilt of the plane", low=0.0, high=75.0)
    roll_deg: float = parameter(45.0, "largest rotation about the optical axis", low=0.0, high=180.0)


@dataclass(frozen=True, slots=True)
class LightConfig(Checked):
    """Light of versions of images, and of photographs of MegaDepth that are read anew for every epoch."""

    light: float = parameter(0.4, "largest change of brightness, contrast and each colour", low=0.0, high=0.9)
    dusk: float = parameter(0.15, "share of images relit as at dusk", low=0.0, high=1.0)
    night: float = parameter(0.15, "share of images relit as at night, by lamps", low=0.0, high=1.0)
    blur_px: float = parameter(1.0, "largest sigma of a blur", unit="px", low=0.0, high=20.0)


@dataclass(frozen=True, slots=True)
class MatchingLossConfig(Checked):
    """The terms of the loss."""

    growth: float = parameter(1.0, "weight of layer i is i to this power, 0 for a plain mean", low=0.0, high=4.0)
    positives: float = parameter(0.5, "share of matches in the loss, the rest is of what has none", low=0.0, high=1.0)
    confidence: float = parameter(1.0, "weight of the confidence", low=0.0, high=10.0)
    pose: float = parameter(0.0, "weight of matches far from their epipolar line; 0 for none", low=0.0, high=10.0)


@dataclass(frozen=True, slots=True)
class MatcherFitConfig(FitConfig):
    """How the network is fitted."""

    epochs: int = parameter(20, "epochs", low=1, high=100_000)
    learning_rate: float = parameter(1e-3, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(0.01, "weight decay, decoupled from the gradient by adamw", low=0.0, high=1.0)
    warm_up: float = parameter(0.03, "share of the steps in which the learning rate rises", low=0.0, high=0.9)
    monitored: str = parameter(
        "auc10", "score of held-out pairs that kept=best and patience go by",
        choices=("auc5", "auc10", "auc20", "precision", "recall"),
    )  # fmt: skip
    batch: int = parameter(4, "pairs per step", low=1, high=1024)
    pairs: int = parameter(600, "pairs of an epoch", low=1, high=10_000_000)
    drawn_keypoints: int = parameter(256, "keypoints of each image at a training step", low=8, high=8192)
    drawn_matches: float = parameter(0.5, "largest share of the drawn keypoints that match", low=0.05, high=1.0)
    scored_pairs: int = parameter(60, "held-out pairs that are scored", low=1, high=100_000)
    scored_keypoints: int = parameter(512, "strongest keypoints of each image for scores", low=8, high=8192)


@dataclass(frozen=True, slots=True)
class MatcherTrainingConfig(Checked):
    """A matcher and its training."""

    model: MatcherNetworkConfig = field(default_factory=MatcherNetworkConfig)
    data: DataConfig = field(default_factory=DataConfig)
    images: VersionConfig = field(default_factory=VersionConfig)
    light: LightConfig = field(default_factory=LightConfig)
    loss: MatchingLossConfig = field(default_factory=MatchingLossConfig)
    fit: MatcherFitConfig = field(default_factory=MatcherFitConfig)


PRESETS: dict[str, MatcherTrainingConfig] = {
    "tiny": MatcherTrainingConfig(
        model=MatcherNetworkConfig(width=64, layers=3, group=1), fit=MatcherFitConfig(epochs=8, pairs=400)
    ),
    "small": MatcherTrainingConfig(),
    "base": MatcherTrainingConfig(
        model=MatcherNetworkConfig(width=256, layers=9, group=3),
        data=DataConfig(keypoints=2048),
        fit=MatcherFitConfig(
            epochs=60, pairs=40_000, batch=32, drawn_keypoints=1024, scored_pairs=500, scored_keypoints=1024,
            learning_rate=2e-4, precision="bf16-mixed", workers=8,
        ),
    ),
    "imp": MatcherTrainingConfig(
        model=MatcherNetworkConfig(kind=IMP, width=256, layers=15, share_attention=True),
        data=DataConfig(keypoints=2048, positive_px=5.0, negative_px=5.0, strangers=0.0, most_overlap=0.8),
        loss=MatchingLossConfig(growth=0.0, confidence=0.0),
        fit=MatcherFitConfig(
            epochs=900, pairs=16_000, batch=16, drawn_keypoints=1024, scored_pairs=500, scored_keypoints=1024,
            optimizer="adam", learning_rate=1e-4, weight_decay=0.0, workers=8,
        ),
    ),
}  # fmt: skip


def build_config(preset: str, assignments: Sequence[str] = ()) -> MatcherTrainingConfig:
    """A preset with some parameters overridden, such as `fit.epochs=20`.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    return override_parameters(PRESETS[preset], assignments)
