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

"""The Lightning module of every training: a task's batches, loss, optimizer, validation and best epoch."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.utils.data import DataLoader

from training.framework.batches import EpochOrder, KeyedBatch, make_data_loader
from training.framework.configuration import BEST as KEEP_BEST
from training.framework.finite import check_gradients, check_losses, name_batch_file
from training.framework.run_folder import BEST
from training.framework.schedule import build_optimizer, schedule_optimizer
from training.framework.task import TrainingTask
from vloc_ros.core.errors import ConfigError
from vloc_ros.storage.atomic import write_bytes_atomically

_SELECTION = "selection"
# gradients of scaled losses may overflow, which the scaler handles
_SCALED = "16-mixed"


class TaskModule(lightning.LightningModule):
    """A task in Lightning's terms; only the network is saved."""

    def __init__(self, task: TrainingTask[Any, Any, Any], network: nn.Module, run_dir: Path) -> None:
        super().__init__()
        self.network = network
        self._task, self._fit, self._run_dir = task, task.config.fit, run_dir
        # the best score, and how many validations have had no better one since
        self._best, self._waited = -math.inf, 0

    def train_dataloader(self) -> DataLoader[KeyedBatch]:
        """The batches of this process, from the current epoch on."""
        return make_data_loader(self._task, self._order(read_first_epoch(self.trainer)))

    def _order(self, epoch: int) -> EpochOrder:
        rank, processes = self.trainer.global_rank, self.trainer.world_size
        return EpochOrder(self._task, self.network, epoch=epoch, rank=rank, processes=processes)

    def configure_optimizers(self) -> dict[str, Any]:
        """The configured optimizer and its schedule."""
        optimizer = build_optimizer(self._task.group_parameters(self.network), self._fit)
        return schedule_optimizer(optimizer, steps=self._fit.epochs * len(self._order(0)), warm_up=self._fit.warm_up)

    def on_fit_start(self) -> None:
        """Move what is not trained to the training's device."""
        for frozen in self._task.frozen_networks():
            frozen.to(self.device).eval().requires_grad_(False)

    def on_train_start(self) -> None:
        """A resumed run that had stopped early does not go on."""
        self._stop_if_patience_is_over()

    def on_train_epoch_start(self) -> None:
        """Seed by epoch, so that a resumed run draws the same numbers."""
        torch.manual_seed((self._fit.seed << 20) + (self.current_epoch << 8) + self.global_rank)
        self._generator = torch.Generator().manual_seed(torch.initial_seed())

    def training_step(self, keyed: KeyedBatch, _: int) -> Tensor:
        """The loss of a batch.

        Raises:
            NotFiniteError: it is not finite.
        """
        losses = self._task.loss(self.network, keyed.batch, self._generator)
        check_losses(losses, keyed, self._batch_file())
        self._keyed = keyed
        total = torch.stack(list(losses.values())).sum()
        # the steps that Lightning writes down; its bookkeeping of the others takes 1.6 ms each
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:
            named = {f"loss/{name}": value for name, value in losses.items()}
            self.log_dict({**named, "loss": total}, batch_size=1)
        return total

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Check the gradient before it changes the weights.

        Raises:
            NotFiniteError: it is not finite.
        """
        if self._fit.precision != _SCALED:
            check_gradients(self.network, self._keyed, self._batch_file())

    def on_train_epoch_end(self) -> None:
        """Validate in some epochs and the last; keep the best weights."""
        done = self.current_epoch + 1
        if done % self._fit.scored_every and done != self._fit.epochs:
            return
        # the first process validates for all, which have to stop together
        scores = self.validate_network() if self.trainer.is_global_zero else {}
        scores = self.trainer.strategy.broadcast(scores)
        for name, value in scores.items():
            self.log(f"held_out/{name}", float(value), prog_bar=name == self._fit.monitored)
        if scores:
            self._select(scores)

    @torch.no_grad()
    def validate_network(self) -> dict[str, float]:
        """The scores of the task's validation."""
        training = self.network.training
        self.network.eval()
        scores = self._task.validate(self.network)
        self.network.train(training)
        return scores

    def _select(self, scores: dict[str, float]) -> None:
        if self._fit.monitored not in scores:
            raise ConfigError(
                f"parameter fit.monitored is {self._fit.monitored!r}, expected one of {', '.join(scores)}"
            )
        score = scores[self._fit.monitored]
        self._waited = 0 if score > self._best else self._waited + 1
        # of equal scores the later one is of more training; a recall that is perfect from the start selects nothing
        if score >= self._best:
            self._best = score
            if self._fit.kept == KEEP_BEST and self.trainer.is_global_zero:
                write_bytes_atomically(self._run_dir / BEST, save(_copy_weights(self.network)))
        self._stop_if_patience_is_over()

    def _stop_if_patience_is_over(self) -> None:
        if self._fit.patience and self._waited >= self._fit.patience:
            self.trainer.should_stop = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the best epoch is chosen by."""
        checkpoint[_SELECTION] = {"best": self._best, "waited": self._waited}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on choosing the best epoch."""
        self._best, self._waited = checkpoint[_SELECTION]["best"], checkpoint[_SELECTION]["waited"]

    def _batch_file(self) -> Path:
        return name_batch_file(self._run_dir, self.global_rank)


def read_first_epoch(trainer: lightning.Trainer) -> int:
    """The epoch that a run starts or resumes with; to be called in `train_dataloader`.

    Lightning sets a sampler's epoch only after it has made an iterator, whose processes have sampled their first
    batches by then. Do not request the number of steps from Lightning: it would make that iterator before it reads the
    checkpoint.
    """
    return int(trainer.fit_loop.epoch_progress.current.processed)


def _copy_weights(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()}
