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

"""A run: one training by Lightning, from the first epoch or a resumed one to the weights that are kept."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import load_file

from training.framework.configuration import BEST as KEEP_BEST
from training.framework.configuration import FitConfig
from training.framework.cost import count_cost, count_parameters
from training.framework.module import TaskModule
from training.framework.progress import EpochProgress
from training.framework.provenance import read_revision
from training.framework.run_folder import BEST, INFO, LOG, PROGRESS, find_checkpoint, open_run
from training.framework.task import Network, TrainingTask
from vloc_ros.storage.atomic import write_bytes_atomically

# a step may leave weights out, as a classification by cell does with the classifiers of all groups but one
_DISTRIBUTED = "ddp_find_unused_parameters_true"


@dataclass(frozen=True, slots=True, eq=False)
class TrainedNetwork(Generic[Network]):
    """The result of a training.

    Attributes:
        network: in evaluation mode, on the CPU.
        held_out: validation scores; empty without held-out data, and in all processes but the first.
    """

    network: Network
    held_out: Mapping[str, float]


def train(
    task: TrainingTask[Network, Any, Any],
    run_dir: Path,
    *,
    sources: Mapping[str, Any] = MappingProxyType({}),
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
) -> TrainedNetwork[Network]:
    """Train the network of a task.

    Args:
        task: what to train.
        run_dir: folder for the log, checkpoints and the configuration.
        sources: hashes of the training data, see `open_run`.
        resume: whether to continue after the last complete epoch of that run.
        callbacks: additional callbacks of Lightning.

    Raises:
        InputError: there is no such run to resume.
        NotFiniteError: a loss or gradient is not finite.
    """
    fit = task.config.fit
    rank_zero_only(open_run)(run_dir, task.config, sources, resume=resume)
    checkpoint = find_checkpoint(run_dir) if resume else None
    torch.manual_seed(fit.seed)
    network = task.build_network()
    if not resume:
        task.initialise(network)
    rank_zero_only(_write_info)(task, network, run_dir)
    module = TaskModule(task, network, run_dir)
    trainer = make_trainer(run_dir, callbacks, fit)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")  # advice on workers and logging
        trainer.fit(module, ckpt_path=checkpoint, weights_only=True)
    network.cpu()
    if fit.kept == KEEP_BEST and (run_dir / BEST).is_file():
        network.load_state_dict(load_file(run_dir / BEST))
    network.eval()
    return TrainedNetwork(network, module.validate_network() if trainer.is_global_zero else {})


def make_trainer(run_dir: Path, callbacks: Sequence[Callback], fit: FitConfig) -> lightning.Trainer:
    """A trainer that logs to the folder, shows its progress, and saves what is needed to resume after each epoch."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    last = ModelCheckpoint(run_dir, filename="last", enable_version_counter=False, save_on_train_epoch_end=True)
    return lightning.Trainer(
        max_epochs=fit.epochs,
        precision=fit.precision,
        gradient_clip_val=fit.gradient_clip,
        accelerator=fit.accelerator,
        devices=fit.devices,
        num_nodes=fit.nodes,
        strategy=_DISTRIBUTED if fit.devices * fit.nodes > 1 else "auto",
        use_distributed_sampler=False,
        callbacks=[last, *callbacks, EpochProgress(run_dir / PROGRESS)],
        enable_progress_bar=False,
        logger=TensorBoardLogger(run_dir, name="", version=LOG),
        log_every_n_steps=10,
        enable_model_summary=False,
    )


def _write_info(task: TrainingTask[Network, Any, Any], network: Network, run_dir: Path) -> None:
    """Size and cost of the network, its seed and the revision of the code, a line each."""
    parameters = count_parameters(network)
    lines = [
        f"revision: {read_revision()}",
        f"seed: {task.config.fit.seed}",
        f"batches per epoch: {task.batches_per_epoch}",
        f"parameters: {parameters} ({parameters * 4e-6:.2f} MB as float32)",
    ]
    if inputs := task.sample_inputs(network):
        cost = count_cost(network, inputs)
        lines.append(f"inputs: {', '.join(_format_shape(tuple(part.shape)) for part in inputs)}")
        lines.append(f"outputs: {', '.join(map(_format_shape, cost.shapes))}")
        lines.append(f"multiply-accumulates: {cost.mac:.4g} ({2 * cost.mac:.4g} FLOPs)")
    write_bytes_atomically(run_dir / INFO, ("\n".join(lines) + "\n").encode())


def _format_shape(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"
