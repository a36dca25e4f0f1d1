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

import pytest

pytest.importorskip("torch", reason="no torch and lightning: `make training` installs them")

import torch

from training.framework.configuration import OPTIMIZERS, FitConfig
from training.framework.schedule import build_optimizer, learning_rate_factor, schedule_optimizer

CLASSES = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam, "asgd": torch.optim.ASGD, "sgd": torch.optim.SGD}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_has_the_configured_rates_or_those_of_a_group(name: str) -> None:
    fit = FitConfig(optimizer=name, learning_rate=0.1, weight_decay=0.2)
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]} for _ in range(2)]
    groups[1] |= {"lr": 0.01, "weight_decay": 0.0}
    optimizer = build_optimizer(groups, fit)
    assert type(optimizer) is CLASSES[name]
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.1, 0.2), (0.01, 0.0)]


def test_the_learning_rate_rises_and_falls_in_every_group() -> None:
    assert [learning_rate_factor(step, 12, 0.25) for step in range(3)] == pytest.approx([1 / 3, 2 / 3, 1])
    falling = [learning_rate_factor(step, 12, 0.25) for step in range(3, 13)]
    assert falling == sorted(falling, reverse=True)
    assert (falling[0], falling[-1]) == pytest.approx((1, 0))
    optimizer = torch.optim.SGD([{"params": [torch.nn.Parameter(torch.ones(1))], "lr": rate} for rate in (1.0, 0.1)])
    schedule_optimizer(optimizer, steps=10, warm_up=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.2, 0.02])
