"""Place encoders: teacher, student and baselines, in a kitchen, a corridor and a building; what each costs.

Hours on two cores. Every model and every row is kept as soon as it is there, so that a run that was cut off goes on
where it stopped: models in out/bench/models, rows in docs/figures/rows; the section's figures are written when all are
there. A row is measured again when its model's maps, configuration, teacher or code that learns changed, or its map,
what was asked or the code that answers; a model is trained when a row has to be measured and it is not there: then what
is trained again in the same way counts as student without distillation, though another machine rounds otherwise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks import descriptor_scenes as scenes
from benchmarks.command import evaluated, training, vloc
from benchmarks.descriptor_costs import costs
from benchmarks.descriptor_models import Recipe, Source, made, needs_torch, resumed_as_whole
from benchmarks.descriptor_scenes import Place
from benchmarks.provenance import Rows, content_hash, fingerprint, source_hash
from benchmarks.reduced_vlad import REDUCED, reduced_alone

from vloc_ros.storage.maps import map_hash, read_map

# of one table all models have the same images, epochs and batches; the kitchen's are the preset's own
KITCHEN_EPOCHS, CORRIDOR_EPOCHS, BUILDING_EPOCHS, ABLATION_EPOCHS, RESUMED_EPOCHS = 30, 6, 4, 5, 3
BUILDING_ROOMS, BUILDING_SEED = 40, 701
ABLATION_ROOMS, ABLATION_SEED = 8, 741
STRICT = 0.1
SEEDS = (0, 1, 2)
# 128 numbers are less than a thirtieth of the building's VLAD
SHORT = ("network.dimension=128",)
# as Chen, Fan and Panda have it, but for gradients in the place of pixels
TRANSFORMER_ALONE = ("network.residuals=0",)
# hardly moved from what it begins as, which labels have their part in
UNTRAINED = ("fit.epochs=1", "fit.learning_rate=1e-7")
AS_TRANSFORMER = "student without distillation, transformer alone"
AS_BEGUN = "student without distillation, as it begins"
# a teacher cannot be asked by a robot; of parts of a student how they rank says enough
NOT_ASKED = ("teacher", AS_TRANSFORMER, AS_BEGUN)
ALONE = ("--set", "proposals.whole_map_max_points=0", "--set", "proposals.landmarks=none")
VLAD = "vlad"
# what decides, beside what is asked, how rankings and localization come out
RANKING = (
    *("training/places_scores.py", "vloc_ros/mapping/shown_points.py"),
    *(f"training/places/{name}.py" for name in ("ranking", "truth", "views", "described")),
)
LOCALIZATION = (
    *("vloc_ros/core/*.py", "vloc_ros/inference/*.py", "vloc_ros/mapping/encoding.py", "vloc_ros/evaluation/scores.py"),
    "tools/benchmarks/place_reduced.py",
)
_KEPT = ("queries", "accepted", "false_accepts", "recall", "median_translation_m", "accepted_by_proposal")


def recipes(prefix: str, sources: tuple[Source, ...], *settings: str, parts: bool = False) -> dict[str, Recipe]:
    """The models of a table; with the parts of a student."""
    teacher = Recipe(f"{prefix}-teacher", "teacher", sources, settings)
    student = Recipe(f"{prefix}-student", "student", sources, settings, teacher)
    alone = replace(student, name=f"{prefix}-student-alone", teacher=None)
    return {
        "teacher": teacher,
        "student": student,
        "student without distillation": alone,
        **(_parts(alone) if parts else {}),
        "ResNet-18 GeM": Recipe(f"{prefix}-gem", "resnet18-gem", sources, settings),
        "ResNet-18 NetVLAD": Recipe(f"{prefix}-netvlad", "resnet18-netvlad", sources, settings),
    }


def kitchen(out: Path) -> dict[str, Any]:
    """Redkitchen's queries against its map; how long `small` takes, and whether it resumes to the same weights."""
    needs_torch()
    place, rows = scenes.kitchen(out), Rows.of("place_encoders_kitchen")
    sources = ((place.map, place.images),)
    # nearly all of its images share 8 points: a stricter question tells encoders apart
    places = {"day": place, "strict": replace(place, truth=(*place.truth, "--min-share", str(STRICT)), posed=())}
    models = recipes("kitchen", sources, f"fit.epochs={KITCHEN_EPOCHS}", parts=True)
    figures = _table(out, rows, places, models)
    short = Recipe("kitchen-resumed", "student", sources, (f"fit.epochs={RESUMED_EPOCHS}",))
    resumed = rows.once("resumed", of=short.fingerprint(), measure=lambda: resumed_as_whole(out, short))
    return figures | {"resumed": resumed}


def corridor(out: Path) -> dict[str, Any]:
    """The corridor's second lap against its first, by encoders that never saw it."""
    needs_torch()
    place, others = scenes.corridor(out), scenes.other_places(out)
    rows = Rows.of("place_encoders_corridor")
    sources = tuple((other.map, other.images) for other in others)
    models = recipes("corridor", sources, f"fit.epochs={CORRIDOR_EPOCHS}")
    models.pop("teacher")  # nobody knows what structure the corridor's images show
    figures = _table(out, rows, {"day": place}, models)
    return figures | {"trained_on": _sizes({other.map.name: other for other in others})}


def building(out: Path) -> dict[str, Any]:
    """A building of rooms that are furnished alike, by day and at night."""
    needs_torch()
    day, night = scenes.building(out, "places-building", BUILDING_ROOMS, BUILDING_SEED)
    rows, settings = Rows.of("place_encoders_building"), f"fit.epochs={BUILDING_EPOCHS}"
    models = recipes("building", ((day.map, day.images),), settings)
    student = models["student"]
    models["student, 128 numbers"] = _with(student, "128", *SHORT)
    return _table(out, rows, {"day": day, "night": night}, models) | {"rooms": BUILDING_ROOMS}


def ablations(out: Path) -> dict[str, Any]:
    """What distillation and positions in space add over three seeds, and labels and mining over one."""
    needs_torch()
    day, night = scenes.building(out, "places-ablations", ABLATION_ROOMS, ABLATION_SEED)
    rows, figures = Rows.of("place_encoders_ablations"), dict[str, Any]()
    for title, recipe in _ablated(((day.map, day.images),)).items():
        figures[title] = {
            light: _ranking(out, rows, f"{title}, {light}", place, recipe)
            for light, place in (("day", day), ("night", night))
        }
    return figures | {"rooms": ABLATION_ROOMS, "epochs": ABLATION_EPOCHS}


def cost(out: Path) -> dict[str, Any]:
    """Parameters, multiply-adds, bytes and milliseconds; nothing is trained, weights are drawn by lot."""
    needs_torch()
    return costs(out)


def _ablated(sources: tuple[Source, ...]) -> dict[str, Recipe]:
    """By title and seed, `TITLE/SEED`."""
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
    # a teacher would teach what is left out here
    alone = found[f"student without distillation/{SEEDS[0]}"]
    for title, name, setting in (
        ("overlap of boxes", "boxes", "mining.overlap=boxes"),
        ("random negatives", "random", "mining.negatives_are=random"),
        ("no ranking by shares", "unranked", "loss.listed=0"),
    ):
        found[f"student without distillation, {title}/{SEEDS[0]}"] = _with(alone, name, setting)
    return found | {f"{title}/{SEEDS[0]}": recipe for title, recipe in _parts(alone).items()}


def _parts(alone: Recipe) -> dict[str, Recipe]:
    """A student without what it begins as, and hardly moved from it."""
    return {
        AS_TRANSFORMER: _with(alone, "transformer", *TRANSFORMER_ALONE),
        AS_BEGUN: _with(alone, "begun", *UNTRAINED),
    }


def _with(recipe: Recipe, name: str, *settings: str) -> Recipe:
    """The same with other settings."""
    return replace(recipe, name=f"{recipe.name}-{name}", settings=(*recipe.settings, *settings))


def _table(out: Path, rows: Rows, places: Mapping[str, Place], models: Mapping[str, Recipe]) -> dict[str, Any]:
    """A row for each model and for VLAD, by light; first what needs no training."""
    epochs = next(iter(models.values())).settings[0].partition("=")[2]
    figures: dict[str, Any] = {
        "sizes": _sizes(places),
        "epochs": epochs,
        "models": {},
        **{light: {} for light in places},
    }
    for light, place in places.items():
        for title, name in (("VLAD-SIFT", VLAD), ("VLAD-SIFT, at most 256 numbers", REDUCED)):
            figures[light][title] = _row(out, rows, title, light, place, name)
    for title, recipe in models.items():
        model = rows.once(f"{title}, model", of=recipe.fingerprint(), measure=lambda r=recipe: made(out, r))
        figures["models"][title] = model
        for light, place in places.items():
            figures[light][title] = _row(out, rows, title, light, place, recipe)
    return figures


def _row(out: Path, rows: Rows, title: str, light: str, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    """Its ranking; and its recall where the poses of queries are known and it is asked alone."""
    found = {"ranking": _ranking(out, rows, f"{title}, {light}, ranking", place, encoder)}
    if place.posed and title not in NOT_ASKED:
        asked = _asked(encoder, place, (*place.posed, *ALONE), LOCALIZATION)
        found["alone"] = rows.once(f"{title}, {light}, alone", of=asked, measure=lambda: _alone(out, place, encoder))
    return found


def _ranking(out: Path, rows: Rows, name: str, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    asked = _asked(encoder, place, place.truth, RANKING)
    return rows.once(name, of=asked, measure=lambda: _scored(out, place, encoder))


def _scored(out: Path, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    path = out / "place-scores.json"
    given = _model(out, encoder) if isinstance(encoder, Recipe) else encoder
    words = ("--map", place.map, "--images", place.images, "--queries", place.queries, *place.truth)
    training("places_scores", "--encoder", given, *words, "--json", path)
    scores: dict[str, Any] = json.loads(path.read_text())[0]
    del scores["encoder"]  # a path of this machine
    print("  ", scores, flush=True)
    return scores


def _alone(out: Path, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    """Localization where nothing but this encoder says where in the map to search."""
    if encoder == REDUCED:
        return reduced_alone(place)
    asked, folder = ("--images", place.queries, *place.posed, *ALONE), place.map
    if isinstance(encoder, Recipe):
        model, folder = _model(out, encoder), out / "maps" / f"{place.map.name}-encoded"
        shutil.rmtree(folder, ignore_errors=True)
        vloc("map", "encode", place.map, "--model", model, "--images", place.images, "--out", folder)
        asked = (*asked, "--encoder", model, "--set", "proposals.places=student")
    else:
        asked = (*asked, "--set", f"proposals.places={encoder}")
    scores = evaluated(out / "place-alone.evaluation.json", "--map", folder, *asked)
    return {name: scores[name] for name in _KEPT}


def _model(out: Path, recipe: Recipe) -> Path:
    """Its folder; it is trained unless it is there."""
    made(out, recipe)
    return recipe.folder(out)


def _asked(encoder: Recipe | str, place: Place, options: Sequence[str | Path], code: Sequence[str]) -> str:
    """What a row is measured of: files by their content, wherever they lie."""
    said = [content_hash(word) if isinstance(word, Path) else word for word in options]
    of = encoder.fingerprint() if isinstance(encoder, Recipe) else encoder
    return fingerprint([of, map_hash(place.map), content_hash(place.queries), said, source_hash(*code)])


def _sizes(places: Mapping[str, Place]) -> dict[str, dict[str, int]]:
    maps = {title: read_map(place.map) for title, place in places.items()}
    return {title: {"keyframes": len(m.keyframes), "points": len(m.points)} for title, m in maps.items()}
