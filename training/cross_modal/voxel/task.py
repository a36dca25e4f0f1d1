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

"""One stage of VXP's training: of images, of the local features of voxels, or of their descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from training.cross_modal.batches import BatchKey, count_batches, label, list_batches
from training.cross_modal.inputs import augment_cloud
from training.cross_modal.records import Record, RecordSet
from training.cross_modal.scores import CLOUD, IMAGE
from training.cross_modal.validation import Validation
from training.cross_modal.voxel.config import GLOBAL, IMAGES, LOCAL, VoxelModelConfig
from training.cross_modal.voxel.losses import hardest_triplet_loss, local_loss
from training.cross_modal.voxel.network import VoxelBatch, VoxelModel
from training.cross_modal.voxel.voxelization import VoxelCloud, project_grid, voxelize
from training.framework.task import TrainingTask
from training.place_recognition.encoders import InitialWeights, load_pretrained_weights
from training.place_recognition.geolocalization.backbones import make_preprocessing
from training.place_recognition.geolocalization.batches import augment
from vloc_ros.core.geometry.pose import Array

_AT_ONCE = 8


class StageBatch(NamedTuple):
    """Images, the voxels of their clouds, where they show each cell, and which records are of one place."""

    images: Tensor
    points: Tensor
    counts: Tensor
    indices: Tensor
    shares: Tensor
    depths: Tensor
    positive: Tensor
    negative: Tensor

    @property
    def voxels(self) -> VoxelBatch:
        """The voxels alone."""
        return VoxelBatch(self.points, self.counts, self.indices)


class VoxelTask(TrainingTask[VoxelModel, BatchKey, StageBatch]):
    """A stage: `images` by triplets, `local` from the images' local features, `global` from their descriptors.

    Attributes:
        config: all parameters.
        stage: which one.
        train: records that are trained on.
    """

    config: VoxelModelConfig

    def __init__(
        self,
        train: RecordSet,
        val: RecordSet,
        config: VoxelModelConfig,
        *,
        stage: str,
        initial: InitialWeights,
        earlier: Mapping[str, Tensor] | None = None,
    ) -> None:
        """For the records of both splits.

        Args:
            train: records that are trained on.
            val: records of the validation, of other worlds.
            config: all parameters.
            stage: one of `STAGES`.
            initial: of the image's backbone, where there is no earlier stage.
            earlier: weights after the stage before.
        """
        self.config, self.stage, self.train = config, stage, train
        self.preprocessing = make_preprocessing(config.image)
        self._initial, self._earlier, self._validation = initial, earlier, Validation(val)

    def build_network(self) -> VoxelModel:
        """Both networks with random weights."""
        return VoxelModel(self.config, pretrained=self._initial.pretrained)

    def initialise(self, network: VoxelModel) -> None:
        """The weights of the stage before, or pretrained ones."""
        if self._earlier is not None:
            network.load_state_dict(self._earlier)
        elif self._initial.pretrained:
            load_pretrained_weights(network.image, self._initial.path)

    @property
    def batches_per_epoch(self) -> int:
        """As many as configured, or every record once."""
        return count_batches(self.train, self.config.fit)

    def list_batches(self, epoch: int, network: VoxelModel) -> list[BatchKey]:
        """Places at random, each with a second record of it."""
        return list_batches(self.train, self.config.pairs, self.config.fit, epoch)

    def load_batch(self, key: BatchKey) -> StageBatch:
        """Images and voxels; what is augmented depends on the stage, see `_load`."""
        rng = np.random.default_rng([self.config.fit.seed, key.epoch, key.number, 1])
        some = self.train.select(np.array(key.records))
        made = [self._load(record, rng) for record in some.records]
        grids = [project_grid(self.config.voxels, record.camera) for record in some.records]
        positive, negative = label(some, self.config.pairs)
        voxels = stack_clouds([cloud for _, cloud in made])
        parts = (
            np.stack([image for image, _ in made]),
            *(part.numpy() for part in voxels),
            *(np.stack([grid[k] for grid in grids]) for k in range(2)),
            positive & ~np.eye(len(some), dtype=bool),
            negative,
        )
        return StageBatch(*map(torch.from_numpy, parts))

    def _load(self, record: Record, rng: np.random.Generator) -> tuple[Array, VoxelCloud]:
        """Images are augmented in their own stage, clouds in the last: local features need both as they are."""
        image, (points, intensity) = record.load_image(), record.load_forward_cloud()
        if self.stage == GLOBAL:
            points, intensity = augment_cloud(points, intensity, self.config.clouds, rng)
        cloud = voxelize(points, intensity, self.config.voxels, seed=int(rng.integers(2**31)))
        if self.stage == IMAGES:
            width = image.shape[1]
            return augment(image, width, self.preprocessing, self.config.augmentation, rng, mirrored=False), cloud
        return self.preprocessing.apply(image), cloud

    def loss(self, network: VoxelModel, batch: StageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """That of the stage; the image network is the teacher of the others."""
        if self.stage == IMAGES:
            found = network.image(batch.images)
            margin = self.config.stages.margin
            return {IMAGES: hardest_triplet_loss(found, batch.positive, batch.negative, margin=margin)}
        network.image.eval()
        if self.stage == LOCAL:
            with torch.no_grad():
                local = network.image.extract_local(batch.images).float()
            voxels = network.voxels.extract_local(batch.voxels, len(batch.images))
            visible_m = self.config.stages.visible_m
            return {LOCAL: local_loss(voxels, local, batch.shares, batch.depths, visible_m=visible_m)}
        with torch.no_grad():
            target = network.image(batch.images)
        found = network.voxels(batch.voxels, len(batch.images))
        return {GLOBAL: nn.functional.smooth_l1_loss(found, target) * target.shape[1]}

    def validate(self, network: VoxelModel) -> Mapping[str, float]:
        """R@1 of all directions; see `Validation.score`."""
        return self._validation.score(partial(self.describe, network))

    @torch.no_grad()
    def describe(self, network: VoxelModel, records: RecordSet) -> dict[str, Array]:
        """(N, D) float32 descriptors of images and of clouds, by modality, by a network in evaluation mode."""
        device = next(network.parameters()).device
        found: dict[str, list[Array]] = {IMAGE: [], CLOUD: []}
        for first in range(0, len(records), _AT_ONCE):
            some = records.records[first : first + _AT_ONCE]
            images = np.stack([self.preprocessing.apply(record.load_image()) for record in some])
            clouds = [voxelize(*record.load_forward_cloud(), self.config.voxels) for record in some]
            batch = VoxelBatch(*(part.to(device) for part in stack_clouds(clouds)))
            described = network(torch.from_numpy(images).to(device), batch)
            for name, rows in zip((IMAGE, CLOUD), described, strict=True):
                found[name].append(rows.float().cpu().numpy())
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def group_parameters(self, network: VoxelModel) -> list[dict[str, Any]]:
        """The part that the stage trains."""
        trained: nn.Module = network.image if self.stage == IMAGES else network.voxels
        unused = set[int]()
        if self.stage == LOCAL:
            unused = {id(network.voxels.power), *map(id, network.voxels.projection.parameters())}
        return [{"params": [p for p in trained.parameters() if p.requires_grad and id(p) not in unused]}]


def stack_clouds(clouds: list[VoxelCloud]) -> VoxelBatch:
    """The voxels of several clouds as one batch."""
    numbered = [np.column_stack([np.full(len(one.indices), k), one.indices]) for k, one in enumerate(clouds)]
    return VoxelBatch(
        torch.from_numpy(np.concatenate([one.points for one in clouds])),
        torch.from_numpy(np.concatenate([one.counts for one in clouds])),
        torch.from_numpy(np.concatenate(numbered)),
    )
