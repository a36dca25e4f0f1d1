"""Training on examples, with Lightning: resumable to the last digit, the best epoch kept."""

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

from training.recognition.batches import Example, KeypointBatch, training_batches
from training.recognition.config import RecognizerConfig, RecognizerFitConfig
from training.recognition.loss import RecognitionLoss
from training.recognition.model import RecognitionNetwork
from training.recognition.scores import Scores, scores
from training.runs import (
    LAST,
    checkpoint_of,
    first_epoch,
    held_out_stretches,
    last_epoch,
    open_run,
    scheduled,
    trainer_of,
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
    """A recogniser and how it does on the keyframes that were held out, None where there were none."""

    model: RecognitionNetwork
    held_out: Scores | None


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
    """Fit a recogniser.

    Args:
        examples: of every keyframe, its versions, the first unchanged; keyframes along the trajectory.
        landmarks: of the map.
        config: everything else.
        run_dir: for the log, checkpoints, the configuration and `best.safetensors`.
        sources: what the examples are made from, see `runs.claim`.
        resume: go on after the last whole epoch of a run there.
        callbacks: of Lightning, beside our own.

    Raises:
        InputError: nothing can be learned from the examples, or there is no run like this one to resume.
    """
    held = held_out_stretches(len(examples), config.fit)
    learned = _learned(examples, held)
    open_run(run_dir, config, sources, resume=resume)
    checkpoint = checkpoint_of(run_dir) if resume else None
    torch.manual_seed(config.fit.seed)
    model = RecognitionNetwork(config.model, landmarks.parents.tolist(), dimension=learned[0].descriptors.shape[1])
    kept_back = [versions[0] for versions, out in zip(examples, held, strict=True) if out and len(versions[0])]
    batches = training_batches(learned, config.keypoints, config.fit)
    fitted = _Fit(model, batches, kept_back, landmarks.parents, config.fit)
    checkpoints = _checkpoints(run_dir, monitored=bool(kept_back))
    _fit(fitted, run_dir, config, [*checkpoints, *callbacks], checkpoint)
    return _best(fitted, run_dir / (_BEST if kept_back else LAST), run_dir)


def _learned(examples: Sequence[Sequence[Example]], held: Array) -> list[Example]:
    """All versions of the keyframes that are not kept back, if they show a landmark."""
    learned = [version for versions, out in zip(examples, held, strict=True) if not out for version in versions]
    learned = [example for example in learned if (example.landmarks >= 0).any()]
    if not learned:
        raise InputError("no keypoint of any image shows a point of the map; give the images that it was built from")
    return learned


def _fit(
    fitted: _Fit, run_dir: Path, config: RecognizerConfig, callbacks: Sequence[Callback], checkpoint: Path | None
) -> None:
    trainer = trainer_of(
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


class _Fit(lightning.LightningModule):
    """What Lightning asks of a training."""

    def __init__(
        self,
        model: RecognitionNetwork,
        batches: DataLoader[KeypointBatch],
        kept_back: Sequence[Example],
        parents: Array,
        fit: RecognizerFitConfig,
    ) -> None:
        super().__init__()
        self.model = model
        self._loss = RecognitionLoss(
            torch.from_numpy(parents.astype(np.int64)), background_weight=fit.background_weight
        )
        self._kept_back, self._parents, self._fit = kept_back, parents, fit
        self._batches = batches

    def train_dataloader(self) -> DataLoader[KeypointBatch]:
        """The batches, from the right epoch on."""
        self._batches.sampler.set_epoch(first_epoch(self.trainer))
        return self._batches

    def training_step(self, batch: KeypointBatch, _: int) -> Tensor:
        coarse, fine = self._loss(self.model, batch)
        self.log_dict({"loss/coarse": coarse, "loss/fine": fine}, batch_size=len(batch.rays))
        self.log("loss", coarse + fine, prog_bar=True, batch_size=len(batch.rays))
        return coarse + fine

    def on_train_epoch_end(self) -> None:
        """Score what was held out, whole images at a time as a robot asks."""
        if self._kept_back:
            for name, value in self.held_out_scores().as_dict().items():
                self.log(f"held_out/{name}", value, prog_bar=name == "top1")

    def held_out_scores(self) -> Scores:
        return scores(recognize_with(self.model), self._kept_back, self._parents, keypoints=self._fit.keypoints)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=self._fit.learning_rate, weight_decay=self._fit.weight_decay
        )
        steps = self._fit.epochs * len(self._batches)
        return scheduled(optimizer, steps=steps, warm_up=self._fit.warm_up)


def recognize_with(model: RecognitionNetwork) -> Any:
    """The model as a function of arrays, see `scores.Recognize`."""

    @torch.no_grad()
    def recognize(rays: Array, descriptors: Array) -> tuple[Array, ...]:
        device = model.fine_weight.device
        answer = model(torch.from_numpy(rays).to(device), torch.from_numpy(descriptors).to(device))
        return tuple(part.cpu().numpy() for part in answer)

    return recognize


def _checkpoints(run_dir: Path, *, monitored: bool) -> list[ModelCheckpoint]:
    """The last epoch, and the best one where it can be told."""
    last = last_epoch(run_dir)
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


def _best(fitted: _Fit, checkpoint: Path, run_dir: Path) -> TrainedRecognizer:
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
    fitted.cpu().model.load_state_dict(state)
    fitted.model.eval()
    write_bytes_atomically(run_dir / "best.safetensors", save(state))
    return TrainedRecognizer(fitted.model, fitted.held_out_scores() if fitted._kept_back else None)
