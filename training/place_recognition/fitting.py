"""Training a place encoder with Lightning: one process or many, resumable to the last digit.

The last epoch is kept, not the best one: at the end of the schedule the learning rate is nothing, and the few images
that are held out are found long before the encoder is good.
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
from training.place_recognition.config import LossConfig, PlacesConfig
from training.place_recognition.crossvit import StudentEncoder
from training.place_recognition.data import Batches, EpochBatches, Examples, Images, Key, PlaceBatch, training_batches
from training.place_recognition.encoders import Encoder, build_encoder, embedded, start_from_pretrained
from training.place_recognition.ground_truth import sharing
from training.place_recognition.labels import overlap_of
from training.place_recognition.loss import (
    contrastive,
    counted_pairs,
    distillation_loss,
    listed,
    patch_distillation_loss,
)
from training.place_recognition.mining import Miner
from training.place_recognition.ranking import RankingScores, ranking_scores
from training.place_recognition.residuals import Embedded
from training.place_recognition.teacher import TeacherEncoder
from training.place_recognition.views import CovisibleImages
from training.runs import checkpoint_of, first_epoch, held_out_stretches, last_epoch, open_run, scheduled, trainer_of
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.inference.preprocessing import Preprocessing
from vloc_ros.progress import bar

_AT_ONCE = 16
# what an encoder begins from: so many images as they are, and the batches of so many epochs, or of so many images
_FIRST_LOOK, _FIRST_EPOCHS, _FIRST_IMAGES = 200, 3, 24_000


@dataclass(frozen=True, slots=True)
class Start:
    """What a training starts from, beside its configuration.

    Attributes:
        teacher: whom to learn from beside the labels, in evaluation mode.
        pretrained: take over weights of the backbone,
        weights: from this file, not from the network.
        resume: go on after the last whole epoch of a run.
        sources: what all this and the images are, see `runs.claim`.
    """

    teacher: TeacherEncoder | None = None
    pretrained: bool = False
    weights: Path | None = None
    resume: bool = False
    sources: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class TrainedEncoder:
    """An encoder and how it finds the images that were held out, None where there were none.

    Attributes:
        encoder: in evaluation mode, on the CPU.
        held_out: among the images that it was trained on.
        extent_m: of the largest map that it was trained on.
        preprocessing: of its images.
    """

    encoder: Encoder
    held_out: RankingScores | None
    extent_m: float
    preprocessing: Preprocessing


def train(
    views: CovisibleImages,
    images: Images,
    config: PlacesConfig,
    run_dir: Path,
    *,
    start: Start | None = None,
    callbacks: Sequence[Callback] = (),
) -> TrainedEncoder:
    """Fit an encoder.

    Args:
        views: of one map or of several, each along its trajectory.
        images: their pixels.
        config: everything else.
        run_dir: for the log, the last epoch's checkpoint and the configuration.
        start: a teacher, weights, or a run to go on with.
        callbacks: of Lightning, beside our own.

    Raises:
        InputError: no two images share enough, the teacher takes other images, or there is no run to resume.
    """
    start = start or Start()
    held, overlap, extent_m = _held_out(views, config), overlap_of(views, kind=config.mining.overlap), views.extent()
    encoder = _begun(config, start, extent_m)
    preprocessing = Preprocessing(encoder.size)
    learned, rest = (
        Examples(views.some(which), images.some(which), preprocessing, config.changes, extent_m=extent_m)
        for which in (np.flatnonzero(~held), np.flatnonzero(held))
    )
    miner = Miner(learned.views, overlap.part(np.flatnonzero(~held)), config.mining)
    if not len(miner.anchors):
        raise InputError(
            f"no two of the {len(learned.views)} images share {config.mining.min_shared} points; use a map of more"
        )
    if not start.resume:
        start_from_images(encoder, learned, miner, config)
    _claim_once(run_dir, config, start)
    checkpoint = checkpoint_of(run_dir) if start.resume else None
    fitted = _Fit(encoder, start.teacher, learned, miner, rest, _positives(views, held, config), config)
    _fit(fitted, run_dir, config, callbacks, checkpoint)
    encoder = encoder.cpu().eval()
    return TrainedEncoder(encoder, fitted.held_out_scores(), extent_m, preprocessing)


def _begun(config: PlacesConfig, start: Start, extent_m: float) -> Encoder:
    """An encoder as it is before the first step."""
    torch.manual_seed(config.fit.seed)
    encoder = build_encoder(config, extent_m=extent_m)
    if start.teacher and start.teacher.size != encoder.size:
        raise InputError(f"the teacher takes images of {start.teacher.size}, expected {encoder.size}; train another")
    if start.pretrained and not start.resume:
        start_from_pretrained(encoder, start.weights)
    return encoder


def _fit(
    fitted: _Fit, run_dir: Path, config: PlacesConfig, callbacks: Sequence[Callback], checkpoint: Path | None
) -> None:
    fit = config.fit
    trainer = trainer_of(
        run_dir,
        [last_epoch(run_dir), *callbacks],
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


class _Fit(lightning.LightningModule):
    """What Lightning asks of a training."""

    def __init__(
        self,
        encoder: Encoder,
        teacher: TeacherEncoder | None,
        learned: Examples,
        miner: Miner,
        rest: Examples,
        positive: Array,
        config: PlacesConfig,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        # in a tuple, lest its weights go into checkpoints
        self._teacher = (teacher.requires_grad_(False),) if teacher else ()
        self._learned, self._miner, self._rest, self._positive = learned, miner, rest, positive
        self._config = config

    def train_dataloader(self) -> DataLoader[PlaceBatch]:
        """The batches of this process."""
        return training_batches(self._learned, self._order(first_epoch(self.trainer)), self._config)

    def _order(self, epoch: int) -> EpochBatches:
        rank, processes = self.trainer.global_rank, self.trainer.world_size
        return EpochBatches(self._miner, self._config.fit, epoch=epoch, rank=rank, processes=processes)

    def on_fit_start(self) -> None:
        """Bring the teacher to where the work is done."""
        for teacher in self._teacher:
            teacher.to(self.device).eval()

    def on_train_epoch_start(self) -> None:
        """Draw the same, whether this run was interrupted or not."""
        torch.manual_seed((self._config.fit.seed << 20) + (self.current_epoch << 8) + self.global_rank)
        self._drawing = torch.Generator().manual_seed(torch.initial_seed())

    def training_step(self, batch: PlaceBatch, _: int) -> Tensor:
        """The loss of a batch."""
        losses = self._losses(embedded(self.encoder, batch.images, batch.structure), batch, self._config.loss)
        count = len(batch.images)
        self.log_dict({f"loss/{name}": value for name, value in losses.items()}, batch_size=count)
        total = torch.stack(list(losses.values())).sum()
        self.log("loss", total, prog_bar=True, batch_size=count)
        return total

    def _losses(self, found: Embedded, batch: PlaceBatch, loss: LossConfig) -> dict[str, Tensor]:
        descriptors = found.descriptors
        pairs = counted_pairs(descriptors, batch.shared, batch.apart, self._config.mining, self._drawing)
        losses = {"contrastive": contrastive(descriptors, batch.share, pairs, margin=loss.margin)}
        if loss.listed:
            losses["listed"] = loss.listed * listed(descriptors, batch.share, sigma=loss.sigma)
        for teacher in self._teacher:
            with torch.no_grad():
                known = teacher.embed(batch.images, batch.structure)
            losses["transfer"] = loss.transfer * distillation_loss(descriptors, known.descriptors, sigma=loss.sigma)
            if found.counted is not None and known.counted is not None:
                losses["patches"] = loss.patches * patch_distillation_loss(found.counted, known.counted)
        return losses

    def on_train_epoch_end(self) -> None:
        """Look for what was held out, in images as they are."""
        done = self.current_epoch + 1
        due = done % self._config.fit.scored_every == 0 or done == self._config.fit.epochs
        if not due or self.global_rank or not len(self._rest.views):
            return
        scores = self.held_out_scores()
        for name, value in scores.as_dict().items() if scores else ():
            self.log(f"held_out/{name}", float(value), prog_bar=name == "P@5", rank_zero_only=True)

    def held_out_scores(self) -> RankingScores | None:
        """Images held out, looked for among the others."""
        if not len(self._rest.views):
            return None
        queries, database = (describe(self.encoder, examples) for examples in (self._rest, self._learned))
        return ranking_scores(queries, database, self._positive)

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW; biases, norms and lone tokens keep their size."""
        fit, parameters = self._config.fit, list(self.encoder.parameters())
        groups = [
            {"params": [p for p in parameters if p.squeeze().ndim > 1], "weight_decay": fit.weight_decay},
            {"params": [p for p in parameters if p.squeeze().ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=fit.learning_rate)
        return scheduled(optimizer, steps=fit.epochs * len(self._order(0)), warm_up=fit.warm_up)


@torch.no_grad()
def describe(encoder: Encoder, examples: Examples) -> Array:
    """(N, D) descriptors of all views as they are."""
    training, device = encoder.training, next(encoder.parameters()).device
    encoder.eval()
    found = [np.zeros((0, encoder.dimension), np.float32)]
    for first in range(0, len(examples.views), _AT_ONCE):
        made = [examples.unchanged(i) for i in range(first, min(first + _AT_ONCE, len(examples.views)))]
        images, structure = (torch.from_numpy(np.stack(part)).to(device) for part in zip(*made, strict=True))
        found.append(embedded(encoder, images, structure).descriptors.float().cpu().numpy())
    encoder.train(training)
    return np.concatenate(found)


@torch.no_grad()
def start_from_images(encoder: Encoder, examples: Examples, miner: Miner, config: PlacesConfig) -> None:
    """Set what is not drawn by lot, the centres of a NetVLAD or all of `DenseResiduals`, from some of the images."""
    some = np.unique(np.linspace(0, len(examples.views) - 1, _FIRST_LOOK).astype(int))
    match encoder:
        case PooledEncoder(pool=NetVlad() as pool):
            # by the statistics of batches, as in training: a backbone that was drawn by lot has no others yet
            encoder.train()
            local = [encoder.local(looks) for looks in _unchanged(examples, some).split(_AT_ONCE)]
            pool.start_from(torch.cat(local).permute(0, 2, 3, 1).flatten(0, 2).numpy(), seed=config.fit.seed)
        case StudentEncoder() | TeacherEncoder() if encoder.residuals is not None:
            encoder.eval()
            batches, keys = Batches(examples, config), _first_keys(miner, config)
            made = (batches[key] for key in bar(keys, description="what places share"))
            labelled = ((batch.images, batch.share) for batch in made)
            encoder.residuals.start_from(
                _unchanged(examples, some), labelled, views=len(examples.views), seed=config.fit.seed
            )
    encoder.train()


def _first_keys(miner: Miner, config: PlacesConfig) -> list[Key]:
    """Of the batches of the first epochs; a training sees them again."""
    epochs = [EpochBatches(miner, config.fit, epoch=epoch) for epoch in range(_FIRST_EPOCHS)]
    mining = config.mining
    images = config.fit.groups * (1 + mining.positives + mining.negatives)
    return list(islice(chain.from_iterable(epochs), max(1, _FIRST_IMAGES // images)))


def _unchanged(examples: Examples, which: Array) -> Tensor:
    """(N, 3, H, W) images as they are."""
    return torch.from_numpy(np.stack([examples.unchanged(int(i))[0] for i in which]))


def _held_out(views: CovisibleImages, config: PlacesConfig) -> Array:
    """(N,) bool, stretches of every scene."""
    held = np.zeros(len(views), bool)
    for scene in np.unique(views.scenes):
        rows = np.flatnonzero(views.scenes == scene)
        held[rows] = held_out_stretches(len(rows), config.fit)
    return held


def _positives(views: CovisibleImages, held: Array, config: PlacesConfig) -> Array:
    """(H, L) bool, which of the others show the place of each image held out."""
    queries, database = (views.some(np.flatnonzero(which)) for which in (held, ~held))
    return sharing(queries, database, min_shared=config.mining.min_shared, min_share=config.fit.scored_share)


@rank_zero_only
def _claim_once(run_dir: Path, config: PlacesConfig, start: Start) -> None:
    open_run(run_dir, config, start.sources, resume=start.resume)
