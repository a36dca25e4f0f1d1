"""Configurations of trainings: a preset with some parameters overridden, such as `fit.epochs=20`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import yaml

from vloc_ros.core.config import config_from_mapping, parameters_of
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
            raise ConfigError(explain_unknown_parameter(name, (leaf.name for leaf in parameters_of(preset))))
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
