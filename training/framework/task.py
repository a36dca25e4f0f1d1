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

"""What a training is of: its network, its batches, its loss, and its validation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from training.framework.configuration import TrainingConfig

Network = TypeVar("Network", bound=nn.Module)
Key = TypeVar("Key")
Batch = TypeVar("Batch")


class TrainingTask(ABC, Generic[Network, Key, Batch]):
    """Everything that `training.framework.run.train` needs to know of a training.

    Whatever is drawn at random depends on the seed and on a batch's key, or on the generators that are handed over.
    Then a resumed training is bit-equal to one without interruption, whatever the number of workers.

    Attributes:
        config: all parameters.
    """

    config: TrainingConfig

    @abstractmethod
    def build_network(self) -> Network:
        """The network with random weights; torch is seeded before."""

    def initialise(self, network: Network) -> None:
        """Change the weights before the first epoch: pretrained ones, or clusters of the training images."""

    @property
    @abstractmethod
    def batches_per_epoch(self) -> int:
        """The number of batches of every epoch."""

    @abstractmethod
    def list_batches(self, epoch: int, network: Network) -> Sequence[Key]:
        """The keys of an epoch's batches, in order; the network is that of the epoch's start, for mining."""

    @abstractmethod
    def load_batch(self, key: Key) -> Batch:
        """The batch of a key, a NamedTuple of tensors; called in a worker where there are some."""

    @abstractmethod
    def loss(self, network: Network, batch: Batch, generator: torch.Generator) -> Mapping[str, Tensor]:
        """The terms of the loss by name, which are added; the generator is on the CPU."""

    def validate(self, network: Network) -> Mapping[str, float]:
        """Scores on held-out data, larger ones better; called without gradients, in evaluation mode. Empty for none."""
        return {}

    def group_parameters(self, network: Network) -> list[dict[str, Any]]:
        """Groups of the optimizer's parameters, each with a learning rate or weight decay of its own where needed."""
        return [{"params": list(network.parameters())}]

    def frozen_networks(self) -> Sequence[nn.Module]:
        """Networks that the loss uses and nobody trains, such as a teacher; moved to the training's device."""
        return ()

    def sample_inputs(self, network: Network) -> tuple[Tensor, ...]:
        """The network's arguments for one example, for its cost in `info.log`; empty for none."""
        return ()
