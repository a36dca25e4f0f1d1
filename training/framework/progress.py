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

"""Progress of a training: epoch, loss, held-out score and the time left, on the terminal or in a log."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor
from tqdm import tqdm

from vloc_ros.progress import EVERY_S, format_duration, format_time_left


class EpochProgress(Callback):
    """A line for every epoch in a file, and on standard error a bar, or in a log a line every ten seconds at most."""

    def __init__(self, path: Path) -> None:
        """Write the lines to this file; those of a resumed run are appended."""
        self._path = path
        self._losses: list[Tensor] = []
        self._bar: tqdm | None = None

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Start the clock; a resumed run has fewer epochs left."""
        self._first, self._start, self._last = trainer.current_epoch, time.monotonic(), -EVERY_S
        if trainer.is_global_zero and not self._first:
            self._path.write_text("")
        if trainer.is_global_zero and sys.stderr.isatty():
            steps = (int(trainer.max_epochs or 0) - self._first) * int(trainer.num_training_batches)
            self._bar = tqdm(total=steps, desc=f"epoch {self._first + 1} of {trainer.max_epochs}")

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, *_: Any
    ) -> None:
        """Keep the loss, on its device: to read it would wait for the step."""
        self._losses.append(outputs["loss"].detach())
        if self._bar is not None:
            self._bar.update()

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the epoch before, whose held-out score is known only now."""
        if trainer.current_epoch > self._first:
            self._report(trainer, trainer.current_epoch)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Report the last epoch."""
        if self._losses:
            self._report(trainer, trainer.current_epoch)
        if self._bar is not None:
            self._bar.close()

    def _report(self, trainer: lightning.Trainer, done: int) -> None:
        loss, epochs = torch.stack(self._losses).mean().item(), int(trainer.max_epochs or 0)
        self._losses.clear()
        if not trainer.is_global_zero:
            return
        held_out = {name: value for name, value in trainer.progress_bar_metrics.items() if name.startswith("held_out/")}
        scores = ", ".join([f"loss {loss:.4g}", *(f"{name} {float(value):.3f}" for name, value in held_out.items())])
        now = time.monotonic()
        elapsed_s = now - self._start
        left = format_time_left(elapsed_s, done - self._first, epochs - self._first)
        taken = left if done < epochs else f"{format_duration(elapsed_s)} in all"
        line = f"epoch {done} of {epochs}: {scores}; {taken}"
        with self._path.open("a") as log:
            log.write(f"{line}\n")
        if self._bar is not None:
            self._bar.set_description(f"epoch {min(done + 1, epochs)} of {epochs}, {scores}")
        elif now - self._last >= EVERY_S or done == epochs:
            self._last = now
            print(line, file=sys.stderr, flush=True)
