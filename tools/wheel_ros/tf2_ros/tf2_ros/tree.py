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

"""The tree of frames over the last seconds, and the chain of transforms between two frames."""

from __future__ import annotations

import bisect
from typing import NamedTuple

from tf2_ros.errors import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.rigid import Rigid, interpolate

_LOOP = "The tf tree is invalid because it contains a loop."


class _Sample(NamedTuple):
    """The pose of a frame at one time; the stamp comes first, so that samples sort by it."""

    stamp_ns: int
    parent: str
    parent_from_child: Rigid


class _History:
    """The samples of one moving frame, oldest first.

    As in tf2, an insertion first drops what was older than the newest sample minus the cache time until then.
    """

    def __init__(self, cache_ns: int) -> None:
        self._cache_ns = cache_ns
        self._samples: list[_Sample] = []

    def insert(self, sample: _Sample) -> None:
        if self._samples:
            oldest_ns = self._samples[-1].stamp_ns - self._cache_ns
            del self._samples[: bisect.bisect_left(self._samples, oldest_ns, key=lambda s: s.stamp_ns)]
            if sample.stamp_ns < oldest_ns:
                return
        position = bisect.bisect_left(self._samples, sample.stamp_ns, key=lambda s: s.stamp_ns)
        repeated = position < len(self._samples) and self._samples[position].stamp_ns == sample.stamp_ns
        self._samples[position : position + repeated] = [sample]

    def clear(self) -> None:
        self._samples.clear()

    def latest(self) -> _Sample | None:
        return self._samples[-1] if self._samples else None

    def oldest(self) -> _Sample | None:
        return self._samples[0] if self._samples else None

    def at(self, stamp_ns: int) -> _Sample:
        samples = self._samples
        position = bisect.bisect_left(samples, stamp_ns, key=lambda s: s.stamp_ns)
        if position < len(samples) and samples[position].stamp_ns == stamp_ns:
            return samples[position]
        if len(samples) < 2:
            raise ExtrapolationException(
                f"Lookup would require extrapolation at time {_seconds(stamp_ns)}, but "
                + (f"only time {_seconds(samples[0].stamp_ns)} is in the buffer" if samples else "the buffer is empty")
            )
        if position in (0, len(samples)):
            end, word, bound = (samples[0], "past", "earliest") if position == 0 else (samples[-1], "future", "latest")
            raise ExtrapolationException(
                f"Lookup would require extrapolation into the {word}.  Requested time {_seconds(stamp_ns)} "
                f"but the {bound} data is at time {_seconds(end.stamp_ns)}"
            )
        older, newer = samples[position - 1], samples[position]
        if older.parent != newer.parent:
            return older
        ratio = (stamp_ns - older.stamp_ns) / (newer.stamp_ns - older.stamp_ns)
        return _Sample(stamp_ns, older.parent, interpolate(older.parent_from_child, newer.parent_from_child, ratio))


class _Fixed:
    """A frame that never moves within its parent: its sample is valid at every time, and its stamp is ignored."""

    def __init__(self) -> None:
        self._sample: _Sample | None = None

    def insert(self, sample: _Sample) -> None:
        self._sample = sample._replace(stamp_ns=0)

    def clear(self) -> None:
        """Keep the sample: a jump in time does not move what is fixed."""

    def latest(self) -> _Sample | None:
        return self._sample

    oldest = latest

    def at(self, stamp_ns: int) -> _Sample:
        assert self._sample is not None
        return self._sample._replace(stamp_ns=stamp_ns)


class TransformTree:
    """All known frames. Times are nanoseconds; 0 is the latest time at which a whole chain is known."""

    def __init__(self, *, cache_ns: int) -> None:
        self._cache_ns = cache_ns
        self._frames: dict[str, _History | _Fixed] = {}
        self._known: set[str] = set()

    def insert(self, *, child: str, parent: str, stamp_ns: int, parent_from_child: Rigid, static: bool) -> None:
        """Add one transform, unless it is older than the cache time. The last one decides if the frame is static."""
        frame = self._frames.get(child)
        if not isinstance(frame, _Fixed if static else _History):
            frame = self._frames[child] = _Fixed() if static else _History(self._cache_ns)
        self._known.update((child, parent))
        frame.insert(_Sample(stamp_ns, parent, parent_from_child))

    def clear(self) -> None:
        """Drop the samples of moving frames; keep their names and the static frames."""
        for frame in self._frames.values():
            frame.clear()

    def describe(self) -> list[tuple[str, str, float, float]]:
        """Return each frame that has a transform: its name, its parent, and the oldest and newest time in seconds."""
        described = []
        for child, frame in self._frames.items():
            oldest, newest = frame.oldest(), frame.latest()
            if oldest is not None and newest is not None:
                described.append((child, newest.parent, oldest.stamp_ns * 1e-9, newest.stamp_ns * 1e-9))
        return described

    def lookup(self, target: str, source: str, stamp_ns: int) -> tuple[int, Rigid]:
        """Return the time that was looked up and target_from_source; raise a TransformException where there is none."""
        if target == source:
            latest = self._frames[target].latest() if target in self._frames else None
            return stamp_ns or (latest.stamp_ns if latest else 0), Rigid()
        self._check(target, "target_frame")
        self._check(source, "source_frame")
        stamp_ns = stamp_ns or self._latest_common_ns(target, source)
        from_source, source_error = self._ancestors(source, stamp_ns)
        from_target, target_error = self._ancestors(target, stamp_ns)
        shared = next((frame for frame in from_target if frame in from_source), None)
        if shared is not None:
            return stamp_ns, from_source[shared].then(from_target[shared].inverse())
        error = target_error or source_error
        if error is None:
            raise _unconnected(target, source)
        raise ExtrapolationException(f"{error}, when looking up transform from frame [{source}] to frame [{target}]")

    def _check(self, frame: str, argument: str) -> None:
        if not frame or frame.startswith("/"):
            fault = "start with a '/'" if frame else "be empty"
            raise InvalidArgumentException(
                f'Invalid argument "{frame}" passed to lookupTransform argument {argument} - '
                f"in tf2 frame_ids cannot {fault}"
            )
        if frame not in self._known:
            raise LookupException(f'"{frame}" passed to lookupTransform argument {argument} does not exist. ')

    def _ancestors(self, start: str, stamp_ns: int) -> tuple[dict[str, Rigid], TransformException | None]:
        """Return ancestor_from_start for the frame and all above it, and the error that ended the chain, if any."""
        reached = {start: Rigid()}
        frame = start
        while frame in self._frames:
            try:
                sample = self._frames[frame].at(stamp_ns)
            except ExtrapolationException as error:
                return reached, error
            if sample.parent in reached:
                raise LookupException(_LOOP)
            reached[sample.parent] = reached[frame].then(sample.parent_from_child)
            frame = sample.parent
        return reached, None

    def _latest_common_ns(self, target: str, source: str) -> int:
        """Return the earliest of the newest stamps along the chain; 0 where everything on it is static."""
        above_source, above_target = self._newest_stamps(source), self._newest_stamps(target)
        shared = next((frame for frame in above_target if frame in above_source), None)
        if shared is None:
            raise _unconnected(target, source)
        stamps = [*above_source[shared], *above_target[shared]]
        return min((stamp for stamp in stamps if stamp), default=0)

    def _newest_stamps(self, start: str) -> dict[str, list[int]]:
        """Return for the frame and each one above it the newest stamps of the transforms up to it."""
        reached: dict[str, list[int]] = {start: []}
        frame = start
        while frame in self._frames and (latest := self._frames[frame].latest()) is not None:
            if latest.parent in reached:
                raise LookupException(_LOOP)
            reached[latest.parent] = [*reached[frame], latest.stamp_ns]
            frame = latest.parent
        return reached


def _unconnected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(
        f"Could not find a connection between '{target}' and '{source}' because they are not part of the same tree. "
        "Tf has two or more unconnected trees."
    )


def _seconds(stamp_ns: int) -> str:
    return f"{stamp_ns // 1_000_000_000}.{stamp_ns % 1_000_000_000:09d}"
