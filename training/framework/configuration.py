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

"""Configurations of trainings: what all have in common, and a preset with some parameters overridden."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import yaml

from vloc_ros.core.config import Checked, config_from_mapping, parameter, parameters_of
from vloc_ros.core.errors import ConfigError
from vloc_ros.core.parameter_names import explain_unknown_parameter

T = TypeVar("T")
# parameters, or groups of them, of version 0.1.0's development that have another name, or none, now
RENAMED_PARAMETERS = {
    "changes": "augmentation",
    "mining.negatives_are": "mining.negative_selection",
    "loss.listed": "loss.listwise",
    "loss.transfer": "loss.distillation",
    "loss.patches": "loss.patch_distillation",
}
REMOVED_GROUPS = {"labels": "labels follow from the descriptor statistics of the map"}
OPTIMIZERS = ("adamw", "adam", "asgd", "sgd")
BEST, LAST = "best", "last"


@dataclass(frozen=True, slots=True)
class FitConfig(Checked):
    """How any network is fitted; a task overrides defaults and adds parameters of its own."""

    epochs: int = parameter(30, "epochs", low=1, high=100_000)
    optimizer: str = parameter("adamw", "optimizer; sgd has a momentum of 0.9", choices=OPTIMIZERS)
    learning_rate: float = parameter(5e-4, "largest learning rate", low=1e-7, high=1.0)
    weight_decay: float = parameter(0.05, "weight decay, decoupled from the gradient by adamw", low=0.0, high=1.0)
    warm_up: float = parameter(0.1, "share of the steps in which the learning rate rises", low=0.0, high=0.9)
    gradient_clip: float = parameter(1.0, "largest norm of the gradient", low=1e-3, high=1e6)
    held_out: float = parameter(0.1, "share of images held out for validation", low=0.0, high=0.5)
    held_out_segments: int = parameter(5, "fewest segments of the trajectory that they form", low=1, high=1000)
    held_out_length: int = parameter(6, "most images in one segment", low=1, high=1000)
    scored_every: int = parameter(1, "epochs between validations; the last epoch has one", low=1, high=100_000)
    monitored: str = parameter("score", "validation score that kept=best and patience go by; larger is better")
    kept: str = parameter(BEST, "epoch whose weights become the model", choices=(BEST, LAST))
    patience: int = parameter(
        0, "validations without a better score after which training stops; 0 for never", low=0, high=100_000
    )
    precision: str = parameter("32", "of the arithmetic", choices=("32", "bf16-mixed", "16-mixed"))
    accelerator: str = parameter("auto", "cpu, gpu or the best that is available", choices=("auto", "cpu", "gpu"))
    devices: int = parameter(1, "devices on each node; started by Lightning, torchrun or Slurm", low=1, high=64)
    nodes: int = parameter(1, "machines", low=1, high=4096)
    workers: int = parameter(0, "processes that load batches; 0 for the training process itself", low=0, high=64)
    seed: int = parameter(0, "random seed", low=0, high=2**31)


class TrainingConfig(Protocol):
    """All parameters of a model and its training, a dataclass."""

    @property
    def fit(self) -> FitConfig:
        """How the network is fitted."""
        ...


def override_parameters(preset: T, assignments: Sequence[str]) -> T:
    """A configuration with some parameters overridden.

    Raises:
        ConfigError: an assignment has another form, or names an unknown parameter or an invalid value.
    """
    values: dict[str, Any] = asdict(preset)  # type: ignore[call-overload]
    for assignment in assignments:
        name, found, text = assignment.partition("=")
        if not found:
            raise ConfigError(f"{assignment!r} is no assignment, expected NAME=VALUE such as fit.epochs=20")
        _refuse_former(name)
        *groups, leaf = name.split(".")
        group: Any = values
        for part in groups:
            group = group.get(part) if isinstance(group, Mapping) else None
        if not isinstance(group, dict):
            names = (leaf.name for leaf in parameters_of(preset))
            raise ConfigError(explain_unknown_parameter(name, names, listed_by=""))
        group[leaf] = _parse_value(text)
    return config_from_mapping(type(preset), values)


def _refuse_former(name: str) -> None:
    """Raise ConfigError for a former name, with the present one or the reason for its removal."""
    group = name.partition(".")[0]
    if group in REMOVED_GROUPS:
        raise ConfigError(f"parameter {name} was removed, leave it out: {REMOVED_GROUPS[group]}")
    for former in (name, group):
        if now := RENAMED_PARAMETERS.get(former):
            raise ConfigError(f"parameter {name} is now {now}{name.removeprefix(former)}")


def _parse_value(text: str) -> Any:
    """A value in YAML; 1e-4 is a number too."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
