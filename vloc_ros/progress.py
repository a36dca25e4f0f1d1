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
    """A line every ten seconds, with the time left; none of what takes less."""
    start = last = time.monotonic()
    for count, item in enumerate(items):
        if time.monotonic() - last >= _EVERY_S:
            last = time.monotonic()
            of = "" if total is None else f" of {total}, {format_time_left(last - start, count, total)}"
            print(f"{description}: {count}{of}", file=sys.stderr, flush=True)
        yield item


def format_time_left(elapsed_s: float, done: int, total: int) -> str:
    """How long the rest of so many takes at the pace so far."""
    left_s = elapsed_s / max(done, 1) * (total - done)
    if left_s < 90:
        return f"about {left_s:.0f} s left"
    return f"about {left_s / 60:.0f} min left" if left_s < 90 * 60 else f"about {left_s / 3600:.1f} h left"
