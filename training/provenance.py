"""How a model came about, as far as the code can tell, and how far a training has come."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def revision() -> str | None:
    """The commit of the training code, None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() or None


def bar(items: Iterable[T], *, description: str, total: int | None = None) -> Iterable[T]:
    """Show on the terminal how far a loop has come."""
    shown: Iterable[T] = tqdm(items, desc=description, total=total)
    return shown
