"""What all trainings with Lightning have in common: a folder, its checkpoints, a schedule, what is held out."""

from __future__ import annotations

import json
import logging
import math
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.progress import bar
from vloc_ros.storage.atomic import StorageError, write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros run"
LAST = "last.ckpt"
CONFIG, SOURCES = "config.json", "sources.json"
LOG, WEIGHTS, TEACHER, TEACHER_RUN = "log", "weights", "teacher", "teacher.run"


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
    """A trainer that logs into the folder for TensorBoard, and shows a bar on a terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    on_terminal = sys.stderr.isatty()
    return lightning.Trainer(
        max_epochs=epochs,
        precision=precision,
        gradient_clip_val=gradient_clip,
        callbacks=[*callbacks] if on_terminal else [*callbacks, _LoggedEpochs()],
        enable_progress_bar=on_terminal,
        logger=TensorBoardLogger(run_dir, name="", version=LOG),
        log_every_n_steps=10,
        enable_model_summary=False,
        **more,
    )


class _LoggedEpochs(Callback):
    """Tells a log how far the training has come."""

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Count from here on, which is behind the start where a run goes on."""
        epochs = range(trainer.current_epoch, trainer.max_epochs or 0) if trainer.is_global_zero else ()
        self._coming = iter(bar(epochs, description="epochs"))

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """One more has begun."""
        next(self._coming, None)


def check_run_folder(run_dir: Path, out: Path) -> None:
    """See, before the work, that a run and its model have folders in which nothing else is overwritten.

    Raises:
        StorageError: the run's folder holds something else than a run.
        InputError: one of the two would be written into the other.
    """
    inner, outer = run_dir.resolve(), out.resolve()
    own = [inner / name for name in (LOG, WEIGHTS, TEACHER, TEACHER_RUN)]
    if inner.is_relative_to(outer) or any(outer.is_relative_to(folder) for folder in own):
        raise InputError(f"the run's folder is {run_dir}, the model's {out}, expected one outside the other; name both")
    _replaces_run(run_dir)


def open_run(
    run_dir: Path, config: Any, sources: Mapping[str, Any], *, resume: bool, leftovers: Sequence[str] = ()
) -> None:
    """Note what a new run is, or see that a run to go on with is the same.

    What an earlier run left is removed before a new one, which could otherwise go on with it.

    Args:
        run_dir: of the run.
        config: a dataclass.
        sources: what is learned from, by name as JSON has it: hashes, lest other data of the same place be taken.
        resume: whether to go on.
        leftovers: what an earlier run may have left beside its checkpoints.

    Raises:
        InputError: there is no run to go on with, or it is of another configuration or other sources.
        StorageError: the folder cannot be written, or holds something else than a run.
    """
    text, noted = json.dumps(asdict(config), indent=1), {"format": FORMAT, **sources}
    if resume:
        _check_same(run_dir, text, noted)
        return
    _replaces_run(run_dir)
    for path in [*run_dir.glob("*.ckpt"), *(run_dir / name for name in leftovers)]:
        _remove(path)
    write_bytes_atomically(run_dir / SOURCES, json.dumps(noted, indent=1).encode())
    write_bytes_atomically(run_dir / CONFIG, text.encode())


def checkpoint_of(run_dir: Path) -> Path:
    """The checkpoint of a run's last whole epoch.

    Raises:
        InputError: there is none.
    """
    if not (run_dir / LAST).is_file():
        raise InputError(f"{run_dir}: holds no run with a whole epoch, expected {LAST}; start one without --resume")
    return run_dir / LAST


def _replaces_run(run_dir: Path) -> bool:
    return replaces_folder(run_dir, manifest=SOURCES, format_=FORMAT, kind="run")


def _check_same(run_dir: Path, config: str, sources: Mapping[str, Any]) -> None:
    if not _replaces_run(run_dir) or not (run_dir / CONFIG).is_file():
        raise InputError(f"{run_dir}: holds no run, expected {SOURCES} and {CONFIG}; start one without --resume")
    if read_text(run_dir / CONFIG) != config:
        raise InputError(
            f"{run_dir / CONFIG}: differs from the configuration asked for; resume with the same preset and --set"
        )
    before = json.loads(read_text(run_dir / SOURCES))
    if other := sorted(name for name in before.keys() | sources.keys() if before.get(name) != sources.get(name)):
        raise InputError(
            f"{run_dir / SOURCES}: the run began with other sources ({', '.join(other)}) than are given; resume with "
            "those that it began with, or start one without --resume"
        )


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: is of an earlier run and cannot be removed ({error.strerror})") from error
