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

"""Optimizers by name, and the learning rate of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from training.framework.configuration import FitConfig

_MOMENTUM = 0.9


def learning_rate_factor(step: int, steps: int, warm_up: float) -> float:
    """The learning rate as a share of the largest: linear warm-up, then a half cosine down to zero."""
    rise = max(1, round(steps * warm_up))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, steps - rise))))


def build_optimizer(groups: Sequence[Mapping[str, Any]], fit: FitConfig) -> torch.optim.Optimizer:
    """The configured optimizer; a group of parameters may have a learning rate and a weight decay of its own."""
    own: list[dict[str, Any]] = [dict(group) for group in groups]
    rate, decay = fit.learning_rate, fit.weight_decay
    match fit.optimizer:
        case "adamw":
            return torch.optim.AdamW(own, lr=rate, weight_decay=decay)
        case "adam":
            return torch.optim.Adam(own, lr=rate, weight_decay=decay)
        case "asgd":
            return torch.optim.ASGD(own, lr=rate, weight_decay=decay)
        case _:
            return torch.optim.SGD(own, lr=rate, weight_decay=decay, momentum=_MOMENTUM)


def schedule_optimizer(optimizer: torch.optim.Optimizer, *, steps: int, warm_up: float) -> dict[str, Any]:
    """An optimizer with the schedule of `learning_rate_factor`, as Lightning takes it."""
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_factor(step, steps, warm_up))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
