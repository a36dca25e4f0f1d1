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

"""Global descriptors: teacher, student and baselines, in a kitchen, a corridor and a building; what each costs.

These sections take hours on two cores. Models are kept in the working folder of the revision and rows in
docs/benchmark/rows as soon as they are there, so that an interrupted run resumes where it stopped. The figures of a
section are written when all its rows are there. A row that is there is kept, with its revision, unless its settings
changed; `make bench FORCE=1` measures all rows of a section again. A model is trained when a row needs it and it is
not there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import descriptor_scenes as scenes
from benchmarks.command import evaluate, training, vloc
from benchmarks.descriptor_costs import costs
from benchmarks.descriptor_models import Recipe, Source, compare_resumed, require_torch, train_once
from benchmarks.descriptor_scenes import Place
from benchmarks.provenance import Rows
from benchmarks.reduced_vlad import REDUCED, localize_with_reduced_vlad

from vloc_ros.storage.maps import read_map

# of one table all models have the same images, epochs and batches; the kitchen's are the preset's own
KITCHEN_EPOCHS, CORRIDOR_EPOCHS, BUILDING_EPOCHS, ABLATION_EPOCHS, RESUMED_EPOCHS = 30, 6, 4, 5, 3
BUILDING_ROOMS, BUILDING_SEED = 40, 701
ABLATION_ROOMS, ABLATION_SEED = 8, 741
STRICT = 0.1
SEEDS = (0, 1, 2)
# 128 dimensions are less than a thirtieth of the building's VLAD
SHORT = ("network.dimension=128",)
# as Chen, Fan and Panda have it, but for gradients in the place of pixels
TRANSFORMER_ALONE = ("network.residuals=0",)
# hardly changed from its initialization, which the labels take part in
UNTRAINED = ("fit.epochs=1", "fit.learning_rate=1e-7")
AS_TRANSFORMER = "student without distillation, transformer alone"
INITIALIZED = "student without distillation, initialization only"
# not localized with: a robot cannot run a teacher; for the parts of a student the ranking is enough
RANKED_ONLY = ("teacher", AS_TRANSFORMER, INITIALIZED)
RETRIEVAL_ONLY = ("--set", "candidates.whole_map_max_points=0", "--set", "candidates.landmarks=none")
VLAD = "vlad"
_KEPT = ("queries", "accepted", "false_accepts", "recall", "median_translation_m", "accepted_by_candidate")


def recipes(prefix: str, sources: tuple[Source, ...], *settings: str, parts: bool = False) -> dict[str, Recipe]:
    """The models of a table; with the parts of a student."""
    teacher = Recipe(f"{prefix}-teacher", "teacher", sources, settings)
    student = Recipe(f"{prefix}-student", "student", sources, settings, teacher)
    alone = replace(student, name=f"{prefix}-student-alone", teacher=None)
    return {
        "teacher": teacher,
        "student": student,
        "student without distillation": alone,
        **(_part_recipes(alone) if parts else {}),
        "ResNet-18 GeM": Recipe(f"{prefix}-gem", "resnet18-gem", sources, settings),
        "ResNet-18 NetVLAD": Recipe(f"{prefix}-netvlad", "resnet18-netvlad", sources, settings),
    }


def kitchen(out: Path) -> dict[str, Any]:
    """Redkitchen's queries against its map; how long `small` takes, and whether it resumes to the same weights."""
    require_torch()
    place, rows = scenes.kitchen(out), Rows.of("global_descriptors_kitchen")
    sources = ((place.map, place.images),)
    # nearly all of its images share 8 points: stricter positives distinguish the models
    places = {"day": place, "strict": replace(place, truth=(*place.truth, "--min-share", str(STRICT)), posed=())}
    models = recipes("kitchen", sources, f"fit.epochs={KITCHEN_EPOCHS}", parts=True)
    figures = _table(out, rows, places, models)
    short = Recipe("kitchen-resumed", "student", sources, (f"fit.epochs={RESUMED_EPOCHS}",))
    resumed = rows.once("resumed", of=short.description, measure=lambda: compare_resumed(out, short))
    return figures | {"resumed": resumed, "row_revisions": rows.revisions}


def corridor(out: Path) -> dict[str, Any]:
    """The corridor's second lap against its first, with models of other places."""
    require_torch()
    place, others = scenes.corridor(out), scenes.other_places(out)
    rows = Rows.of("global_descriptors_corridor")
    sources = tuple((other.map, other.images) for other in others)
    models = recipes("corridor", sources, f"fit.epochs={CORRIDOR_EPOCHS}")
    models.pop("teacher")  # the structure in the corridor's images is not known
    figures = _table(out, rows, {"day": place}, models)
    trained_on = _sizes({other.map.name: other for other in others})
    return figures | {"trained_on": trained_on, "row_revisions": rows.revisions}


def building(out: Path) -> dict[str, Any]:
    """A building of rooms that are furnished alike, by day and at night."""
    require_torch()
    day, night = scenes.building(out, "descriptors-building", BUILDING_ROOMS, BUILDING_SEED)
    rows, settings = Rows.of("global_descriptors_building"), f"fit.epochs={BUILDING_EPOCHS}"
    models = recipes("building", ((day.map, day.images),), settings)
    student = models["student"]
    models["student, 128 dimensions"] = _with(student, "128", *SHORT)
    figures = _table(out, rows, {"day": day, "night": night}, models)
    return figures | {"rooms": BUILDING_ROOMS, "row_revisions": rows.revisions}


def ablations(out: Path) -> dict[str, Any]:
    """Gains of distillation and positions in space over three seeds, and of labels and mining over one."""
    require_torch()
    day, night = scenes.building(out, "descriptors-ablations", ABLATION_ROOMS, ABLATION_SEED)
    rows, figures = Rows.of("global_descriptors_ablations"), dict[str, Any]()
    for title, recipe in _ablation_recipes(((day.map, day.images),)).items():
        figures[title] = {
            light: _ranking(out, rows, f"{title}, {light}", place, recipe)
            for light, place in (("day", day), ("night", night))
        }
    return figures | {"rooms": ABLATION_ROOMS, "epochs": ABLATION_EPOCHS, "row_revisions": rows.revisions}


def cost(out: Path) -> dict[str, Any]:
    """Parameters, multiply-adds, bytes and milliseconds; nothing is trained, weights are random."""
    require_torch()
    return costs(out)


def _ablation_recipes(sources: tuple[Source, ...]) -> dict[str, Recipe]:
    """Recipes by title and seed, `TITLE/SEED`."""
    found: dict[str, Recipe] = {}
    for seed in SEEDS:
        settings = (f"fit.epochs={ABLATION_EPOCHS}", f"fit.seed={seed}")
        teacher = Recipe(f"ablation-{seed}-teacher", "teacher", sources, settings)
        student = Recipe(f"ablation-{seed}-student", "student", sources, settings, teacher)
        found |= {
            f"teacher/{seed}": teacher,
            f"teacher without rotary positions/{seed}": _with(teacher, "no-rotary", "spatial.encoding=none"),
            f"student/{seed}": student,
            f"student without distillation/{seed}": replace(student, name=f"{student.name}-alone", teacher=None),
        }
    # without a teacher, which would teach what is left out here
    alone = found[f"student without distillation/{SEEDS[0]}"]
    for title, name, setting in (
        ("overlap of boxes", "boxes", "mining.overlap=boxes"),
        ("random negatives", "random", "mining.negative_selection=random"),
        ("no listwise loss", "unranked", "loss.listwise=0"),
    ):
        found[f"student without distillation, {title}/{SEEDS[0]}"] = _with(alone, name, setting)
    return found | {f"{title}/{SEEDS[0]}": recipe for title, recipe in _part_recipes(alone).items()}


def _part_recipes(alone: Recipe) -> dict[str, Recipe]:
    """A student without the residual branch, and one that is hardly trained."""
    return {
        AS_TRANSFORMER: _with(alone, "transformer", *TRANSFORMER_ALONE),
        INITIALIZED: _with(alone, "initialized", *UNTRAINED),
    }


def _with(recipe: Recipe, name: str, *settings: str) -> Recipe:
    """The recipe with more settings."""
    return replace(recipe, name=f"{recipe.name}-{name}", settings=(*recipe.settings, *settings))


def _table(out: Path, rows: Rows, places: Mapping[str, Place], models: Mapping[str, Recipe]) -> dict[str, Any]:
    """A row for each model and for VLAD, by light; VLAD first, since it needs no training."""
    epochs = next(iter(models.values())).settings[0].partition("=")[2]
    figures: dict[str, Any] = {
        "sizes": _sizes(places),
        "epochs": epochs,
        "models": {},
        **{light: {} for light in places},
    }
    for light, place in places.items():
        for title, name in (("VLAD-SIFT", VLAD), ("VLAD-SIFT, PCA to at most 256 dimensions", REDUCED)):
            figures[light][title] = _row(out, rows, title, light, place, name)
    for title, recipe in models.items():
        model = rows.once(f"{title}, model", of=recipe.description, measure=lambda r=recipe: train_once(out, r))
        figures["models"][title] = model
        for light, place in places.items():
            figures[light][title] = _row(out, rows, title, light, place, recipe)
    return figures


def _row(out: Path, rows: Rows, title: str, light: str, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    """The ranking of a model; and its localization scores, where the queries have poses."""
    found = {"ranking": _ranking(out, rows, f"{title}, {light}, ranking", place, encoder)}
    if place.posed and title not in RANKED_ONLY:
        of = _settings(encoder, place, *place.posed, *RETRIEVAL_ONLY)
        name = f"{title}, {light}, localization"
        found["localization"] = rows.once(name, of=of, measure=lambda: _localize(out, place, encoder))
    return found


def _ranking(out: Path, rows: Rows, name: str, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    of = _settings(encoder, place, *place.truth)
    return rows.once(name, of=of, measure=lambda: _rank(out, place, encoder))


def _rank(out: Path, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    path = out / "descriptor-scores.json"
    given = _model(out, encoder) if isinstance(encoder, Recipe) else encoder
    words = ("--map", place.map, "--images", place.images, "--queries", place.queries, *place.truth)
    training("place_recognition.evaluate", "--encoder", given, *words, "--json", path)
    scores: dict[str, Any] = json.loads(path.read_text())[0]
    del scores["encoder"]  # a path of this machine
    print("  ", scores, flush=True)
    return scores


def _localize(out: Path, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    """Localization scores with candidates from this model alone."""
    if encoder == REDUCED:
        return localize_with_reduced_vlad(place)
    words, folder = ("--images", place.queries, *place.posed, *RETRIEVAL_ONLY), place.map
    if isinstance(encoder, Recipe):
        model, folder = _model(out, encoder), out / "maps" / f"{place.map.name}-encoded"
        shutil.rmtree(folder, ignore_errors=True)
        vloc("map", "encode", place.map, "--model", model, "--images", place.images, "--out", folder)
        words = (*words, "--encoder", model, "--set", "candidates.retrieval=model")
    else:
        words = (*words, "--set", f"candidates.retrieval={encoder}")
    scores = evaluate(out / "descriptor-localization.evaluation.json", "--map", folder, *words)
    return {name: scores[name] for name in _KEPT}


def _model(out: Path, recipe: Recipe) -> Path:
    """The folder of a model, which is trained unless it is there."""
    train_once(out, recipe)
    return recipe.folder(out)


def _settings(encoder: Recipe | str, place: Place, *words: str | Path) -> str:
    """What a row is measured of, as text: the model, the map, and the options of the command."""
    model = encoder.description if isinstance(encoder, Recipe) else encoder
    options = " ".join(word.name if isinstance(word, Path) else word for word in words)
    return f"{model}; {place.queries.name} in {place.map.name}: {options}"


def _sizes(places: Mapping[str, Place]) -> dict[str, dict[str, int]]:
    maps = {title: read_map(place.map) for title, place in places.items()}
    return {title: {"keyframes": len(m.keyframes), "points": len(m.points)} for title, m in maps.items()}
