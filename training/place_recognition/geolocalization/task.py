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

"""The training of a network of place recognition from positions: its batches, losses and validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.framework.task import TrainingTask
from training.place_recognition.aggregation import NetVlad
from training.place_recognition.encoders import InitialWeights, load_pretrained_weights
from training.place_recognition.geolocalization.backbones import make_preprocessing
from training.place_recognition.geolocalization.batches import (
    CellGroups,
    ImageBatch,
    ImageBatchKey,
    TupleMiner,
    count_batches,
    list_places,
    list_tuples,
    load_batch,
)
from training.place_recognition.geolocalization.config import (
    COSPLACE,
    MULTI_SIMILARITY,
    TRIPLET,
    GeolocalizationConfig,
)
from training.place_recognition.geolocalization.images import ImageStore, PlaceImages
from training.place_recognition.geolocalization.losses import cosine_margin_loss, multi_similarity_loss, triplet_loss
from training.place_recognition.geolocalization.network import PlaceNetwork
from training.place_recognition.loss import distillation_loss
from vloc_ros.core.geometry.pose import Array
from vloc_ros.core.retrieval.ranking import rank
from vloc_ros.evaluation.place_scores import RECALLS, score_ranking

_AT_ONCE = 16
# images that clusters and principal components are computed of, and local features of each
_FIRST_LOOK, _FEATURES = 500, 100


class GeolocalizationTask(TrainingTask[PlaceNetwork, ImageBatchKey, ImageBatch]):
    """Training of a network on the train split, validated on val.

    Attributes:
        config: all parameters.
        preprocessing: of the network's images.
        miner: of the training images.
    """

    config: GeolocalizationConfig

    def __init__(
        self,
        train: tuple[PlaceImages, ImageStore],
        val: tuple[PlaceImages, ImageStore],
        config: GeolocalizationConfig,
        *,
        initial: InitialWeights,
        targets: Array | None = None,
    ) -> None:
        """For the images of both splits.

        Args:
            train: images that are trained on.
            val: images of the validation.
            config: all parameters.
            initial: of the backbone.
            targets: (N, E) float32 L2-normalised descriptors of the training images by teachers; None without.

        Raises:
            InputError: no query has a positive, or there are too few cells for a classification.
        """
        self.config, self._initial = config, initial
        self._train, self._val = train, val
        self.preprocessing = make_preprocessing(config.network)
        self.miner = TupleMiner(train[0], config.tuples)
        self._cells = CellGroups(train[0], config.tuples) if config.loss.kind == COSPLACE else None
        self._targets = None if targets is None else torch.from_numpy(targets)

    def build_network(self) -> PlaceNetwork:
        """The network with random weights."""
        return PlaceNetwork(
            self.config.network,
            pretrained=self._initial.pretrained,
            classes=self._cells.classes if self._cells else (),
        )

    def initialise(self, network: PlaceNetwork) -> None:
        """Pretrained weights; NetVLAD's clusters and the projection from training images."""
        if self._initial.pretrained:
            load_pretrained_weights(network, self._initial.path)
        images, store = self._train
        some = np.unique(np.linspace(0, len(images) - 1, _FIRST_LOOK).astype(int))
        # with batch statistics: a random backbone has no running ones yet
        network.train()
        if isinstance(network.pool, NetVlad):
            local = self._run(network, network.extract_local, some, store)
            features = local.transpose(0, 2, 3, 1).reshape(len(some), -1, local.shape[1])
            rng = np.random.default_rng(self.config.fit.seed)
            chosen = [rows[rng.permutation(len(rows))[:_FEATURES]] for rows in features]
            network.pool.initialise_from(np.concatenate(chosen), seed=self.config.fit.seed)
        if self.config.network.dimension:
            network.initialise_projection(self._run(network, network.aggregate, some, store))

    @property
    def batches_per_epoch(self) -> int:
        """As many as configured, or every query once."""
        return count_batches(self.miner.queries, self.config.fit)

    def list_batches(self, epoch: int, network: PlaceNetwork) -> list[ImageBatchKey]:
        """Tuples mined by the network, images by place, or images by cell."""
        fit, count = self.config.fit, self.batches_per_epoch
        if self._cells:
            return self._cells.list_batches(epoch, fit, count)
        if self.config.loss.kind == MULTI_SIMILARITY:
            return list_places(self._train[0], self.miner.queries, epoch, fit, self.config.tuples, count)
        return list_tuples(self.miner, epoch, fit, count, lambda which: self._describe(network, which, self._train[1]))

    def load_batch(self, key: ImageBatchKey) -> ImageBatch:
        """Augmented images and their labels."""
        return load_batch(
            *self._train,
            key,
            preprocessing=self.preprocessing,
            augmentation=self.config.augmentation,
            seed=self.config.fit.seed,
            max_angle_deg=self.config.tuples.max_angle_deg,
        )

    def loss(self, network: PlaceNetwork, batch: ImageBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the positions, and of the teachers' descriptors where there are some."""
        config, found = self.config.loss, network(batch.images)
        losses = {config.kind: self._position_loss(network, found, batch)}
        if self._targets is not None and config.distillation:
            target = self._targets[batch.views.cpu()].to(found.device)
            losses["distillation"] = config.distillation * distillation_loss(found, target, sigma=config.sigma)
        return losses

    def _position_loss(self, network: PlaceNetwork, found: Tensor, batch: ImageBatch) -> Tensor:
        config = self.config.loss
        if config.kind == TRIPLET:
            tuples = len(found) // (2 + self.config.tuples.negatives)
            return triplet_loss(found, tuples, margin=config.margin)
        if config.kind == MULTI_SIMILARITY:
            scales = {"alpha": config.positive_scale, "beta": config.negative_scale, "base": config.base}
            return multi_similarity_loss(found, batch.positive, batch.negative, **scales)
        classifier = network.classifiers[int(batch.group)]
        return cosine_margin_loss(
            found, classifier, batch.classes, scale=config.cosine_scale, margin=config.cosine_margin
        )

    def validate(self, network: PlaceNetwork) -> Mapping[str, float]:
        """R@N over all queries of val, as the benchmark has it; each data set by itself, the mean over the queries."""
        images, store = self._val
        found, hits, count = self._describe(network, np.arange(len(images)), store), dict[str, int](), 0
        for number in range(len(images.radii)):
            queries, database = (
                np.flatnonzero((images.datasets == number) & (images.is_query == role)) for role in (True, False)
            )
            ranking = rank(found[queries], found[database], max(RECALLS))
            near = [np.flatnonzero(~images.label(np.array([query]), database)[1][0]) for query in queries]
            scores = score_ranking(ranking, near, len(database))
            for n in RECALLS:
                right = scores.recall[n].hits if n in scores.recall else len(queries)
                hits[f"R@{n}"] = hits.get(f"R@{n}", 0) + right
            count += len(queries)
        return {"queries": count, **{name: round(right / count, 4) for name, right in hits.items()}}

    def group_parameters(self, network: PlaceNetwork) -> list[dict[str, Any]]:
        """What is not frozen; without weight decay for biases and norms."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        return [
            {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": self.config.fit.weight_decay},
            {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
        ]

    def sample_inputs(self, network: PlaceNetwork) -> tuple[Tensor, ...]:
        """One image."""
        return (torch.zeros(1, 3, *network.size),)

    def sample_images(self, count: int) -> list[Array]:
        """Some training images as they are read."""
        step = max(1, len(self._train[0]) // count)
        return [self._train[1].read(i)[0] for i in range(0, len(self._train[0]), step)][:count]

    def _describe(self, network: PlaceNetwork, which: Array, store: ImageStore) -> Array:
        """(N, D) descriptors in evaluation mode, without augmentation."""
        training = network.training
        network.eval()
        found = self._run(network, network, which, store)
        network.train(training)
        return found

    @torch.no_grad()
    def _run(self, network: nn.Module, part: Any, which: Sequence[int] | Array, store: ImageStore) -> Array:
        """The results of a network or a part of it for some images, one batch after the other."""
        device = next(network.parameters()).device
        found = []
        for first in range(0, len(which), _AT_ONCE):
            some = [self.preprocessing.apply(store.read(int(i))[0]) for i in which[first : first + _AT_ONCE]]
            found.append(part(torch.from_numpy(np.stack(some)).to(device)).float().cpu().numpy())
        return np.concatenate(found)
