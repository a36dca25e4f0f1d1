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

"""Images and scans in one descriptor space, on simulated streets: a row is a training and its test, or the baselines.

Rows are kept one by one: an interrupted run goes on with the next. With CROSS_MODAL_ROWS=N in the environment a run
ends after N new rows, and its figures are of all rows so far.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import training
from benchmarks.descriptor_models import require_torch
from benchmarks.provenance import Rows, make_once

# towns of train, val and test; each has about 175 places every 5 m, no town is in two
TOWNS = {"train": 4, "val": 1, "test": 3}
DRIVES = {
    "train": ("day", "other_day", "night"),
    "val": ("day", "other_day"),
    "test": ("day", "other_day", "night", "reverse"),
}
SEEDS = (0, 1, 2)
# of all rows, unless they say otherwise: minutes on two cores; the last weights are kept, so that no row is selected
BASE: Mapping[str, str] = {"fit.epochs": "12", "fit.scored_every": "12", "fit.kept": "last"}
BASELINES, RANGE = "not trained", "range, small"
_TRAININGS = ((RANGE, (), SEEDS), (f"{RANGE}, random weights", ("--weights", "none"), SEEDS[:1]))
_LIMIT = "CROSS_MODAL_ROWS"


def cross_modal(out: Path) -> dict[str, Any]:
    """A row for each training and seed, and one for the baselines; those that are not there yet are named."""
    require_torch()
    rows, figures, missing = Rows.of("cross_modal"), dict[str, Any](), list[str]()
    limit = int(os.environ.get(_LIMIT, "1000"))
    for name, of, measure in _list_rows(out):
        is_new = rows.kept.get(name, {}).get("of") != of
        if is_new and limit <= 0:
            missing.append(name)
            continue
        limit -= is_new
        figures[name] = rows.once(name, of=of, measure=measure)
    return {"rows": figures, "not_run": missing, "row_revisions": rows.revisions}


def _list_rows(out: Path) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Name, settings and measurement of each row, in their order."""
    for title, options, seeds in _TRAININGS:
        for seed in seeds:
            words = (*options, *_settings(seed))
            of = json.dumps([words, TOWNS, DRIVES])
            yield f"{title}, seed {seed}", of, partial(_measure, out, f"{title}-{seed}", words)
        if title == RANGE:
            yield BASELINES, json.dumps([TOWNS, DRIVES]), partial(_measure_baselines, out)


def _settings(seed: int) -> tuple[str, ...]:
    return tuple(
        word for name, value in {**BASE, "fit.seed": str(seed)}.items() for word in ("--set", f"{name}={value}")
    )


def _measure(out: Path, title: str, words: tuple[str, ...]) -> dict[str, Any]:
    """Train, then test on each drive of the towns of test."""
    folder = out / "models" / "".join(c if c.isalnum() else "-" for c in title)
    for left in (folder, folder.with_name(f"{folder.name}.run")):
        shutil.rmtree(left, ignore_errors=True)
    given = [word for split in ("train", "val") for word in _worlds(out, split, f"--{split}", DRIVES[split])]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    training("cross_modal.train", *given, *words, "--out", folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {drive: _test(out, drive, folder) for drive in DRIVES["test"][1:]}
    return {"train_cpu_s": round(after.ru_utime - before.ru_utime, 1), "tests": found}


def _measure_baselines(out: Path) -> dict[str, Any]:
    return {"tests": {drive: _test(out, drive, "--baselines") for drive in DRIVES["test"][1:]}}


def _test(out: Path, drive: str, *words: str | Path) -> dict[str, Any]:
    """The scores of a drive's images and scans against those of the first drives."""
    path = out / "cross-modal-scores.json"
    path.unlink(missing_ok=True)
    worlds = _worlds(out, "test", "--world", (DRIVES["test"][0], drive))
    # options that take several values come last
    training("cross_modal.evaluate", *words, *worlds, "--out", path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def _worlds(out: Path, split: str, option: str, drives: tuple[str, ...]) -> list[str | Path]:
    """An option for each town of a split, with the sequences of some of its drives."""
    folder = out / "cross_modal" / split
    words = ("--split", split, "--kind", "town", "--worlds", str(TOWNS[split]))
    given = (*words, *(word for drive in DRIVES[split] for word in ("--drive", drive)))
    make_once((folder,), of={"words": given}, make=lambda: training("cross_modal.streets", *given, "--out", folder))
    found = list[str | Path]()
    for town in range(TOWNS[split]):
        found += [option, *(folder / "sequences" / f"{split}{town}-{drive}" for drive in drives)]
    return found
