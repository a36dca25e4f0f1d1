"""A bar that shows how far a long command has come."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

T = TypeVar("T")


def bar(items: Iterable[T], *, description: str, total: int | None = None) -> Iterable[T]:
    """The same items, shown as they are taken; a `vloc_ros.mapping.images.Progress`."""
    from tqdm import tqdm

    shown: Iterable[T] = tqdm(items, desc=f"{description:>22}", total=total)
    return shown
