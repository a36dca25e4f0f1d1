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

"""The training of a global descriptor model: mined batches, losses, distillation, and retrieval on held-out images."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from training.data.covisible_images import CovisibleImages
from training.data.image_files import ImageFiles
from training.data.overlap import DISTANCE
from training.framework.split import select_held_out
from training.framework.task import TrainingTask
from training.place_recognition.aggregation import NetVlad
from training.place_recognition.baselines import PooledEncoder
from training.place_recognition.config import PlaceRecognitionConfig
from training.place_recognition.crossvit import StudentEncoder
from training.place_recognition.encoders import (
    Encoder,
    InitialWeights,
    build_encoder,
    embed_images,
    load_pretrained_weights,
)
from training.place_recognition.examples import Examples, PlaceBatch, ViewBatchKey, label_places, load_batch
from training.place_recognition.ground_truth import label_by_distance, label_by_shared_points
from training.place_recognition.loss import (
    contrastive_loss,
    distillation_loss,
    listwise_loss,
    patch_distillation_loss,
    select_pairs,
)
from training.place_recognition.mining import Miner
from training.place_recognition.ranking import ranking_scores
from training.place_recognition.structure import TOKEN_LENGTH
from training.place_recognition.teacher import TeacherEncoder
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.progress import bar

_AT_ONCE = 16
# initialisation uses this many images without augmentation, and the batches of this many epochs or images at most
_FIRST_LOOK, _FIRST_EPOCHS, _FIRST_IMAGES = 200, 3, 24_000


class PlaceRecognitionTask(TrainingTask[Encoder, ViewBatchKey, PlaceBatch]):
    """Training of an encoder.

    Attributes:
        config: all parameters.
        extent_m: extent of the largest map; 0 for images without points.
        preprocessing: of the encoder's images.
        examples: that are trained on.
        held_out: the queries of the validation.
    """

    def __init__(
        self,
        views: CovisibleImages,
        files: ImageFiles,
        config: PlaceRecognitionConfig,
        *,
        teacher: TeacherEncoder | None = None,
        initial: InitialWeights | None = None,
    ) -> None:
        """For views of one map or of several, each along its trajectory, and their files.

        Raises:
            InputError: no two images show one place, the teacher takes images of another size, or there are no
                points for a teacher.
        """
        self.config, self._teacher, self._initial = config, teacher, initial or InitialWeights()
        self.extent_m, size = views.extent(), config.image_size
        if (teacher or config.model == "teacher") and not views.visibility.is_known:
            raise InputError("the images have no 3D points, which a teacher needs; train a model without one")
        if teacher and teacher.size != size:
            raise InputError(f"the teacher takes images of {teacher.size}, expected {size}; train another")
        self.preprocessing = Preprocessing(size)
        held = _select_held_out(views, config)
        self.examples, self.held_out = (
            Examples(
                views.select(which),
                files.select(which),
                self.preprocessing,
                config.augmentation,
                extent_m=self.extent_m,
            )
            for which in (np.flatnonzero(~held), np.flatnonzero(held))
        )
        overlap = label_places(views, config.mining).select(np.flatnonzero(~held))
        self._miner = Miner(self.examples.views.posed, overlap, config.mining)
        if not len(self._miner.anchors):
            raise InputError(
                f"no two of the {len(self.examples.views)} images {_describe_positives(config)}; use more images"
            )
        self._positive = _label_positives(self.held_out.views, self.examples.views, config)

    def _select_examples(self, views: CovisibleImages, files: ImageFiles, which: Array) -> Examples:
        augmentation = self.config.augmentation
        some = views.select(which), files.select(which)
        return Examples(*some, self.preprocessing, augmentation, extent_m=self.extent_m)

    def build_network(self) -> Encoder:
        """The encoder with random weights."""
        return build_encoder(self.config, extent_m=self.extent_m)

    def initialise(self, network: Encoder) -> None:
        """Pretrained weights, and what is initialised from the images."""
        if self._initial.pretrained:
            load_pretrained_weights(network, self._initial.path)
        initialise_from_images(network, self.examples, self._miner, self.config)

    @property
    def batches_per_epoch(self) -> int:
        """Every image is an anchor once."""
        return self._miner.count_batches(self.config.fit.groups)

    def list_batches(self, epoch: int, network: Encoder) -> list[ViewBatchKey]:
        """Mined by poses and visibility, whatever the network."""
        return self._miner.list_batches(epoch, self.config.fit)

    def load_batch(self, key: ViewBatchKey) -> PlaceBatch:
        """Augmented images and their labels."""
        return load_batch(self.examples, key, self.config)

    def loss(self, network: Encoder, batch: PlaceBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Of the labels, and of the teacher's descriptors where there is one."""
        config, found = self.config.loss, embed_images(network, batch.images, batch.structure)
        descriptors = found.descriptors
        pairs = select_pairs(descriptors, batch.positive, batch.apart, self.config.mining, generator)
        losses = {"contrastive_loss": contrastive_loss(descriptors, batch.share, pairs, margin=config.margin)}
        if config.listwise:
            losses["listwise"] = config.listwise * listwise_loss(descriptors, batch.share, sigma=config.sigma)
        if self._teacher:
            with torch.no_grad():
                target = self._teacher.embed(batch.images, batch.structure)
            losses["distillation"] = config.distillation * distillation_loss(
                descriptors, target.descriptors, sigma=config.sigma
            )
            if found.patch_logits is not None and target.patch_logits is not None:
                losses["patch_distillation"] = config.patch_distillation * patch_distillation_loss(
                    found.patch_logits, target.patch_logits
                )
        return losses

    def frozen_networks(self) -> Sequence[nn.Module]:
        """The teacher."""
        return (self._teacher,) if self._teacher else ()

    def validate(self, network: Encoder) -> dict[str, float]:
        """Retrieval scores of the held-out images among the others, without augmentation."""
        if not len(self.held_out.views):
            return {}
        queries, database = (describe_views(network, examples) for examples in (self.held_out, self.examples))
        return ranking_scores(queries, database, self._positive).as_dict()

    def group_parameters(self, network: Encoder) -> list[dict[str, Any]]:
        """Without weight decay for biases, norms and single tokens."""
        parameters = list(network.parameters())
        return [
            {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": self.config.fit.weight_decay},
            {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
        ]

    def sample_inputs(self, network: Encoder) -> tuple[Tensor, ...]:
        """One image, and its structure for a teacher."""
        images = torch.zeros(1, 3, *network.size)
        if isinstance(network, TeacherEncoder):
            return images, torch.zeros(1, network.grid**2, TOKEN_LENGTH)
        return (images,)


@torch.no_grad()
def describe_views(encoder: Encoder, examples: Examples) -> Array:
    """(N, D) descriptors of all views without augmentation, by an encoder in evaluation mode."""
    device = next(encoder.parameters()).device
    found = [np.zeros((0, encoder.dimension), np.float32)]
    for first in range(0, len(examples.views), _AT_ONCE):
        made = [examples.prepare(i) for i in range(first, min(first + _AT_ONCE, len(examples.views)))]
        images, structure = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*made, strict=True))
        found.append(embed_images(encoder, images, structure).descriptors.float().cpu().numpy())
    return np.concatenate(found)


@torch.no_grad()
def initialise_from_images(encoder: Encoder, examples: Examples, miner: Miner, config: PlaceRecognitionConfig) -> None:
    """Initialise the centres of a NetVLAD, or all of `DenseResiduals`, from some of the images."""
    some = np.unique(np.linspace(0, len(examples.views) - 1, _FIRST_LOOK).astype(int))
    match encoder:
        case PooledEncoder(pool=NetVlad() as pool):
            # with batch statistics, as in training: a random backbone has no running ones yet
            encoder.train()
            local = [encoder.extract_local(batch) for batch in _prepare_images(examples, some).split(_AT_ONCE)]
            pool.initialise_from(torch.cat(local).permute(0, 2, 3, 1).flatten(0, 2).numpy(), seed=config.fit.seed)
        case StudentEncoder() | TeacherEncoder() if encoder.residuals is not None:
            encoder.eval()
            keys = bar(_list_first_keys(miner, config), description="discriminant analysis")
            made = (load_batch(examples, key, config) for key in keys)
            labelled = ((batch.images, batch.share) for batch in made)
            encoder.residuals.initialise_from(
                _prepare_images(examples, some), labelled, views=len(examples.views), seed=config.fit.seed
            )
    encoder.train()


def _list_first_keys(miner: Miner, config: PlaceRecognitionConfig) -> list[ViewBatchKey]:
    """Keys of the batches of the first epochs; the training sees these batches again."""
    epochs = (miner.list_batches(epoch, config.fit) for epoch in range(_FIRST_EPOCHS))
    mining = config.mining
    images = config.fit.groups * (1 + mining.positives + mining.negatives)
    return list(islice(chain.from_iterable(epochs), max(1, _FIRST_IMAGES // images)))


def _prepare_images(examples: Examples, which: Array) -> Tensor:
    """(N, 3, H, W) images without augmentation."""
    return torch.from_numpy(np.stack([examples.prepare(int(i))[0] for i in which]))


def _select_held_out(views: CovisibleImages, config: PlaceRecognitionConfig) -> Array:
    """(N,) bool, segments of every scene's trajectory."""
    held, scenes = np.zeros(len(views), bool), views.posed.scenes
    for scene in np.unique(scenes):
        rows = np.flatnonzero(scenes == scene)
        held[rows] = select_held_out(len(rows), config.fit)
    return held


def _describe_positives(config: PlaceRecognitionConfig) -> str:
    if config.mining.overlap == DISTANCE:
        return f"are within {config.mining.positive_radius_m:g} m"
    return f"share {config.mining.min_shared} points"


def _label_positives(queries: CovisibleImages, database: CovisibleImages, config: PlaceRecognitionConfig) -> Array:
    """(H, L) bool, which training images show the place of each held-out image."""
    mining = config.mining
    if mining.overlap == DISTANCE:
        return label_by_distance(queries.posed, database.posed, radius_m=mining.negative_radius_m)
    return label_by_shared_points(
        queries.visibility, database.visibility, min_shared=mining.min_shared, min_share=config.fit.scored_share
    )
