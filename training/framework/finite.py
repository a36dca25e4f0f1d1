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

"""A training stops at a loss or gradient that is not finite, and writes the batch that led to it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from training.framework.batches import KeyedBatch
from training.framework.run_folder import NOT_FINITE
from vloc_ros.core.errors import VlocError
from vloc_ros.storage.atomic import write_bytes_atomically


class NotFiniteError(VlocError):
    """A loss or a gradient is NaN or infinite."""


def check_losses(losses: Mapping[str, Tensor], keyed: KeyedBatch, path: Path) -> None:
    """Raise NotFiniteError, and write the batch to a file, if a term of the loss is not finite."""
    terms = list(losses.values())
    if not torch.isfinite(torch.stack([term.detach().float() for term in terms])).all():
        values = ", ".join(f"{name} {float(term.detach()):g}" for name, term in losses.items())
        _stop(f"the loss is not finite ({values})", keyed, path)


def check_gradients(network: nn.Module, keyed: KeyedBatch, path: Path) -> None:
    """Raise NotFiniteError, and write the batch to a file, if a gradient is not finite."""
    gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
    if gradients and not torch.isfinite(torch.nn.utils.get_total_norm(list(gradients.values()))):
        worst = [name for name, gradient in gradients.items() if not torch.isfinite(gradient).all()]
        _stop(f"the gradient is not finite (of {worst[0] if worst else 'all weights together'})", keyed, path)


def name_batch_file(run_dir: Path, rank: int) -> Path:
    """The file that the batch of a process is written to."""
    return run_dir / f"{NOT_FINITE}-{rank}.safetensors"


def _stop(reason: str, keyed: KeyedBatch, path: Path) -> None:
    tensors = {name: value.detach().cpu().contiguous() for name, value in _name_tensors(keyed.batch, "batch")}
    write_bytes_atomically(path, save(tensors, metadata={"key": json.dumps(keyed.key, default=str), "reason": reason}))
    raise NotFiniteError(
        f"{reason}, of batch {keyed.key}, which is written to {path}; lower fit.learning_rate or fit.gradient_clip, "
        "or use fit.precision=32"
    )


def _name_tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of a batch, with a name."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _name_tensors(part, f"{name}.{key}")
    elif isinstance(value, tuple | list):
        names = getattr(value, "_fields", range(len(value)))
        for key, part in zip(names, value, strict=True):
            yield from _name_tensors(part, f"{name}.{key}")
