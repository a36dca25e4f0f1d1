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

"""How far a long command has come and what time is left: a bar on a terminal, a line every ten seconds in a log.

A log is what standard error is redirected to: `vloc map build ... 2> build.log`. The environment variable
VLOC_PROGRESS_PERIOD_S sets another time than ten seconds, for programs that show the lines themselves.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TypeVar

T = TypeVar("T")

EVERY_S = 10.0
_PERIOD_VARIABLE = "VLOC_PROGRESS_PERIOD_S"


def bar(items: Iterable[T], *, description: str, total: int | None = None) -> Iterable[T]:
    """The same items, shown as they are taken; a `vloc_ros.core.sources.Progress`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    if not sys.stderr.isatty():
        return _logged(items, description, total)
    from tqdm import tqdm

    shown: Iterable[T] = tqdm(items, desc=f"{description:>22}", total=total)
    return shown


def format_duration(seconds: float) -> str:
    """Seconds below two minutes, minutes below two hours, else hours and minutes."""
    minutes = round(seconds / 60)
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def format_time_left(elapsed_s: float, done: int, total: int) -> str:
    """What the rest takes if it is as fast as what is done."""
    return f"about {format_duration(elapsed_s / max(done, 1) * (total - done))} left"


def _logged(items: Iterable[T], description: str, total: int | None) -> Iterator[T]:
    """A line every ten seconds and one at the end; none of what takes less."""
    start = last = time.monotonic()
    period_s = float(os.environ.get(_PERIOD_VARIABLE, EVERY_S))
    count, of = 0, "" if total is None else f" of {total}"
    for item in items:
        now = time.monotonic()
        if count and now - last >= period_s:
            last = now
            left = "" if total is None else f", {format_time_left(now - start, count, total)}"
            print(f"{description}: {count}{of}{left}", file=sys.stderr, flush=True)
        yield item
        count += 1
    if last > start:
        print(f"{description}: {count}{of} in {format_duration(time.monotonic() - start)}", file=sys.stderr, flush=True)
