"""How far a long command has come: a bar on a terminal, a line every ten seconds where standard error is a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

_EVERY_S = 10.0


def bar(items: Iterable[T], *, description: str, total: int | None = None) -> Iterable[T]:
    """The same items, shown as they are taken; a `vloc_ros.core.sources.Progress`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not sys.stderr.isatty():
        return _logged(items, description, total)
    from tqdm import tqdm

    shown: Iterable[T] = tqdm(items, desc=f"{description:>22}", total=total)
    return shown


def _logged(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """A line every ten seconds; none of what takes less."""
    of = "" if total is None else f" of {total}"
    last = time.monotonic()
    for count, item in enumerate(items):
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            print(f"{description}: {count}{of}", file=sys.stderr, flush=True)
        yield item
