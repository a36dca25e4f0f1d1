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

"""A third training task, small enough to train in a second: on which side of a curve does a point lie?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from training.framework.configuration import FitConfig, override_parameters
from training.framework.task import TrainingTask
from vloc_ros.core.config import Checked, parameter
from vloc_ros.core.geometry.pose import Array


class Points(NamedTuple):
    """(B, 2) positions, and (B, 1) whether each is above the curve."""

    xy: Tensor
    above: Tensor


@dataclass(frozen=True, slots=True)
class ToyFitConfig(FitConfig):
    """How the network is fitted."""

    epochs: int = parameter(4, "epochs", low=1, high=100)
    learning_rate: float = parameter(0.02, "largest learning rate", low=0.0, high=1.0)
    monitored: str = parameter("accuracy", "the only score")


@dataclass(frozen=True, slots=True)
class ToyConfig(Checked):
    """A network of two layers and its training."""

    width: int = parameter(16, "of the hidden layer", low=1, high=64)
    fit: ToyFitConfig = field(default_factory=ToyFitConfig)


def configure(*assignments: str) -> ToyConfig:
    """The default with some parameters overridden."""
    return override_parameters(ToyConfig(), [*assignments, "fit.accelerator=cpu"])


def draw_points(*seed: int, count: int = 32) -> Points:
    """Random points; the curve is y = x²."""
    xy = np.random.default_rng(seed).uniform(-1, 1, (count, 2)).astype(np.float32)
    return Points(torch.from_numpy(xy), torch.from_numpy((xy[:, 1:] > xy[:, :1] ** 2).astype(np.float32)))


class ToyTask(TrainingTask[nn.Sequential, tuple[int, int], Points]):
    """Learns it, with whatever makes resuming hard: dropout, batch statistics, random numbers in the loss."""

    def __init__(self, config: ToyConfig | None = None) -> None:
        self.config = config or configure()

    def build_network(self) -> nn.Sequential:
        width = self.config.width
        hidden = nn.Linear(2, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(0.2)
        return nn.Sequential(*hidden, nn.Linear(width, 1))

    @property
    def batches_per_epoch(self) -> int:
        return 6

    def list_batches(self, epoch: int, network: nn.Sequential) -> Sequence[tuple[int, int]]:
        order = np.random.default_rng([self.config.fit.seed, epoch]).permutation(self.batches_per_epoch)
        return [(epoch, number) for number in order.tolist()]

    def load_batch(self, key: tuple[int, int]) -> Points:
        return draw_points(self.config.fit.seed, *key)

    def loss(self, network: nn.Sequential, batch: Points, generator: torch.Generator) -> Mapping[str, Tensor]:
        noisy = batch.xy + 0.01 * torch.randn(batch.xy.shape, generator=generator)
        logits = network(noisy)
        return {
            "entropy": F.binary_cross_entropy_with_logits(logits, batch.above),
            "size": 1e-3 * logits.square().mean(),
        }

    def validate(self, network: nn.Sequential) -> dict[str, float]:
        held_out = draw_points(99, count=256)
        return {"accuracy": float(((network(held_out.xy) > 0) == (held_out.above > 0)).float().mean())}

    def sample_inputs(self, network: nn.Sequential) -> tuple[Tensor, ...]:
        return (torch.zeros(1, 2),)


def flatten_weights(network: nn.Module) -> Array:
    """All weights and statistics of a network."""
    return np.concatenate([value.double().numpy().ravel() for value in network.state_dict().values()])


class Interruption(Callback):
    """Ends a training after two epochs."""

    def on_train_epoch_end(self, trainer: Any, _: Any) -> None:
        trainer.should_stop = trainer.current_epoch == 1
