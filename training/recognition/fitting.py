"""Training of a recogniser with Lightning: exactly resumable, the best epoch is kept."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import DataLoader

from training.recognition.batches import Example, KeypointBatch, make_data_loader
from training.recognition.config import RecognizerConfig, RecognizerFitConfig
from training.recognition.loss import RecognitionLoss
from training.recognition.model import RecognitionNetwork
from training.recognition.scores import RecognitionScores, score_recognition
from training.runs import (
    LAST,
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
from vloc_ros.storage.atomic import write_bytes_atomically

if TYPE_CHECKING:
    from vloc_ros.core.map.landmark_map import LandmarkTable

_MONITORED = "held_out/top1"
_BEST = "best.ckpt"
_PREFIX = "model."


@dataclass(frozen=True, slots=True, eq=False)
class TrainedRecognizer:
    """A trained recogniser.

    Attributes:
        model: in evaluation mode, on the CPU.
        held_out: scores on the held-out keyframes; None without any.
    """

    model: RecognitionNetwork
    held_out: RecognitionScores | None


def train(
    examples: Sequence[Sequence[Example]],
    landmarks: LandmarkTable,
    config: RecognizerConfig,
    run_dir: Path,
    *,
    sources: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainedRecognizer:
    """Train a recogniser.

    Args:
        examples: versions of every keyframe, the original first; keyframes along the trajectory.
        landmarks: of the map.
        config: all parameters.
        run_dir: folder for the log, checkpoints, the configuration and `best.safetensors`.
        sources: hashes of the training data, see `training.runs.open_run`.
        resume: whether to continue after the last complete epoch of that run.
        callbacks: additional callbacks of Lightning.

    Raises:
        InputError: no example shows a landmark, or there is no such run to resume.
    """
    held = select_held_out(len(examples), config.fit)
    training_examples = _select_training_examples(examples, held)
    open_run(run_dir, config, sources, resume=resume)
    checkpoint = find_checkpoint(run_dir) if resume else None
    torch.manual_seed(config.fit.seed)
    model = RecognitionNetwork(
        config.model, landmarks.parents.tolist(), dimension=training_examples[0].descriptors.shape[1]
    )
    held_out = [versions[0] for versions, out in zip(examples, held, strict=True) if out and len(versions[0])]
    batches = make_data_loader(training_examples, config.keypoints, config.fit)
    fitted = _TrainingModule(model, batches, held_out, landmarks.parents, config.fit)
    checkpoints = _make_checkpoints(run_dir, monitored=bool(held_out))
    _run_trainer(fitted, run_dir, config, [*checkpoints, *callbacks], checkpoint)
    return _load_best(fitted, run_dir / (_BEST if held_out else LAST), run_dir)


def _select_training_examples(examples: Sequence[Sequence[Example]], held: Array) -> list[Example]:
    """All versions of the keyframes that are not held out, if they show a landmark."""
    training_examples = [
        version for versions, out in zip(examples, held, strict=True) if not out for version in versions
    ]
    training_examples = [example for example in training_examples if (example.landmarks >= 0).any()]
    if not training_examples:
        raise InputError("no keypoint of any image shows a point of the map; give the images that it was built from")
    return training_examples


def _run_trainer(
    fitted: _TrainingModule,
    run_dir: Path,
    config: RecognizerConfig,
    callbacks: Sequence[Callback],
    checkpoint: Path | None,
) -> None:
    trainer = make_trainer(
        run_dir,
        callbacks,
        epochs=config.fit.epochs,
        precision=config.fit.precision,
        gradient_clip=config.fit.gradient_clip,
        devices=1,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # advice on workers and logging
        trainer.fit(fitted, ckpt_path=checkpoint, weights_only=True)


class _TrainingModule(lightning.LightningModule):
    """Model, loss, data and optimizer for Lightning."""

    def __init__(
        self,
        model: RecognitionNetwork,
        batches: DataLoader[KeypointBatch],
        held_out: Sequence[Example],
        parents: Array,
        fit: RecognizerFitConfig,
    ) -> None:
        super().__init__()
        self.model = model
        self._loss = RecognitionLoss(
            torch.from_numpy(parents.astype(np.int64)), background_weight=fit.background_weight
        )
        self._held_out, self._parents, self._fit = held_out, parents, fit
        self._batches = batches

    def train_dataloader(self) -> DataLoader[KeypointBatch]:
        """The batches, from the current epoch on."""
        self._batches.sampler.set_epoch(read_first_epoch(self.trainer))
        return self._batches

    def training_step(self, batch: KeypointBatch, _: int) -> Tensor:
        coarse, fine = self._loss(self.model, batch)
        self.log_dict({"loss/coarse": coarse, "loss/fine": fine}, batch_size=len(batch.rays))
        self.log("loss", coarse + fine, prog_bar=True, batch_size=len(batch.rays))
        return coarse + fine

    def on_train_epoch_end(self) -> None:
        """Score the held-out keyframes, on whole images as in use."""
        if self._held_out:
            for name, value in self.held_out_scores().as_dict().items():
                self.log(f"held_out/{name}", value, prog_bar=name == "top1")

    def held_out_scores(self) -> RecognitionScores:
        return score_recognition(wrap_model(self.model), self._held_out, self._parents, keypoints=self._fit.keypoints)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self._fit.learning_rate, weight_decay=self._fit.weight_decay
        )
        steps = self._fit.epochs * len(self._batches)
        return schedule_optimizer(optimizer, steps=steps, warm_up=self._fit.warm_up)


def wrap_model(model: RecognitionNetwork) -> Any:
    """The model as a function of arrays, see `scores.Recognize`."""

    @torch.no_grad()
    def recognize(rays: Array, descriptors: Array) -> tuple[Array, ...]:
        device = model.fine_weight.device
        outputs = model(torch.from_numpy(rays).to(device), torch.from_numpy(descriptors).to(device))
        return tuple(output.cpu().numpy() for output in outputs)

    return recognize


def _make_checkpoints(run_dir: Path, *, monitored: bool) -> list[ModelCheckpoint]:
    """Callbacks that save the last epoch, and the best one if there are scores."""
    last = keep_last_epoch(run_dir)
    if not monitored:
        return [last]
    best = ModelCheckpoint(
        run_dir,
        filename="best",
        monitor=_MONITORED,
        mode="max",
        save_weights_only=True,
        enable_version_counter=False,
        save_on_train_epoch_end=True,
    )
    return [best, last]


def _load_best(fitted: _TrainingModule, checkpoint: Path, run_dir: Path) -> TrainedRecognizer:
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
    fitted.cpu().model.load_state_dict(state)
    fitted.model.eval()
    write_bytes_atomically(run_dir / "best.safetensors", save(state))
    return TrainedRecognizer(fitted.model, fitted.held_out_scores() if fitted._held_out else None)
