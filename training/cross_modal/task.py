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

"""The training of the two networks of a cross-modal model: its batches, loss and validation."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from training.cross_modal.batches import BatchKey, count_batches, label, list_batches
from training.cross_modal.config import CrossModalConfig
from training.cross_modal.inputs import RecordInputs
from training.cross_modal.loss import contrastive_loss
from training.cross_modal.network import CrossModalNetwork
from training.cross_modal.records import RecordSet
from training.cross_modal.scores import CLOUD, IMAGE
from training.cross_modal.validation import Validation
from training.framework.task import TrainingTask
from training.place_recognition.encoders import InitialWeights, load_pretrained_weights
from vloc_ros.core.geometry.pose import Array

_AT_ONCE = 32


class CrossModalBatch(NamedTuple):
    """(B, 3, H, W) images, (B, 3, h, w) views, and (B, B) bool which records show one place, or different ones."""

    images: Tensor
    views: Tensor
    positive: Tensor
    negative: Tensor


class CrossModalTask(TrainingTask[CrossModalNetwork, BatchKey, CrossModalBatch]):
    """Training on records, validated on those of other worlds.

    Attributes:
        config: all parameters.
        inputs: of the networks.
        train: records that are trained on.
    """

    config: CrossModalConfig

    def __init__(self, train: RecordSet, val: RecordSet, config: CrossModalConfig, *, initial: InitialWeights) -> None:
        """For the records of both splits.

        Raises:
            InputError: the validation has no revisit.
        """
        self.config, self.train, self._initial = config, train, initial
        self.inputs, self._validation = RecordInputs(config), Validation(val)

    def build_network(self) -> CrossModalNetwork:
        """The networks with random weights."""
        return CrossModalNetwork(self.config, pretrained=self._initial.pretrained)

    def initialise(self, network: CrossModalNetwork) -> None:
        """Pretrained weights of the image's backbone."""
        if self._initial.pretrained:
            load_pretrained_weights(network.image, self._initial.path)

    @property
    def batches_per_epoch(self) -> int:
        """As many as configured, or every record once."""
        return count_batches(self.train, self.config.fit)

    def list_batches(self, epoch: int, network: CrossModalNetwork) -> list[BatchKey]:
        """Places at random, each with a second record of it, of another drive where there is one."""
        return list_batches(self.train, self.config.pairs, self.config.fit, epoch)

    def load_batch(self, key: BatchKey) -> CrossModalBatch:
        """Augmented images and views, and which are of one place."""
        rng = np.random.default_rng([self.config.fit.seed, key.epoch, key.number, 1])
        mirrored = bool(rng.uniform() < self.config.augmentation.mirror)
        some = self.train.select(np.array(key.records))
        made = [self.inputs.augmented(record, rng, mirrored=mirrored) for record in some.records]
        positive, negative = label(some, self.config.pairs)
        parts = (np.stack([image for image, _ in made]), np.stack([view for _, view in made]), positive, negative)
        return CrossModalBatch(*map(torch.from_numpy, parts))

    def loss(self, network: CrossModalNetwork, batch: CrossModalBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Images against views, and each against its own kind."""
        config = self.config.loss
        images, views = network(batch.images, batch.views)
        itself = torch.eye(len(images), dtype=torch.bool, device=images.device)
        given = {"temperature": config.temperature}
        losses = {"across": contrastive_loss(images, views, batch.positive, batch.negative, **given)}
        if config.within:
            for name, found in (("images", images), ("views", views)):
                within = contrastive_loss(found, found, batch.positive & ~itself, batch.negative, **given)
                losses[name] = config.within * within
        return losses

    def validate(self, network: CrossModalNetwork) -> Mapping[str, float]:
        """R@1 of all directions; see `Validation.score`."""
        return self._validation.score(partial(self.describe, network))

    @torch.no_grad()
    def describe(self, network: CrossModalNetwork, records: RecordSet) -> dict[str, Array]:
        """(N, D) float32 descriptors of images and of clouds, by modality, by a network in evaluation mode."""
        device = next(network.parameters()).device
        found: dict[str, list[Array]] = {IMAGE: [], CLOUD: []}
        for first in range(0, len(records), _AT_ONCE):
            some = records.records[first : first + _AT_ONCE]
            for name, encoder, make in (
                (IMAGE, network.image, self.inputs.image), (CLOUD, network.range, self.inputs.view)
            ):  # fmt: skip
                batch = torch.from_numpy(np.stack([make(record) for record in some])).to(device)
                found[name].append(encoder(batch).float().cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def group_parameters(self, network: CrossModalNetwork) -> list[dict[str, Any]]:
        """A pretrained backbone learns more slowly; biases and norms have no weight decay."""
        fit = self.config.fit
        slow = {id(p) for p in network.image.backbone.parameters()} if self._initial.pretrained else set()
        groups = []
        for is_slow in (True, False):
            for is_matrix in (True, False):
                some = [
                    p
                    for p in network.parameters()
                    if p.requires_grad and (id(p) in slow) == is_slow and (p.squeeze().ndim > 1) == is_matrix
                ]
                rate = fit.learning_rate * (fit.backbone_rate if is_slow else 1.0)
                decay = fit.weight_decay if is_matrix else 0.0
                if some:
                    groups.append({"params": some, "lr": rate, "weight_decay": decay})
        return groups

    def sample_inputs(self, network: CrossModalNetwork) -> tuple[Tensor, ...]:
        """One image and one view."""
        return torch.zeros(1, 3, *network.image.size), torch.zeros(1, 3, *network.range.size)
