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

"""Batches of a task by their keys: the order of an epoch, shared by several processes, and the loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler

from training.framework.task import TrainingTask

# a process that has not loaded a batch by then hangs, such as one that was forked while another thread held a lock
_LONGEST_WAIT_S = 300


class KeyedBatch(NamedTuple):
    """A batch and the key that it was loaded by."""

    key: Any
    batch: Any


class BatchDataset(Dataset[KeyedBatch]):
    """The batches of a task by their keys."""

    def __init__(self, task: TrainingTask[Any, Any, Any]) -> None:
        self._task = task

    def __getitem__(self, key: Any) -> KeyedBatch:
        return KeyedBatch(key, self._task.load_batch(key))


class EpochOrder(Sampler[Any]):
    """The keys of this process's batches of an epoch; Lightning sets the epoch."""

    def __init__(
        self,
        task: TrainingTask[Any, Any, Any],
        network: nn.Module,
        *,
        epoch: int = 0,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        """For one process of several; `epoch` is the first one, which Lightning does not set when a run is resumed."""
        self._task, self._network = task, network
        self._epoch, self._rank, self._processes = epoch, rank, processes

    def set_epoch(self, epoch: int) -> None:
        """Set the next epoch."""
        self._epoch = epoch

    def __len__(self) -> int:
        # every process takes equally many steps; the remainder is left to another epoch
        return max(1, self._task.batches_per_epoch // self._processes)

    def __iter__(self) -> Iterator[Any]:
        keys = self._task.list_batches(self._epoch, self._network)
        assert len(keys) == self._task.batches_per_epoch
        return iter(
            [keys[number % len(keys)] for number in range(self._rank, len(self) * self._processes, self._processes)]
        )


def make_data_loader(task: TrainingTask[Any, Any, Any], order: EpochOrder) -> DataLoader[KeyedBatch]:
    """The batches of a task, in an order that is new in every epoch.

    The loader raises RuntimeError where its processes load no batch for five minutes.
    """
    workers = task.config.fit.workers
    return DataLoader(
        BatchDataset(task),
        batch_size=None,
        sampler=order,
        collate_fn=_keep,
        # an iterator draws from it; the global one, which dropout draws from, is seeded before or after that
        generator=torch.Generator(),
        num_workers=workers,
        timeout=_LONGEST_WAIT_S if workers else 0,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def _keep(keyed: KeyedBatch) -> KeyedBatch:
    return keyed
