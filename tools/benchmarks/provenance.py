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

"""Figures on disk: what was measured, at which revision, when, and whether the machine was quiet."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vloc_ros.storage.atomic import write_bytes_atomically

ROOT = Path(__file__).resolve().parent.parent.parent
# part of the repository, so that pages can be filled on any machine
FIGURES = ROOT / "docs" / "benchmark"
# what figures depend on, beside the machine
_CODE = ("vloc_ros", "vloc_msgs", "training", "tools", "config")
# a machine is quiet below these: load of one minute before, shares of the time of all cores
_LOAD, _STEAL, _OTHER = 0.5, 0.02, 0.05

Figures = dict[str, Any]


def revision() -> str | None:
    """The last commit that changed what figures depend on, with `-dirty` where it is changed since.

    Commits of pages and figures alone make no other revision. None outside a checkout.
    """
    try:
        commit, changes = (
            subprocess.run(
                ["git", "-C", str(ROOT), *words, "--", *_CODE], capture_output=True, text=True, check=True
            ).stdout.strip()
            for words in (("log", "-1", "--abbrev=10", "--format=%h"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes else commit or None


@dataclass(frozen=True, slots=True)
class Measured:
    """When and how figures were measured. None is not recorded.

    Attributes:
        revision: commit, with `-dirty` where its code was changed.
        date: day, in UTC.
        machine: kind of processor, version of Python.
        seconds: what the section took.
        load_before: load average of one minute before the run.
        steal: share of the time of all cores that the hypervisor gave to others.
        other_work: share of the time of all cores that processes outside the run took.
        note: where the figures come from, if not from the section itself.
    """

    revision: str | None
    date: str
    machine: str | None = None
    seconds: float | None = None
    load_before: float | None = None
    steal: float | None = None
    other_work: float | None = None
    note: str | None = None

    @property
    def quiet(self) -> bool | None:
        """Whether next to nothing else ran on the machine; None where that was not recorded."""
        if self.load_before is None or self.steal is None or self.other_work is None:
            return None
        return self.load_before < _LOAD and self.steal < _STEAL and self.other_work < _OTHER


class Watch:
    """Measures what runs between its construction and `stop`."""

    def __init__(self, *, load_before: float | None = None) -> None:
        self._load = os.getloadavg()[0] if load_before is None else load_before
        self._revision, self._start, self._cpu = revision(), time.monotonic(), _cpu_times()

    @property
    def load_before(self) -> float:
        """Load average of one minute before; of a run of many sections, before the first."""
        return self._load

    def stop(self) -> Measured:
        """What was measured since."""
        before, after = self._cpu, _cpu_times()
        steal = other = None
        if before and after and after[0] > before[0]:
            total, stolen, busy, own = (late - early for early, late in zip(before, after, strict=True))
            steal, other = round(stolen / total, 3), round(max(busy - own, 0.0) / total, 3)
        return Measured(
            revision=self._revision,
            date=datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
            machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            seconds=round(time.monotonic() - self._start, 1),
            load_before=round(self._load, 2),
            steal=steal,
            other_work=other,
        )


def _cpu_times() -> tuple[float, float, float, float] | None:
    """Seconds of all cores: in total, stolen, busy, busy for this process and its ended ones; None without /proc."""
    try:
        user, nice, system, idle, wait, irq, soft_irq, steal = map(
            float, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
        )
    except OSError:
        return None
    busy, ticks = user + nice + system + irq + soft_irq, os.sysconf("SC_CLK_TCK")
    return (busy + idle + wait + steal) / ticks, steal / ticks, busy / ticks, sum(os.times()[:4])


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the benchmark: its figures, and how they were measured."""

    figures: Figures
    measured: Measured

    @staticmethod
    def read(path: Path) -> Section:
        """The section of a file."""
        figures = json.loads(path.read_text())
        return Section(figures, Measured(**figures.pop("measured")))


def read_sections(folder: Path | None = None) -> dict[str, Section]:
    """All sections of a folder by name, of the repository by default."""
    return {path.stem: Section.read(path) for path in sorted((folder or FIGURES).glob("*.json"))}


def keep_figures(section: str, figures: Mapping[str, Any], measured: Measured) -> Path:
    """Write the figures of a section, and how they were measured; returns the file."""
    FIGURES.mkdir(parents=True, exist_ok=True)
    path = FIGURES / f"{section}.json"
    known = {name: value for name, value in asdict(measured).items() if value is not None or name == "revision"}
    write_bytes_atomically(path, (json.dumps({"measured": known, **figures}, indent=1) + "\n").encode())
    return path


def make_once(folders: tuple[Path, ...], *, of: Mapping[str, Any], make: Callable[[], object]) -> None:
    """Make folders together, unless they were made of the same before.

    A note beside the first folder says what they were made of. It is written last: the folders of an interrupted run
    are made again.
    """
    note, text = folders[0].with_name(f"{folders[0].name}.made_of.json"), json.dumps(of, indent=1)
    if note.is_file() and note.read_text() == text and all(folder.is_dir() for folder in folders):
        return
    note.unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    make()
    note.write_text(text)


@dataclass(frozen=True, slots=True)
class Rows:
    """Measured rows of a section that takes hours, kept from run to run, each with its revision.

    A row is measured where there is none, or where its settings are others. Changed code alone does not measure it
    again: forget it, as `make bench FORCE=1` does.
    """

    path: Path
    kept: dict[str, dict[str, Any]]

    @staticmethod
    def of(section: str) -> Rows:
        """The rows of earlier runs of a section, interrupted ones included."""
        path = FIGURES / "rows" / f"{section}.json"
        return Rows(path, json.loads(path.read_text()) if path.is_file() else {})

    @staticmethod
    def forget(section: str) -> None:
        """Measure all rows of a section again."""
        Rows.of(section).path.unlink(missing_ok=True)

    @property
    def revisions(self) -> list[str | None]:
        """The revisions of the rows, without repetition; None for rows whose revision was not recorded."""
        return sorted({row["revision"] for row in self.kept.values()}, key=lambda one: one or "")

    def once(self, name: str, *, of: str, measure: Callable[[], Mapping[str, Any]]) -> dict[str, Any]:
        """The row of this name and these settings."""
        if self.kept.get(name, {}).get("of") != of:
            at = revision()
            self.kept[name] = {"of": of, "revision": at, "found": dict(measure())}
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes_atomically(self.path, (json.dumps(self.kept, indent=1) + "\n").encode())
        else:
            print(f"   kept: {name}, measured at {self.kept[name]['revision'] or 'an unknown revision'}", flush=True)
        found: dict[str, Any] = self.kept[name]["found"]
        return found
