"""Provenance of a model: configuration, sources, revision of the code."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol


class _Seed(Protocol):
    @property
    def seed(self) -> int: ...


class Seeded(Protocol):
    """A configuration of a training."""

    @property
    def fit(self) -> _Seed: ...  # noqa: D102


def read_revision() -> str | None:
    """The commit of the training code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def training_metadata(config: Seeded, held_out: Mapping[str, float], sources: Mapping[str, Any]) -> dict[str, Any]:
    """The `training` entry of a model's manifest.

    Args:
        config: all parameters.
        held_out: scores on the held-out images.
        sources: hashes of the inputs, by name.
    """
    return {
        "config": asdict(config),  # type: ignore[call-overload]
        # a score without samples is NaN, which JSON does not have
        "metrics": {"held_out": {name: None if value != value else value for name, value in held_out.items()}},
        **sources,
        "git": read_revision(),
        "seed": config.fit.seed,
    }
