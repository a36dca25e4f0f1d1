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

"""Every parameter of cross-view retrieval: phase 1, the descriptor, and phase 2, the hierarchy on top of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from training.data.view_augmentation import ViewAugmentationConfig
from training.framework.configuration import BEST, LAST, FitConfig, override_parameters
from training.place_recognition.geolocalization.config import NetworkConfig
from vloc_ros.core.config import Checked, config_from_mapping, parameter
from vloc_ros.core.errors import ConfigError, InputError
from vloc_ros.storage.text import read_text

T = TypeVar("T")
POOLED, FUSION = "pooled", "fusion"
INFONCE, TRIPLET = "infonce", "triplet"
_PRESETS = Path(__file__).parent / "presets"
PRESETS = ("seed", "small")


@dataclass(frozen=True, slots=True)
class FusionConfig(Checked):
    """A hierarchical transformer whose stages are fused and pooled by attention."""

    backbone: str = parameter("swin_tiny_patch4_window7_224", "of timm, with stages")
    side: int = parameter(224, "side of the input", unit="px", low=32, high=1024)
    stages: int = parameter(3, "last stages that are fused", low=1, high=4)
    width: int = parameter(256, "channels that each of them is projected to", low=8, high=4096)
    heads: int = parameter(8, "attention heads of the pooling", low=1, high=64)
    dimension: int = parameter(512, "length of the descriptor", low=8, high=4096)

    def __post_init__(self) -> None:
        Checked.__post_init__(self)
        if self.width % self.heads:
            raise ConfigError(f"parameter width is {self.width}, expected a multiple of the {self.heads} heads")


@dataclass(frozen=True, slots=True)
class CrossViewLossConfig(Checked):
    """The loss of a batch of pairs."""

    kind: str = parameter(INFONCE, "of the pairs", choices=(INFONCE, TRIPLET))
    temperature: float = parameter(0.07, "initial temperature of infonce, which is learned", low=0.005, high=1.0)
    smoothing: float = parameter(0.0, "label smoothing of infonce over the negatives", low=0.0, high=0.5)
    min_overlap: float = parameter(
        0.2, "ground overlap of positives; pairs below, but above max_negative, are left out", low=0.0, high=1.0
    )
    max_negative: float = parameter(0.0, "largest ground overlap of negatives of infonce", low=0.0, high=1.0)
    margin: float = parameter(0.3, "of triplet", low=0.001, high=2.0)
    clip: float = parameter(
        1.0, "weight of the distillation from CLIP, where its weights are given", low=0.0, high=100.0
    )
    dinov2: float = parameter(1.0, "weight of that from DINOv2", low=0.0, high=100.0)


@dataclass(frozen=True, slots=True)
class CrossViewFitConfig(FitConfig):
    """How a network is fitted."""

    epochs: int = parameter(20, "epochs; negatives are mined at the start of each", low=1, high=100_000)
    learning_rate: float = parameter(3e-4, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(1e-4, "weight decay, decoupled from the gradient by adamw", low=0.0, high=1.0)
    pairs: int = parameter(32, "pairs in a batch", low=2, high=4096)
    batches: int = parameter(0, "batches of an epoch; 0 for every query once", low=0, high=1_000_000)
    hard: int = parameter(4, "pairs of a batch that look alike to the network; 1 for random batches", low=1, high=1024)
    regions: int = parameter(
        0, "regions that a batch is of, about, instead of pairs that look alike; 0 for any", low=0, high=100_000
    )
    held_out: float = parameter(
        0.2, "share of places held out, in whole regions where they are known", low=0.0, high=0.5
    )
    monitored: str = parameter("R@1", "score that kept=best and patience go by", choices=("R@1", "R@5", "R@10", "AP"))
    kept: str = parameter(BEST, "epoch whose weights become the model", choices=(BEST, LAST))
    in_memory: bool = parameter(True, "keep all images in memory, reduced to 1.3 times the input")


@dataclass(frozen=True, slots=True)
class CrossViewConfig(Checked):
    """A network for two views of a place, and its training."""

    encoder: str = parameter(
        POOLED, "a pooled backbone of place recognition, or fused stages", choices=(POOLED, FUSION)
    )
    turned: bool = parameter(True, "turn each training image by a random quarter: headings are not known")
    heading_deg: float = parameter(
        0.0,
        "turn training queries of known heading north up, off by up to this, and both views of a pair by one random "
        "quarter, instead of `turned`; 0 for not. Queries are then described at several headings",
        unit="deg", low=0.0, high=180.0,
    )  # fmt: skip
    disc: bool = parameter(False, "see the disc alone that touches the edges: the same ground at every heading")
    network: NetworkConfig = field(default_factory=NetworkConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    loss: CrossViewLossConfig = field(default_factory=CrossViewLossConfig)
    augmentation: ViewAugmentationConfig = field(default_factory=ViewAugmentationConfig)
    fit: CrossViewFitConfig = field(default_factory=CrossViewFitConfig)


@dataclass(frozen=True, slots=True)
class HierarchyConfig(Checked):
    """Phase 2: a region, then a site in it, then a tile of that, each by a classifier on a frozen descriptor."""

    width: int = parameter(256, "units of the hidden layer; 0 for none", low=0, high=8192)
    epochs: int = parameter(100, "epochs, all descriptors at once", low=1, high=100_000)
    learning_rate: float = parameter(1e-2, "of adamw", low=1e-7, high=1.0)
    weight_decay: float = parameter(1e-3, "of adamw", low=0.0, high=1.0)
    noise: float = parameter(0.05, "deviation of the noise that is added to descriptors", low=0.0, high=1.0)
    voters: int = parameter(5, "nearest neighbours of the voting that it is compared with", low=1, high=1000)
    seed: int = parameter(0, "random seed", low=0, high=2**31)


def read_config(source: str | Path, kind: type[T], assignments: Sequence[str] = ()) -> T:
    """A configuration from the YAML file of a preset or another one, with some parameters overridden.

    Raises:
        InputError: the file cannot be read.
        ConfigError: it is no mapping, or names an unknown parameter or an invalid value; likewise an assignment.
    """
    path = _PRESETS / f"{source}.yaml" if isinstance(source, str) else source
    try:
        values: Any = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise InputError(f"{path}: is no YAML ({str(error).splitlines()[0]}); correct it") from error
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path}: holds a {type(values).__name__}, expected parameters by name")
    return override_parameters(config_from_mapping(kind, values), assignments)
