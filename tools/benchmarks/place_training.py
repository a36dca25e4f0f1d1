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

"""Trainings of place recognition on simulated streets, one factor at a time: a row is a training and its test.

Rows come in the order of what they say most, and are kept one by one: an interrupted run goes on with the next. With
PLACE_ROWS=N in the environment a run ends after N new rows, and its figures are of all rows so far.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.command import training
from benchmarks.descriptor_models import require_torch
from benchmarks.place_recognition import export_model, export_worlds, name_queries, test_index
from benchmarks.provenance import Rows

# streets of train, val and test, and the seed of the first; about 27 places each, no street is in two
TRAIN, VAL, TEST, SEED, RADIUS_M = 20, 4, 10, 2000, 25.0
_STREETS = [TRAIN, VAL, TEST, SEED, RADIUS_M]
HEIGHT, WIDTH = 128, 160
SEEDS = (0, 1, 2)
# of all rows, unless they say otherwise: 768 images are seen; the last weights are kept, so that no row is selected
BASE: Mapping[str, str] = {
    "fit.epochs": "2",
    "fit.scored_every": "2",
    "fit.kept": "last",
    "fit.patience": "0",
    "fit.batches": "16",
    "fit.groups": "8",
    "fit.learning_rate": "3e-4",
    "loss.kind": "multi_similarity",
    "tuples.images_per_place": "3",
    "tuples.max_angle_deg": "60",
    "tuples.negatives": "4",
    "network.frozen": "7",
    "network.clusters": "16",
    "network.height": str(HEIGHT),
    "network.width": str(WIDTH),
}
BASIC = "EfficientNet-Lite0, GeM, night augmentation"
# tested as they are, at their own size
UNTRAINED = {"ImageNet's GeM, not trained": "gem-efficientnet-lite0", "VLAD-SIFT": "vlad-sift", "VLAD-XFeat": "xfeat"}
_BEFORE_UNTRAINED = 4
SCALED = "the first row, scales 0.71, 1, 1.41"
_TUPLES = {"loss.kind": "triplet", "fit.groups": "4"}
LIGHTS = ("day", "night")
_SCALES = "0.71,1,1.41"
_LIMIT = "PLACE_ROWS"


@dataclass(frozen=True, slots=True)
class Training:
    """A row.

    Attributes:
        title: what is different.
        settings: parameters that differ from `BASE`.
        options: of the command.
        seeds: of how many trainings.
        teachers: titles of rows, or models of `vloc model export`, that it is distilled from.
        any_size: whether it is exported for images of any size.
    """

    title: str
    settings: Mapping[str, str]
    options: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS[:1]
    teachers: tuple[str, ...] = ()
    any_size: bool = True

    def words(self, seed: int) -> list[str]:
        """Options of the command, without the data set and the teachers."""
        settings = {**BASE, **self.settings, "fit.seed": str(seed)}
        given = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
        return [*given, *self.options, *(("--any-size",) if self.any_size else ())]


_SEEDED = (
    Training(BASIC, {}, seeds=SEEDS),
    Training("without night augmentation", {"augmentation.night": "0", "augmentation.dusk": "0"}, seeds=SEEDS),
    Training(
        "night augmentation of half of the images",
        {"augmentation.night": "0.4", "augmentation.dusk": "0.1"},
        seeds=SEEDS,
    ),
    Training("random weights", {}, ("--weights", "none"), seeds=SEEDS),
    Training("NetVLAD", {"network.aggregation": "netvlad"}, seeds=SEEDS),
    Training("MixVPR", {"network.aggregation": "mixvpr"}, seeds=SEEDS, any_size=False),
    Training("distilled from the first row and VLAD-XFeat", {}, seeds=SEEDS, teachers=(BASIC, "xfeat")),
)
_FACTORS = (
    Training("256x320", {"network.height": "256", "network.width": "320"}),
    Training("96x128", {"network.height": "96", "network.width": "128"}),
    Training("CrossViT, random weights", {"network.backbone": "crossvit", "network.height": "240",
             "network.width": "240", "fit.batches": "16"}, ("--weights", "none"), any_size=False),
    Training("CrossViT, random weights, distilled from VLAD-XFeat and the first row", {"network.backbone": "crossvit",
             "network.height": "240", "network.width": "240", "fit.batches": "16"}, ("--weights", "none"),
             teachers=(BASIC, "xfeat"), any_size=False),
    Training("triplets, partial mining", _TUPLES | {"tuples.sampled": "300"}),
    Training("triplets, full mining", _TUPLES | {"tuples.mining": "full"}),
    Training("triplets, random mining", _TUPLES | {"tuples.mining": "random"}),
    Training("classification by cell", {"loss.kind": "cosplace", "fit.groups": "6"}),
    Training("Adam", {"fit.optimizer": "adam"}),
    Training("ASGD, learning rate 0.1", {"fit.optimizer": "asgd", "fit.learning_rate": "0.1"}),
    Training("SGD, learning rate 0.01", {"fit.optimizer": "sgd", "fit.learning_rate": "0.01"}),
    Training("learning rate 1e-4", {"fit.learning_rate": "1e-4"}),
    Training("learning rate 1e-3", {"fit.learning_rate": "1e-3"}),
    Training("weight decay 0", {"fit.weight_decay": "0"}),
    Training("weight decay 0.05", {"fit.weight_decay": "0.05"}),
)  # fmt: skip
TRAININGS = {one.title: one for one in (*_SEEDED, *_FACTORS)}


def place_training(out: Path) -> dict[str, Any]:
    """A row for each training and seed; those that are not there yet are named."""
    require_torch()
    rows, figures, missing = Rows.of("place_training"), dict[str, Any](), list[str]()
    limit = int(os.environ.get(_LIMIT, "1000"))
    data = export_worlds(out, "street", SEED, train=TRAIN, val=VAL, test=TEST)
    for name, of, measure in _list_rows(out, data):
        is_new = rows.kept.get(name, {}).get("of") != of
        if is_new and limit <= 0:
            missing.append(name)
            continue
        limit -= is_new
        figures[name] = rows.once(name, of=of, measure=measure)
    return {"rows": figures, "not_run": missing, "row_revisions": rows.revisions}


def _list_rows(out: Path, data: Path) -> Iterator[tuple[str, str, Callable[[], dict[str, Any]]]]:
    """Name, settings and measurement of each row, in their order."""
    trainings = list(_in_order())
    first, others = trainings[:_BEFORE_UNTRAINED], trainings[_BEFORE_UNTRAINED:]
    for one, seed in first:
        yield f"{one.title}, seed {seed}", _describe(one, seed), partial(_measure, out, data, one, seed)
    for title, index in UNTRAINED.items():
        yield title, json.dumps([index, _STREETS]), partial(_measure_untrained, out, data, index)
    for one, seed in others:
        yield f"{one.title}, seed {seed}", _describe(one, seed), partial(_measure, out, data, one, seed)
    of = json.dumps([_describe(TRAININGS[BASIC], SEEDS[0]), _SCALES])
    yield SCALED, of, partial(_measure_scales, out, data)


def _in_order() -> Iterator[tuple[Training, int]]:
    """What has several seeds, seed by seed, and then the other factors."""
    for seed in SEEDS:
        yield from ((one, seed) for one in _SEEDED)
    yield from ((one, SEEDS[0]) for one in _FACTORS)


def _describe(one: Training, seed: int) -> str:
    return json.dumps([one.words(seed), one.teachers, _STREETS])


def _measure(out: Path, data: Path, one: Training, seed: int) -> dict[str, Any]:
    """Train, then test by day and at night."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    model = _train(out, data, one, seed)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    manifest = json.loads((model / "manifest.json").read_text())
    found: dict[str, Any] = {"cost": manifest["cost"], "held_out": manifest["training"]["metrics"]["held_out"]}
    found["train_cpu_s"] = round(after.ru_utime - before.ru_utime, 1)
    for light in LIGHTS:
        found[light] = _test(out, data, one, model, light)
    print("  ", {light: found[light]["scores"]["recall"]["R@1"]["share"] for light in LIGHTS}, flush=True)
    return found


def _test(out: Path, data: Path, one: Training, model: Path, light: str, *options: str) -> dict[str, Any]:
    """The scores of a model in the streets of test."""
    size = {**BASE, **one.settings}
    resized = ("--resize", size["network.height"], size["network.width"]) if one.any_size else ()
    return _test_index(out, data, model, light, *resized, *options)


def _test_index(out: Path, data: Path, index: str | Path, light: str, *options: str) -> dict[str, Any]:
    words = (data, "--index", index, "--radius", RADIUS_M, "--queries", name_queries(light))
    return test_index(out / "place-training.json", *words, *options)


def _measure_untrained(out: Path, data: Path, index: str) -> dict[str, Any]:
    """An index that needs no training."""
    model = export_model(out, index)
    return {light: _test_index(out, data, model, light) for light in LIGHTS}


def _measure_scales(out: Path, data: Path) -> dict[str, Any]:
    """The first row at several scales, without another training."""
    one = TRAININGS[BASIC]
    model = _train(out, data, one, SEEDS[0])
    return {light: _test(out, data, one, model, light, "--scales", _SCALES) for light in LIGHTS}


def _train(out: Path, data: Path, one: Training, seed: int) -> Path:
    """The folder of a model, trained unless it is there."""
    folder = out / "models" / f"{_slug(one.title)}-{seed}"
    note, of = folder.with_name(f"{folder.name}.trained.json"), _describe(one, seed)
    if note.is_file() and note.read_text() == of:
        return folder
    for left in (folder, folder.with_name(f"{folder.name}.run")):
        shutil.rmtree(left, ignore_errors=True)
    teachers = [
        _train(out, data, TRAININGS[name], seed) if name in TRAININGS else export_model(out, name)
        for name in one.teachers
    ]
    given = [word for teacher in teachers for word in ("--teacher", teacher)]
    training("place_recognition.train", data, *one.words(seed), *given, "--out", folder)
    note.write_text(of)
    return folder


def _slug(title: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in title.lower()).split())
