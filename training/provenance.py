"""How a model came about, as far as the code can tell."""

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


def revision() -> str | None:
    """The commit of the training code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def training_metadata(config: Seeded, held_out: Mapping[str, float], sources: Mapping[str, Any]) -> dict[str, Any]:
    """What a model's manifest says of its training.

    Args:
        config: everything that was set.
        held_out: scores of the images that were kept back.
        sources: what it was trained from.
    """
    return {
        "config": asdict(config),  # type: ignore[call-overload]
        # where nothing was counted there is no share, and JSON has no NaN
        "metrics": {"held_out": {name: None if value != value else value for name, value in held_out.items()}},
        **sources,
        "git": revision(),
        "seed": config.fit.seed,
    }
