"""Runs of Lightning: the folder of a run, its checkpoints, the learning rate, the held-out images."""

from __future__ import annotations

import json
import logging
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

from training.epoch_progress import EpochProgress
from vloc_ros.core.errors import InputError
from vloc_ros.core.geometry.pose import Array
from vloc_ros.storage.atomic import StorageError, write_bytes_atomically
from vloc_ros.storage.output_folders import replaces_folder
from vloc_ros.storage.text import read_text

FORMAT = "vloc_ros run"
LAST = "last.ckpt"
CONFIG, SOURCES, PROGRESS = "config.json", "sources.json", "progress.txt"
LOG, WEIGHTS, TEACHER, TEACHER_RUN = "log", "weights", "teacher", "teacher.run"


class HeldOutConfig(Protocol):
    """How much of a trajectory is held out.

    Attributes:
        held_out: share of its images.
        held_out_segments: fewest segments.
        held_out_length: most images in one segment.
    """

    @property
    def held_out(self) -> float: ...  # noqa: D102
    @property
    def held_out_segments(self) -> int: ...  # noqa: D102
    @property
    def held_out_length(self) -> int: ...  # noqa: D102


def select_held_out(count: int, fit: HeldOutConfig) -> Array:
    """(count,) bool: held-out images, in segments evenly along the trajectory.

    Single images would be no test: their neighbours show the same.
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


def learning_rate_factor(step: int, steps: int, warm_up: float) -> float:
    """The learning rate as a share of the largest: linear warm-up, then a half cosine down to zero."""
    rise = max(1, round(steps * warm_up))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def schedule_optimizer(optimizer: torch.optim.Optimizer, *, steps: int, warm_up: float) -> dict[str, Any]:
    """An optimizer with the schedule of `learning_rate_factor`, as Lightning takes it."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, warm_up))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def read_first_epoch(trainer: lightning.Trainer) -> int:
    """The epoch that a run starts or resumes with; to be called in `train_dataloader`.

    Lightning sets a sampler's epoch only after it has made an iterator, whose processes have sampled their first
    batches by then. Do not request the number of steps from Lightning: it would make that iterator before it reads the
    checkpoint.
    """
    return int(trainer.fit_loop.epoch_progress.current.processed)


def keep_last_epoch(run_dir: Path) -> ModelCheckpoint:
    """A callback that saves what is needed to resume after the last complete epoch."""
    return ModelCheckpoint(run_dir, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)


def make_trainer(
    run_dir: Path, callbacks: Sequence[Callback], *, epochs: int, precision: str, gradient_clip: float, **more: Any
) -> lightning.Trainer:
    """A trainer that logs to the folder, for TensorBoard and as text, and shows its progress."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    return lightning.Trainer(
        max_epochs=epochs,
        precision=precision,
        gradient_clip_val=gradient_clip,
        callbacks=[*callbacks, EpochProgress(run_dir / PROGRESS)],
        enable_progress_bar=False,
        logger=TensorBoardLogger(run_dir, name="", version=LOG),
        log_every_n_steps=10,
        enable_model_summary=False,
        **more,
    )


def check_run_folder(run_dir: Path, out: Path) -> None:
    """Check, before the work, that a run and its model overwrite nothing else.

    Raises:
        StorageError: the run's folder holds something other than a run.
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
    """Record the configuration and sources of a new run, or check those of a run to resume.

    Files of an earlier run are removed first, so that the new one cannot resume from them.

    Args:
        run_dir: folder of the run.
        config: a dataclass.
        sources: hashes of the training data, by name, as JSON types.
        resume: whether to resume.
        leftovers: files and folders of an earlier run beside its checkpoints.

    Raises:
        InputError: there is no run to resume, or it has another configuration or other sources.
        StorageError: the folder cannot be written, or holds something other than a run.
    """
    text, content = json.dumps(asdict(config), indent=1), {"format": FORMAT, **sources}
    if resume:
        _check_same_run(run_dir, text, content)
        return
    _replaces_run(run_dir)
    for path in [*run_dir.glob("*.ckpt"), *(run_dir / name for name in leftovers)]:
        _remove(path)
    write_bytes_atomically(run_dir / SOURCES, json.dumps(content, indent=1).encode())
    write_bytes_atomically(run_dir / CONFIG, text.encode())


def find_checkpoint(run_dir: Path) -> Path:
    """The checkpoint of a run's last complete epoch.

    Raises:
        InputError: there is no checkpoint.
    """
    if not (run_dir / LAST).is_file():
        raise InputError(f"{run_dir}: holds no run with a complete epoch, expected {LAST}; start one without --resume")
    return run_dir / LAST


def _replaces_run(run_dir: Path) -> bool:
    return replaces_folder(run_dir, manifest=SOURCES, format_=FORMAT, kind="run")


def _check_same_run(run_dir: Path, config: str, sources: Mapping[str, Any]) -> None:
    if not _replaces_run(run_dir) or not (run_dir / CONFIG).is_file():
        raise InputError(f"{run_dir}: holds no run, expected {SOURCES} and {CONFIG}; start one without --resume")
    if read_text(run_dir / CONFIG) != config:
        raise InputError(
            f"{run_dir / CONFIG}: differs from the given configuration; resume with the same preset and --set"
        )
    before = json.loads(read_text(run_dir / SOURCES))
    if other := sorted(name for name in before.keys() | sources.keys() if before.get(name) != sources.get(name)):
        raise InputError(
            f"{run_dir / SOURCES}: the run was started with other sources ({', '.join(other)}); resume with the same "
            "ones, or start a run without --resume"
        )


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: of an earlier run, cannot be removed ({error.strerror})") from error
