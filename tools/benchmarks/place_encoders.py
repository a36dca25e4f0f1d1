"""Place encoders: teacher, student and baselines, in a kitchen, a corridor and a building; what each costs.

Hours on two cores. Every model and every row is kept as soon as it is there, so that a run that was cut off goes on
where it stopped: models in out/bench/models, rows in the section's own file. A model is trained again when its maps,
its configuration or its teacher changed, a row is measured again when its model or its map did.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import place_scenes as scenes
from benchmarks.command import evaluated, training, vloc
from benchmarks.place_costs import costs
from benchmarks.place_models import Recipe, Source, made, needs_torch, resumed_as_whole
from benchmarks.place_reduced import REDUCED, reduced_alone
from benchmarks.place_scenes import Place

from vloc_ros.storage.maps import map_hash, read_map

# of one table all models have the same images, epochs and batches; the kitchen's are the preset's own
KITCHEN_EPOCHS, CORRIDOR_EPOCHS, BUILDING_EPOCHS, ABLATION_EPOCHS, RESUMED_EPOCHS = 30, 20, 10, 10, 3
BUILDING_ROOMS, BUILDING_SEED = 40, 701
ABLATION_ROOMS, ABLATION_SEED = 8, 741
STRICT = 0.1
SEEDS = (0, 1, 2)
# 128 numbers are less than a thirtieth of the building's VLAD
SHORT = ("network.dimension=128",)
ALONE = ("--set", "proposals.whole_map_max_points=0", "--set", "proposals.landmarks=none")
VLAD = "vlad"
_KEPT = ("queries", "accepted", "false_accepts", "recall", "median_translation_m", "accepted_by_proposal")


@dataclass(frozen=True, slots=True)
class _Rows:
    """A section's figures, written whenever there is one more."""

    path: Path
    figures: dict[str, Any]

    @staticmethod
    def of(out: Path, section: str) -> _Rows:
        """Those that a run which was cut off left, or none."""
        path = out / f"{section}.json"
        return _Rows(path, json.loads(path.read_text()) if path.is_file() else {})

    def once(self, *names: str, of: str, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Measure what is not there yet, or was measured of something else."""
        where = self.figures
        for name in names[:-1]:
            where = where.setdefault(name, {})
        if where.get(names[-1], {}).get("of") != of:
            where[names[-1]] = {"of": of, **measure()}
            self.write()

    def write(self) -> None:
        """All of them."""
        part = self.path.with_suffix(".part")
        part.write_text(json.dumps(self.figures, indent=1))
        part.replace(self.path)


def recipes(prefix: str, sources: tuple[Source, ...], *settings: str) -> dict[str, Recipe]:
    """The models of a table."""
    teacher = Recipe(f"{prefix}-teacher", "teacher", sources, settings)
    student = Recipe(f"{prefix}-student", "student", sources, settings, teacher)
    return {
        "teacher": teacher,
        "student": student,
        "student without distillation": replace(student, name=f"{prefix}-student-alone", teacher=None),
        "ResNet-18 GeM": Recipe(f"{prefix}-gem", "resnet18-gem", sources, settings),
        "ResNet-18 NetVLAD": Recipe(f"{prefix}-netvlad", "resnet18-netvlad", sources, settings),
    }


def kitchen(out: Path) -> dict[str, Any]:
    """Redkitchen's queries against its map; how long `small` takes, and whether it resumes to the same weights."""
    needs_torch()
    place, rows = scenes.kitchen(out), _Rows.of(out, "place_encoders_kitchen")
    sources = ((place.map, place.images),)
    # nearly all of its images share 8 points: a stricter question tells encoders apart
    places = {"day": place, "strict": replace(place, truth=(*place.truth, "--min-share", str(STRICT)), posed=())}
    _table(out, rows, places, recipes("kitchen", sources, f"fit.epochs={KITCHEN_EPOCHS}"))
    short = Recipe("kitchen-resumed", "student", sources, (f"fit.epochs={RESUMED_EPOCHS}",))
    rows.once("resumed", of=short.fingerprint(), measure=lambda: resumed_as_whole(out, short))
    return rows.figures


def corridor(out: Path) -> dict[str, Any]:
    """The corridor's second lap against its first, by encoders that never saw it."""
    needs_torch()
    place, others = scenes.corridor(out), scenes.other_places(out)
    rows = _Rows.of(out, "place_encoders_corridor")
    sources = tuple((other.map, other.images) for other in others)
    models = recipes("corridor", sources, f"fit.epochs={CORRIDOR_EPOCHS}")
    models.pop("teacher")  # nobody knows what structure the corridor's images show
    _table(out, rows, {"day": place}, models)
    return rows.figures | {"trained_on": _sizes({other.map.name: other for other in others})}


def building(out: Path) -> dict[str, Any]:
    """A building of rooms that are furnished alike, by day and at night."""
    needs_torch()
    day, night = scenes.building(out, "places-building", BUILDING_ROOMS, BUILDING_SEED)
    rows, settings = _Rows.of(out, "place_encoders_building"), f"fit.epochs={BUILDING_EPOCHS}"
    models = recipes("building", ((day.map, day.images),), settings)
    student = models["student"]
    models["student, 128 numbers"] = replace(student, name=f"{student.name}-128", settings=(settings, *SHORT))
    _table(out, rows, {"day": day, "night": night}, models)
    return rows.figures | {"rooms": BUILDING_ROOMS}


def ablations(out: Path) -> dict[str, Any]:
    """What distillation and positions in space add over three seeds, and labels and negatives over one."""
    needs_torch()
    day, night = scenes.building(out, "places-ablations", ABLATION_ROOMS, ABLATION_SEED)
    rows = _Rows.of(out, "place_encoders_ablations")
    for title, recipe in _ablated(((day.map, day.images),)).items():
        model = made(out, recipe)
        for light, place in (("day", day), ("night", night)):
            rows.once(title, light, of=_of(model["of"], place), measure=lambda p=place, r=recipe: _scored(out, p, r))
    return rows.figures | {"rooms": ABLATION_ROOMS, "epochs": ABLATION_EPOCHS}


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
        placeless = replace(teacher, name=f"{teacher.name}-no-rotary", settings=(*settings, "spatial.encoding=none"))
        student = Recipe(f"ablation-{seed}-student", "student", sources, settings, teacher)
        found |= {
            f"teacher/{seed}": teacher,
            f"teacher without rotary positions/{seed}": placeless,
            f"student/{seed}": student,
            f"student without distillation/{seed}": replace(student, name=f"{student.name}-alone", teacher=None),
        }
    # labels and negatives of the student's own training; its teacher is the same
    student = found[f"student/{SEEDS[0]}"]
    for title, name, setting in (
        ("student, overlap of boxes", "boxes", "mining.overlap=boxes"),
        ("student, random negatives", "random", "mining.kind=random"),
    ):
        settings = (*student.settings, setting)
        found[f"{title}/{SEEDS[0]}"] = replace(student, name=f"{student.name}-{name}", settings=settings)
    return found


def _table(out: Path, rows: _Rows, places: Mapping[str, Place], models: Mapping[str, Recipe]) -> None:
    """A row for each model and for VLAD, by light; first what needs no training."""
    rows.figures["sizes"] = _sizes(places)
    rows.figures["epochs"] = next(iter(models.values())).settings[0].partition("=")[2]
    for light, place in places.items():
        for title, name in (("VLAD-SIFT", VLAD), ("VLAD-SIFT, at most 256 numbers", REDUCED)):
            _row(out, rows, light, title, place, name, _of(name, place))
    for title, recipe in models.items():
        rows.figures.setdefault("models", {})[title] = model = made(out, recipe)
        rows.write()
        for light, place in places.items():
            _row(out, rows, light, title, place, recipe, _of(model["of"], place))


def _row(out: Path, rows: _Rows, light: str, title: str, place: Place, encoder: Recipe | str, of: str) -> None:
    """Its ranking; and its recall where the poses of queries are known and a robot could ask it."""
    rows.once(light, title, "ranking", of=of, measure=lambda: _scored(out, place, encoder))
    if place.posed and not (isinstance(encoder, Recipe) and encoder.model == "teacher"):
        rows.once(light, title, "alone", of=of, measure=lambda: _alone(out, place, encoder))


def _scored(out: Path, place: Place, encoder: Recipe | str) -> dict[str, Any]:
    path = out / "place-scores.json"
    given = encoder.folder(out) if isinstance(encoder, Recipe) else encoder
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
        model, folder = encoder.folder(out), out / "maps" / f"{place.map.name}-encoded"
        shutil.rmtree(folder, ignore_errors=True)
        vloc("map", "encode", place.map, "--model", model, "--images", place.images, "--out", folder)
        asked = (*asked, "--encoder", model, "--set", "proposals.places=student")
    else:
        asked = (*asked, "--set", f"proposals.places={encoder}")
    scores = evaluated(out / "place-alone.evaluation.json", "--map", folder, *asked)
    return {name: scores[name] for name in _KEPT}


def _of(made_from: str, place: Place) -> str:
    """What a row was measured of."""
    how = [str(word) for word in place.truth if not isinstance(word, Path)]
    return f"{made_from} {map_hash(place.map)[:16]} {place.queries.name} {' '.join(how)}"


def _sizes(places: Mapping[str, Place]) -> dict[str, dict[str, int]]:
    maps = {title: read_map(place.map) for title, place in places.items()}
    return {title: {"keyframes": len(m.keyframes), "points": len(m.points)} for title, m in maps.items()}
