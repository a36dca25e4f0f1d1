"""Training on examples, with Lightning: resumable to the last digit, the best epoch kept."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from safetensors.torch import save
from torch import Tensor

from training.recognition.batches import Batch, Example, training_batches
from training.recognition.config import FitConfig, RecognizerConfig
from training.recognition.loss import RecognitionLoss
from training.recognition.model import LandmarkRecognizer
from training.recognition.scores import Scores, scores
from vloc_ros.core.errors import InputError
from vloc_ros.core.pose import Array
from vloc_ros.storage.atomic import write_bytes_atomically

if TYPE_CHECKING:
    from vloc_ros.core.landmark_map import LandmarkTable

_MONITORED = "held_out/top1"
_LAST, _BEST = "last.ckpt", "best.ckpt"
_PREFIX = "model."


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A recogniser and how it does on the keyframes that were held out, None where there were none."""

    model: LandmarkRecognizer
    held_out: Scores | None


def train(
    examples: Sequence[Sequence[Example]],
    landmarks: LandmarkTable,
    config: RecognizerConfig,
    run_dir: Path,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> Trained:
    """Fit a recogniser.

    Args:
        examples: of every keyframe, its versions, the first unchanged; keyframes along the trajectory.
        landmarks: of the map.
        config: everything else.
        run_dir: for the log, checkpoints, the configuration and `best.safetensors`.
        resume: go on after the last whole epoch of a run there.
        callbacks: of Lightning, beside our own.

    Raises:
        InputError: nothing can be learned from the examples, or there is no run like this one to resume.
    """
    held = held_out_keyframes(len(examples), config.fit)
    learned = [version for versions, out in zip(examples, held, strict=True) if not out for version in versions]
    learned = [example for example in learned if (example.landmarks >= 0).any()]
    if not learned:
        raise InputError("no keypoint of any image shows a point of the map; give the images that it was built from")
    _claim(run_dir, config, resume=resume)
    torch.manual_seed(config.fit.seed)
    model = LandmarkRecognizer(config.model, landmarks.parents.tolist(), dimension=learned[0].descriptors.shape[1])
    kept_back = [versions[0] for versions, out in zip(examples, held, strict=True) if out and len(versions[0])]
    fitted = _Fit(model, kept_back, landmarks.parents, config.fit)
    checkpoints = _checkpoints(run_dir, monitored=bool(kept_back))
    trainer = _trainer(config.fit, run_dir, [*checkpoints, *callbacks])
    batches = training_batches(learned, config.keypoints, config.fit)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # advice on workers and logging
        trainer.fit(fitted, batches, ckpt_path=run_dir / _LAST if resume else None, weights_only=True)
    return _best(fitted, run_dir / (_BEST if kept_back else _LAST), run_dir)


def held_out_keyframes(count: int, fit: FitConfig) -> Array:
    """(count,) bool: keyframes kept back, in stretches evenly along the trajectory.

    Single ones would tell nothing: their neighbours show the same.
    """
    held, wanted = np.zeros(count, bool), round(count * fit.held_out)
    if not wanted:
        return held
    segments = min(wanted, max(fit.held_out_segments, math.ceil(wanted / fit.held_out_length)))
    lengths = np.diff(np.linspace(0, wanted, segments + 1).round().astype(int))
    for segment, length in enumerate(lengths):
        middle = (segment + 0.5) * count / segments
        first = min(max(round(middle - length / 2), 0), count - length)
        held[first : first + length] = True
    return held


class _Fit(lightning.LightningModule):
    """What Lightning asks of a training."""

    def __init__(self, model: LandmarkRecognizer, kept_back: Sequence[Example], parents: Array, fit: FitConfig) -> None:
        super().__init__()
        self.model = model
        self._loss = RecognitionLoss(
            torch.from_numpy(parents.astype(np.int64)), background_weight=fit.background_weight
        )
        self._kept_back, self._parents, self._fit = kept_back, parents, fit

    def training_step(self, batch: Batch, _: int) -> Tensor:
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
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps, self._fit.warm_up))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def recognize_with(model: LandmarkRecognizer) -> Any:
    """The model as a function of arrays, see `scores.Recognize`."""

    @torch.no_grad()
    def recognize(rays: Array, descriptors: Array) -> tuple[Array, ...]:
        device = model.fine_weight.device
        answer = model(torch.from_numpy(rays).to(device), torch.from_numpy(descriptors).to(device))
        return tuple(part.cpu().numpy() for part in answer)

    return recognize


def _rate(step: int, steps: int, warm_up: float) -> float:
    """The learning rate as a share of the largest: rising, then half a cosine down to nothing."""
    rise = max(1, round(steps * warm_up))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def _checkpoints(run_dir: Path, *, monitored: bool) -> list[ModelCheckpoint]:
    """The last epoch, and the best one where it can be told."""
    last = ModelCheckpoint(run_dir, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
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


def _trainer(fit: FitConfig, run_dir: Path, callbacks: list[Callback]) -> lightning.Trainer:
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return lightning.Trainer(
        max_epochs=fit.epochs,
        precision=fit.precision,
        gradient_clip_val=fit.gradient_clip,
        callbacks=callbacks,
        logger=TensorBoardLogger(run_dir, name="", version="log"),
        log_every_n_steps=10,
        enable_model_summary=False,
        devices=1,
    )


def _claim(run_dir: Path, config: RecognizerConfig, *, resume: bool) -> None:
    """Note the configuration of a new run, or see that a run to go on with has the same."""
    path, text = run_dir / "config.json", json.dumps(asdict(config), indent=1)
    if not resume:
        write_bytes_atomically(path, text.encode())
        return
    if not (run_dir / _LAST).is_file() or not path.is_file():
        raise InputError(f"{run_dir}: holds no run, expected {_LAST} and {path.name}; start one without --resume")
    if path.read_text() != text:
        raise InputError(f"{path}: differs from the configuration asked for; resume with the same preset and --set")


def _best(fitted: _Fit, checkpoint: Path, run_dir: Path) -> Trained:
    weights = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
    state = {name.removeprefix(_PREFIX): value for name, value in weights.items() if name.startswith(_PREFIX)}
    fitted.cpu().model.load_state_dict(state)
    fitted.model.eval()
    write_bytes_atomically(run_dir / "best.safetensors", save(state))
    return Trained(fitted.model, fitted.held_out_scores() if fitted._kept_back else None)
