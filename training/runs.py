"""What all trainings with Lightning have in common: a folder, its checkpoints, a schedule, what is held out."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from vloc_ros.core.errors import InputError
from vloc_ros.core.pose import Array
from vloc_ros.storage.atomic import write_bytes_atomically

LAST = "last.ckpt"


class HeldOut(Protocol):
    """How much of a trajectory is kept back.

    Attributes:
        held_out: share of it.
        held_out_segments: stretches that lie along it, at least.
        held_out_length: images in one stretch, at most.
    """

    @property
    def held_out(self) -> float: ...  # noqa: D102
    @property
    def held_out_segments(self) -> int: ...  # noqa: D102
    @property
    def held_out_length(self) -> int: ...  # noqa: D102


def held_out_stretches(count: int, fit: HeldOut) -> Array:
    """(count,) bool: images kept back, in stretches evenly along the trajectory.

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


def learning_rate(step: int, steps: int, warm_up: float) -> float:
    """The learning rate as a share of the largest: rising, then half a cosine down to nothing."""
    rise = max(1, round(steps * warm_up))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def scheduled(optimizer: torch.optim.Optimizer, *, steps: int, warm_up: float) -> dict[str, Any]:
    """An optimizer with that schedule over so many steps, as Lightning takes it."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate(step, steps, warm_up))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def first_epoch(trainer: lightning.Trainer) -> int:
    """The epoch that a run starts with, or goes on with; to be asked in `train_dataloader`.

    Lightning tells a sampler its epoch only after an iterator was made, and the processes of that iterator have
    drawn their first batches by then. Nor may the number of steps be asked of Lightning, which would make that
    iterator before it reads the checkpoint.
    """
    return int(trainer.fit_loop.epoch_progress.current.processed)


def last_epoch(run_dir: Path) -> ModelCheckpoint:
    """Keeps what is needed to go on after the last whole epoch."""
    return ModelCheckpoint(run_dir, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)


def trainer_of(
    run_dir: Path, callbacks: Sequence[Callback], *, epochs: int, precision: str, gradient_clip: float, **more: Any
) -> lightning.Trainer:
    """A trainer that logs into the folder for TensorBoard."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return lightning.Trainer(
        max_epochs=epochs,
        precision=precision,
        gradient_clip_val=gradient_clip,
        callbacks=list(callbacks),
        logger=TensorBoardLogger(run_dir, name="", version="log"),
        log_every_n_steps=10,
        enable_model_summary=False,
        **more,
    )


def claim(run_dir: Path, config: Any, *, resume: bool) -> None:
    """Note the configuration of a new run, or see that a run to go on with has the same.

    Raises:
        InputError: there is no run to go on with, or it has another configuration.
    """
    path, text = run_dir / "config.json", json.dumps(asdict(config), indent=1)
    if not resume:
        write_bytes_atomically(path, text.encode())
        return
    if not (run_dir / LAST).is_file() or not path.is_file():
        raise InputError(f"{run_dir}: holds no run, expected {LAST} and {path.name}; start one without --resume")
    if path.read_text() != text:
        raise InputError(f"{path}: differs from the configuration asked for; resume with the same preset and --set")
