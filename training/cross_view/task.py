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

"""Phase 1: the training of one descriptor for two views, its batches, losses and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.cross_view.config import FUSION, TRIPLET, CrossViewConfig
from training.cross_view.headings import turn_image
from training.cross_view.layout import HEADING, POSITIONS, ViewImages
from training.cross_view.losses import cosine_distillation_loss, hardest_triplet_loss, overlap_contrastive_loss
from training.cross_view.network import CrossViewNetwork
from training.cross_view.pairs import PairBatch, PairMiner, ViewPairKey, load_pairs
from training.cross_view.scores import score_retrieval
from training.framework.task import TrainingTask
from training.place_recognition.encoders import InitialWeights, load_pretrained_weights
from training.place_recognition.geolocalization.backbones import make_preprocessing
from training.place_recognition.geolocalization.images import ImageStore
from training.place_recognition.geolocalization.network import PlaceNetwork
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing

_AT_ONCE = 16
# images whose principal components the projection starts with
_FIRST_LOOK = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """The images of one side of the pairs.

    Attributes:
        images: of the side.
        store: where they are.
        targets: (N, E) float32 descriptors of each by each teacher.
    """

    images: ViewImages
    store: ImageStore
    targets: Mapping[str, Array] = field(default_factory=dict)

    def select(self, kept: Array) -> Side:
        """Some images."""
        store = ImageStore(
            tuple(self.store.paths[i] for i in kept),
            self.store.least,
            tuple(self.store.kept[i] for i in kept) if self.store.kept else (),
        )
        return Side(self.images.select(kept), store, {name: rows[kept] for name, rows in self.targets.items()})


def make_view_preprocessing(config: CrossViewConfig) -> Preprocessing:
    """How images are resized and standardised for the network."""
    if config.encoder == FUSION:  # a transformer of timm; ImageNet's mean and deviation
        return Preprocessing((config.fusion.side, config.fusion.side), own=False)
    return make_preprocessing(config.network)


class CrossViewTask(TrainingTask[CrossViewNetwork, ViewPairKey, PairBatch]):
    """Training on the pairs of two views, validated on places that it does not see.

    Attributes:
        config: all parameters.
        preprocessing: of the network's images.
        miner: of the training's pairs.
    """

    config: CrossViewConfig

    def __init__(
        self,
        train: tuple[Side, Side],
        val: tuple[Side, Side] | None,
        config: CrossViewConfig,
        *,
        initial: InitialWeights,
    ) -> None:
        """For the queries and the gallery of both parts.

        Args:
            train: what is trained on.
            val: of other places; None without.
            config: all parameters.
            initial: of the backbone.

        Raises:
            InputError: no query has a positive, or headings or regions are needed and not known.
        """
        self.config, self._initial, self._train, self._val = config, initial, train, val
        self.preprocessing = make_view_preprocessing(config)
        self.miner = PairMiner(train[0].images, train[1].images, min_overlap=config.loss.min_overlap)
        _check_known(train, config)

    def build_network(self) -> CrossViewNetwork:
        """The network with random weights."""
        lengths = {name: rows.shape[1] for name, rows in self._train[0].targets.items()}
        return CrossViewNetwork(self.config, pretrained=self._initial.pretrained, teachers=lengths)

    def initialise(self, network: CrossViewNetwork) -> None:
        """Pretrained weights; a linear projection starts with the principal components of some images."""
        if self._initial.pretrained:
            load_pretrained_weights(network.encoder, self._initial.path)
        if isinstance(network.encoder, PlaceNetwork) and self.config.network.dimension:
            network.train()  # with batch statistics: a random backbone has no running ones yet
            found = [
                self._run(network.encoder.aggregate, network, side, _spread(len(side.images), _FIRST_LOOK // 2))
                for side in self._train
            ]
            network.encoder.initialise_projection(np.concatenate(found))

    @property
    def batches_per_epoch(self) -> int:
        """As many as configured, or every query once."""
        fit = self.config.fit
        return fit.batches or -(-len(self.miner.queries) // fit.pairs)

    def list_batches(self, epoch: int, network: CrossViewNetwork) -> list[ViewPairKey]:
        """Pairs that look alike to the network are batched together."""
        return self.miner.list_batches(
            epoch, self.config.fit, self.batches_per_epoch, lambda which: self.describe(network, self._train[1], which)
        )

    def load_batch(self, key: ViewPairKey) -> PairBatch:
        """Augmented images and their overlap."""
        return load_pairs(
            ((self._train[0].images, self._train[0].store), (self._train[1].images, self._train[1].store)),
            key,
            preprocessing=self.preprocessing,
            config=self.config,
        )

    def loss(self, network: CrossViewNetwork, batch: PairBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the pairs, and of each teacher's descriptors."""
        config = self.config.loss
        found = network(batch.queries), network(batch.gallery)
        if config.kind == TRIPLET:
            losses = {config.kind: hardest_triplet_loss(*found, batch.overlap, margin=config.margin)}
        else:
            contrastive = overlap_contrastive_loss(
                *found,
                batch.overlap,
                scale=network.log_scale.clamp(max=5.0).exp(),
                min_overlap=config.min_overlap,
                max_negative=config.max_negative,
                smoothing=config.smoothing,
            )
            losses = {config.kind: contrastive}
        for name, head in network.heads.items():
            targets = (
                torch.from_numpy(side.targets[name])[views.cpu()].to(found[0].device)
                for side, views in zip(self._train, batch.views, strict=True)
            )
            apart = [cosine_distillation_loss(head(ours), its) for ours, its in zip(found, targets, strict=True)]
            losses[name] = getattr(config, name) * torch.stack(apart).mean()
        return losses

    def validate(self, network: CrossViewNetwork) -> Mapping[str, float]:
        """Scores of the places held out, turned north up where trained so; none where none are."""
        if self._val is None:
            return {}
        queries, gallery = self._val
        similarity = self.describe(network, queries) @ self.describe(network, gallery).T
        scores = score_retrieval(similarity, queries.images.is_shown_by(gallery.images))
        return {name: round(float(value), 4) for name, value in scores.items()}

    def group_parameters(self, network: CrossViewNetwork) -> list[dict[str, Any]]:
        """What is not frozen; without weight decay for biases, norms and the temperature."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": self.config.fit.weight_decay},
            {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
        ]

    def sample_inputs(self, network: CrossViewNetwork) -> tuple[Tensor, ...]:
        """One image."""
        return (torch.zeros(1, 3, *network.encoder.size),)

    def sample_images(self, count: int) -> list[Array]:
        """Some training images of both views, as they are read."""
        return [side.store.read(i)[0] for side in self._train for i in _spread(len(side.images), count // 2)]

    def describe(self, network: CrossViewNetwork, side: Side, which: Array | None = None) -> Array:
        """(N, D) descriptors in evaluation mode, without augmentation; of all images where `which` is None."""
        training = network.training
        network.eval()
        found = self._run(network, network, side, range(len(side.images)) if which is None else which)
        network.train(training)
        return found

    def _turn_north(self, side: Side, i: int) -> Array:
        image, heading_deg = side.store.read(i)[0], float(side.images.headings_deg[i])
        return turn_image(image, -heading_deg) if self.config.heading_deg else image

    @torch.no_grad()
    def _run(self, part: Any, network: nn.Module, side: Side, which: Sequence[int] | Array) -> Array:
        """The results of a network or a part of it for some images, one batch after the other."""
        device, found = next(network.parameters()).device, []
        for first in range(0, len(which), _AT_ONCE):
            some = [self.preprocessing.apply(self._turn_north(side, int(i))) for i in which[first : first + _AT_ONCE]]
            found.append(part(torch.from_numpy(np.stack(some)).to(device)).float().cpu().numpy())
        return np.concatenate(found)


def _check_known(sides: tuple[Side, Side], config: CrossViewConfig) -> None:
    """Raise InputError where a parameter needs headings or regions that the data set does not say."""
    if config.heading_deg and np.isnan(np.concatenate([side.images.headings_deg for side in sides])).any():
        raise InputError(
            f"a training image has no heading, which heading_deg={config.heading_deg:g} needs: add the column "
            f"{HEADING} to {POSITIONS}, or set heading_deg=0"
        )
    if config.fit.regions and not all(sides[1].images.regions):
        raise InputError(
            f"a view of the gallery has no region, which fit.regions={config.fit.regions} needs: fill the column "
            f"region of {POSITIONS}, or set fit.regions=0"
        )


def _spread(count: int, wanted: int) -> Array:
    """Up to `wanted` numbers evenly below `count`."""
    return np.unique(np.linspace(0, count - 1, min(wanted, count)).astype(np.int64))
