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

"""Cross-view retrieval on simulated towns: drone images in aerial tiles, trained and tested on different towns."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import training
from benchmarks.descriptor_models import require_torch
from benchmarks.place_recognition import export_model
from benchmarks.provenance import Rows, make_once

from training.cross_view.config import HierarchyConfig, read_config

TRAIN_TOWNS, TEST_TOWNS, PRESET = 12, 4, "small"
TRAINED = "trained, preset small"
UNTRAINED = {"GeM, EfficientNet-Lite0 of ImageNet": "gem-efficientnet-lite0", "VLAD-SIFT": "vlad-sift"}
GALLERY = "satellite"
# the view of the queries by what is known of them
KNOWN = {"": "drone", ", gravity and altitude known": "level"}
# of a compass, so that one heading does
COMPASS, _HEADING_STD_DEG = ", gravity, altitude and heading known", 5.0
# at which each query is described; SIFT's descriptors do not depend on the heading
HEADINGS = {"VLAD-SIFT": 1}
_MOST_HEADINGS = 8


def cross_view(out: Path) -> dict[str, Any]:
    """A row for each index, the hierarchy beside voting, and the leak of joint attention; resumable row by row."""
    require_torch()
    rows, found = Rows.of("cross_view"), dict[str, Any]()
    folder = out / "cross_view"
    data, model = _export(folder), folder / "model"
    cost = _train(folder, data, model)
    indices: dict[str, str | Path] = {TRAINED: model}
    indices |= {title: export_model(out, name) for title, name in UNTRAINED.items()}
    for title, index in indices.items():
        headings = HEADINGS.get(title, _MOST_HEADINGS)
        for known, view in KNOWN.items():
            found[title + known] = rows.once(
                title + known,
                of=describe_row(title, index, view=view, headings=headings),
                measure=partial(_evaluate, folder, data, index, view, headings),
            )
        if headings > 1:
            found[title + COMPASS] = rows.once(
                title + COMPASS,
                of=describe_row(title, index, view="level", heading_std_deg=_HEADING_STD_DEG),
                measure=partial(_evaluate, folder, data, index, "level", 1, heading_std_deg=_HEADING_STD_DEG),
            )
    found[TRAINED]["train_cpu_s"] = cost
    figures: dict[str, Any] = {"rows": found}
    figures["hierarchy"] = rows.once(
        "hierarchy",
        of=describe_row("hierarchy", model, **asdict(read_config("hierarchy", HierarchyConfig))),
        measure=lambda: _fit_hierarchy(folder, data, model),
    )
    figures["leak"] = rows.once("leak", of=describe_row("leak", model), measure=lambda: _show_leak(folder, data, model))
    return {**figures, "row_revisions": rows.revisions}


def describe_row(what: str, index: str | Path, **config: object) -> str:
    """What a row was measured of: towns, the model by its hash, and the configuration."""
    model = json.loads((index / "manifest.json").read_text())["hash"] if isinstance(index, Path) else index
    of = {"row": what, "towns": [TRAIN_TOWNS, TEST_TOWNS], "preset": PRESET, "model": model, **config}
    return json.dumps(of, sort_keys=True)


def _export(folder: Path) -> Path:
    towns = folder / "towns"
    make_once(
        (towns,),
        of={"train": TRAIN_TOWNS, "test": TEST_TOWNS},
        make=lambda: training(
            "cross_view.simulate", "--out", towns, "--train", str(TRAIN_TOWNS), "--test", str(TEST_TOWNS)
        ),
    )
    return towns


def _train(folder: Path, data: Path, model: Path) -> float | None:
    """Train unless there is a model; CPU seconds of the training, None where another run made it."""
    note = folder / "train_cpu_s.json"

    def make() -> None:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        training("cross_view.train", data, "--preset", PRESET, "--out", model)
        note.write_text(json.dumps(round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before, 1)))

    make_once((model, model.with_name("model.run")), of={"preset": PRESET}, make=make)
    return json.loads(note.read_text()) if note.is_file() else None


def _evaluate(
    folder: Path, data: Path, index: str | Path, view: str, headings: int, *, heading_std_deg: float | None = None
) -> dict[str, Any]:
    scores = folder / "scores"
    options = ("--views", view, GALLERY, "--headings", str(headings))
    options += () if heading_std_deg is None else ("--heading-std", str(heading_std_deg))
    training("cross_view.evaluate", data, "--index", index, *options, "--out", scores)
    found: dict[str, Any] = json.loads((scores / "metrics.json").read_text())["indices"][0]
    del found["index"]
    return {
        {f"{view}->{GALLERY}": "there", f"{GALLERY}->{view}": "back"}.get(name, name): of for name, of in found.items()
    }


def _fit_hierarchy(folder: Path, data: Path, model: Path) -> dict[str, Any]:
    out = folder / "hierarchy"
    training("cross_view.train_hierarchy", data, "--index", model, "--out", out)
    found: dict[str, Any] = json.loads((out / "metrics.json").read_text())
    return {name: found[name] for name in ("queries", "classes", "chance", "voting", "hierarchy")}


def _show_leak(folder: Path, data: Path, model: Path) -> dict[str, Any]:
    path = folder / "leak.json"
    training("cross_view.leak", data, "--model", model.with_name("model.run"), "--json", path)
    found: dict[str, Any] = json.loads(path.read_text())
    return found
