"""Training of a global descriptor model with Lightning: one process or several, exactly resumable.

The last epoch is kept, not the best one: the learning rate ends at zero, and the scores of the few held-out images
saturate long before the encoder is good.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor
from torch.utils.data import DataLoader

from training.place_recognition.baselines import NetVlad, PooledEncoder
from training.place_recognition.config import LossConfig, PlaceRecognitionConfig
from training.place_recognition.crossvit import StudentEncoder
from training.place_recognition.data import (
    BatchDataset,
    BatchKey,
    EpochSampler,
    Examples,
    PlaceBatch,
    ViewImages,
    make_data_loader,
)
from training.place_recognition.encoders import Encoder, build_encoder, embed_images, load_pretrained_weights
from training.place_recognition.ground_truth import label_by_shared_points
from training.place_recognition.labels import compute_overlap
from training.place_recognition.loss import (
    contrastive_loss,
    distillation_loss,
    listwise_loss,
    patch_distillation_loss,
    select_pairs,
)
from training.place_recognition.mining import Miner
from training.place_recognition.ranking import RankingScores, ranking_scores
from training.place_recognition.residuals import Embedding
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.views import CovisibleImages
from training.runs import (
    find_checkpoint,
    keep_last_epoch,
    make_trainer,
    open_run,
    read_first_epoch,
    schedule_optimizer,
    select_held_out,
)
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.progress import bar

_AT_ONCE = 16
# initialisation uses this many images without augmentation, and the batches of this many epochs or images at most
_FIRST_LOOK, _FIRST_EPOCHS, _FIRST_IMAGES = 200, 3, 24_000


@dataclass(frozen=True, slots=True)
class Start:
    """The starting point of a training, besides its configuration.

    Attributes:
        teacher: for distillation, in evaluation mode.
        pretrained: whether to initialise the backbone with pretrained weights.
        weights: file of those weights; None downloads them.
        resume: whether to continue after the last complete epoch of a run.
        sources: hashes of all inputs, see `training.runs.open_run`.
    """

    teacher: TeacherEncoder | None = None
    pretrained: bool = False
    weights: Path | None = None
    resume: bool = False
    sources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedEncoder:
    """A trained encoder.

    Attributes:
        encoder: in evaluation mode, on the CPU.
        held_out: retrieval scores of the held-out images among the training images; None without any.
        extent_m: extent of the largest map that it was trained on.
        preprocessing: of its images.
    """

    encoder: Encoder
    held_out: RankingScores | None
    extent_m: float
    preprocessing: Preprocessing


def train(
    views: CovisibleImages,
    images: ViewImages,
    config: PlaceRecognitionConfig,
    run_dir: Path,
    *,
    start: Start | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainedEncoder:
    """Train an encoder.

    Args:
        views: of one map or of several, each along its trajectory.
        images: of the views.
        config: all parameters.
        run_dir: folder for the log, the last epoch's checkpoint and the configuration.
        start: a teacher, pretrained weights, or a run to resume.
        callbacks: additional callbacks of Lightning.

    Raises:
        InputError: no two images share enough points, the teacher takes images of another size, or there is no run to
            resume.
    """
    start = start or Start()
    held, extent_m = _select_held_out(views, config), views.extent()
    overlap = compute_overlap(views, kind=config.mining.overlap)
    encoder = _build_initial_encoder(config, start, extent_m)
    preprocessing = Preprocessing(encoder.size)
    examples, held_out = (
        Examples(views.select(which), images.select(which), preprocessing, config.augmentation, extent_m=extent_m)
        for which in (np.flatnonzero(~held), np.flatnonzero(held))
    )
    miner = Miner(examples.views, overlap.select(np.flatnonzero(~held)), config.mining)
    if not len(miner.anchors):
        raise InputError(
            f"no two of the {len(examples.views)} images share {config.mining.min_shared} points; use more images"
        )
    if not start.resume:
        initialise_from_images(encoder, examples, miner, config)
    _open_run_once(run_dir, config, start)
    checkpoint = find_checkpoint(run_dir) if start.resume else None
    positive = _label_positives(views, held, config)
    fitted = _TrainingModule(encoder, start.teacher, examples, miner, held_out, positive, config)
    _run_trainer(fitted, run_dir, config, callbacks, checkpoint)
    encoder = encoder.cpu().eval()
    return TrainedEncoder(encoder, fitted.held_out_scores(), extent_m, preprocessing)


def _build_initial_encoder(config: PlaceRecognitionConfig, start: Start, extent_m: float) -> Encoder:
    """An encoder before the first step: random, or with pretrained weights."""
    torch.manual_seed(config.fit.seed)
    encoder = build_encoder(config, extent_m=extent_m)
    if start.teacher and start.teacher.size != encoder.size:
        raise InputError(f"the teacher takes images of {start.teacher.size}, expected {encoder.size}; train another")
    if start.pretrained and not start.resume:
        load_pretrained_weights(encoder, start.weights)
    return encoder


def _run_trainer(
    fitted: _TrainingModule,
    run_dir: Path,
    config: PlaceRecognitionConfig,
    callbacks: Sequence[Callback],
    checkpoint: Path | None,
) -> None:
    fit = config.fit
    trainer = make_trainer(
        run_dir,
        [keep_last_epoch(run_dir), *callbacks],
        epochs=fit.epochs,
        precision=fit.precision,
        gradient_clip=fit.gradient_clip,
        accelerator=fit.accelerator,
        devices=fit.devices,
        num_nodes=fit.nodes,
        use_distributed_sampler=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # advice on workers and logging
        trainer.fit(fitted, ckpt_path=checkpoint, weights_only=True)


class _TrainingModule(lightning.LightningModule):
    """Model, loss, data and optimizer for Lightning."""

    def __init__(
        self,
        encoder: Encoder,
        teacher: TeacherEncoder | None,
        examples: Examples,
        miner: Miner,
        held_out: Examples,
        positive: Array,
        config: PlaceRecognitionConfig,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        # in a tuple, so that its weights are not saved in checkpoints
        self._teacher = (teacher.requires_grad_(False),) if teacher else ()
        self._examples, self._miner, self._held_out, self._positive = examples, miner, held_out, positive
        self._config = config

    def train_dataloader(self) -> DataLoader[PlaceBatch]:
        """The batches of this process."""
        return make_data_loader(self._examples, self._order(read_first_epoch(self.trainer)), self._config)

    def _order(self, epoch: int) -> EpochSampler:
        rank, processes = self.trainer.global_rank, self.trainer.world_size
        return EpochSampler(self._miner, self._config.fit, epoch=epoch, rank=rank, processes=processes)

    def on_fit_start(self) -> None:
        """Move the teacher to the training's device."""
        for teacher in self._teacher:
            teacher.to(self.device).eval()

    def on_train_epoch_start(self) -> None:
        """Seed by epoch, so that a resumed run draws the same numbers."""
        torch.manual_seed((self._config.fit.seed << 20) + (self.current_epoch << 8) + self.global_rank)
        self._generator = torch.Generator().manual_seed(torch.initial_seed())

    def training_step(self, batch: PlaceBatch, _: int) -> Tensor:
        """The loss of a batch."""
        losses = self._losses(embed_images(self.encoder, batch.images, batch.structure), batch, self._config.loss)
        count = len(batch.images)
        self.log_dict({f"loss/{name}": value for name, value in losses.items()}, batch_size=count)
        total = torch.stack(list(losses.values())).sum()
        self.log("loss", total, prog_bar=True, batch_size=count)
        return total

    def _losses(self, found: Embedding, batch: PlaceBatch, loss: LossConfig) -> dict[str, Tensor]:
        descriptors = found.descriptors
        pairs = select_pairs(descriptors, batch.shared, batch.apart, self._config.mining, self._generator)
        losses = {"contrastive_loss": contrastive_loss(descriptors, batch.share, pairs, margin=loss.margin)}
        if loss.listwise:
            losses["listwise"] = loss.listwise * listwise_loss(descriptors, batch.share, sigma=loss.sigma)
        for teacher in self._teacher:
            with torch.no_grad():
                target = teacher.embed(batch.images, batch.structure)
            losses["distillation"] = loss.distillation * distillation_loss(
                descriptors, target.descriptors, sigma=loss.sigma
            )
            if found.patch_logits is not None and target.patch_logits is not None:
                losses["patch_distillation"] = loss.patch_distillation * patch_distillation_loss(
                    found.patch_logits, target.patch_logits
                )
        return losses

    def on_train_epoch_end(self) -> None:
        """Score the held-out images, without augmentation, in some epochs."""
        done = self.current_epoch + 1
        due = done % self._config.fit.scored_every == 0 or done == self._config.fit.epochs
        if not due or self.global_rank or not len(self._held_out.views):
            return
        scores = self.held_out_scores()
        for name, value in scores.as_dict().items() if scores else ():
            self.log(f"held_out/{name}", float(value), prog_bar=name == "P@5", rank_zero_only=True)

    def held_out_scores(self) -> RankingScores | None:
        """Retrieval scores of the held-out images among the others."""
        if not len(self._held_out.views):
            return None
        queries, database = (describe_views(self.encoder, examples) for examples in (self._held_out, self._examples))
        return ranking_scores(queries, database, self._positive)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW, without weight decay for biases, norms and single tokens."""
        fit, parameters = self._config.fit, list(self.encoder.parameters())
        groups = [
            {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": fit.weight_decay},
            {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=fit.learning_rate)
        return schedule_optimizer(optimizer, steps=fit.epochs * len(self._order(0)), warm_up=fit.warm_up)


@torch.no_grad()
def describe_views(encoder: Encoder, examples: Examples) -> Array:
    """(N, D) descriptors of all views without augmentation."""
    training, device = encoder.training, next(encoder.parameters()).device
    encoder.eval()
    found = [np.zeros((0, encoder.dimension), np.float32)]
    for first in range(0, len(examples.views), _AT_ONCE):
        made = [examples.prepare(i) for i in range(first, min(first + _AT_ONCE, len(examples.views)))]
        images, structure = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*made, strict=True))
        found.append(embed_images(encoder, images, structure).descriptors.float().cpu().numpy())
    encoder.train(training)
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
            batches, keys = BatchDataset(examples, config), _list_first_keys(miner, config)
            made = (batches[key] for key in bar(keys, description="discriminant analysis"))
            labelled = ((batch.images, batch.share) for batch in made)
            encoder.residuals.initialise_from(
                _prepare_images(examples, some), labelled, views=len(examples.views), seed=config.fit.seed
            )
    encoder.train()


def _list_first_keys(miner: Miner, config: PlaceRecognitionConfig) -> list[BatchKey]:
    """Keys of the batches of the first epochs; the training sees these batches again."""
    epochs = [EpochSampler(miner, config.fit, epoch=epoch) for epoch in range(_FIRST_EPOCHS)]
    mining = config.mining
    images = config.fit.groups * (1 + mining.positives + mining.negatives)
    return list(islice(chain.from_iterable(epochs), max(1, _FIRST_IMAGES // images)))


def _prepare_images(examples: Examples, which: Array) -> Tensor:
    """(N, 3, H, W) images without augmentation."""
    return torch.from_numpy(np.stack([examples.prepare(int(i))[0] for i in which]))


def _select_held_out(views: CovisibleImages, config: PlaceRecognitionConfig) -> Array:
    """(N,) bool, segments of every scene's trajectory."""
    held = np.zeros(len(views), bool)
    for scene in np.unique(views.scenes):
        rows = np.flatnonzero(views.scenes == scene)
        held[rows] = select_held_out(len(rows), config.fit)
    return held


def _label_positives(views: CovisibleImages, held: Array, config: PlaceRecognitionConfig) -> Array:
    """(H, L) bool, which training images show the place of each held-out image."""
    queries, database = (views.select(np.flatnonzero(which)) for which in (held, ~held))
    return label_by_shared_points(
        queries, database, min_shared=config.mining.min_shared, min_share=config.fit.scored_share
    )


@rank_zero_only
def _open_run_once(run_dir: Path, config: PlaceRecognitionConfig, start: Start) -> None:
    open_run(run_dir, config, start.sources, resume=start.resume)
