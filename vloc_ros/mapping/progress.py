"""How map building tells how far it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")


class Progress(Protocol):
    """Shows the stages of a build."""

    def track(self, items: Iterable[T], *, stage: str, total: int) -> Iterator[T]:
        """The items, counted as they pass."""
        ...


class Silent:
    """Shows nothing."""

    def track(self, items: Iterable[T], *, stage: str, total: int) -> Iterator[T]:
        """The items."""
        yield from items
