"""Configurations of trainings: a preset, and some parameters given as `fit.epochs=20`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import yaml

from vloc_ros.core.config import config_from_mapping
from vloc_ros.core.errors import ConfigError

T = TypeVar("T")


def adjusted(preset: T, assignments: Sequence[str]) -> T:
    """A configuration with some parameters changed.

    Raises:
        ConfigError: an assignment has no such form, or names what is no parameter or no value of it.
    """
    values: dict[str, Any] = asdict(preset)  # type: ignore[call-overload]
    for assignment in assignments:
        name, found, text = assignment.partition("=")
        if not found:
            raise ConfigError(f"{assignment!r} sets nothing, expected NAME=VALUE such as fit.epochs=20")
        *groups, leaf = name.split(".")
        group: Any = values
        for part in groups:
            group = group.get(part) if isinstance(group, Mapping) else None
        if not isinstance(group, dict):
            raise ConfigError(f"unknown parameter {name}, expected GROUP.NAME, with a group of {', '.join(values)}")
        group[leaf] = _value(text)
    return config_from_mapping(type(preset), values)


def _value(text: str) -> Any:
    """As YAML has it, but 1e-4 is a number."""
    value = yaml.safe_load(text)
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
