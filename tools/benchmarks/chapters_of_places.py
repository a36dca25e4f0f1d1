"""The chapters of BENCHMARK.md about place encoders."""

from __future__ import annotations

from statistics import fmean

from benchmarks.tables import Figures, table

_AT = [f"{letter}@{k}" for letter in "PR" for k in (1, 5, 20)]
_GAINS = (
    ("distillation", "student", "student without distillation"),
    ("rotary positions in space", "teacher", "teacher without rotary positions"),
)
_SCORED = (
    "P@K is hits among the first K over min(K, number of positives), R@K the share of queries with a hit among them; bytes "
    "are those of an image in the map, one for each number; ranked are the numbers before they are rounded to it. alone: "
    "queries localized within the limits where nothing else says where in the map to search. A teacher sees which 3D points "
    "an image shows, which no robot can tell it: it is a bound, and is not asked."
)


def place_encoders(figures: dict[str, Figures]) -> str:
    """Every part that was measured."""
    parts = [
        "Hours on two cores, so not part of `make bench` alone: `make bench "
        'SECTIONS="place_encoders_kitchen place_encoders_corridor place_encoders_building place_encoders_ablations '
        'place_encoders_cost"`, each of which goes on where it was cut off: a row stays, whichever revision measured it, while its model, maps and the code that decides on it do. All models of a table are of the preset small, '
        "and have the same images, epochs and batches. Weights are drawn by lot, but for what begins from the same images: the "
        "centres of NetVLAD; of students and teachers the residuals of dense gradients and colours, whose projection begins from "
        "the labels, by linear discriminant analysis of three epochs' batches. That is most of what they know: of "
        "the kitchen, and of what makes them, there are two more rows, the student without distillation as it begins, and its transformer alone (`network.residuals=0`). VLAD-SIFT is reduced by the principal components of the map's own images: N of them keep N-1 "
        "numbers at most, which is all that there is once their mean is taken off. `python -m training.student --map MAP "
        "--images DIR --model MODEL --set fit.epochs=N --teacher TEACHER` (or `none`), VLAD-SIFT is the map's own. "
        "`python -m training.places_scores --encoder MODEL --map MAP --images DIR --queries DIR --poses TUM --camera YAML`, then "
        "`vloc map encode MAP --model MODEL --images DIR` and `vloc evaluate --encoder MODEL --set proposals.places=student "
        f"--set proposals.whole_map_max_points=0 --set proposals.landmarks=none`. {_SCORED}\n"
    ]
    for name, writer in _PARTS.items():
        if found := figures.get(f"place_encoders_{name}"):
            parts.append(writer(found))
    return "\n".join(parts)


def _kitchen(f: Figures) -> str:
    models, resumed = f["models"], f.get("resumed")
    took = [models[name]["train_s"] for name in ("teacher", "student") if name in models]
    text = f"### A kitchen\n\nTrained on the {f['sizes']['day']['keyframes']} images of redkitchen's map, {f['epochs']} epochs."
    if len(took) == 2 and all(took):
        text += f" Teacher and student took {sum(took) / 60:.0f} minutes together, one after the other."
    if resumed:
        text += (
            " A training that was killed after an epoch and went on with `--resume` ended in the weights of one that was "
            f"not; the largest difference is {resumed['largest_difference']:.1g}."
        )
    limits = ("5cm_5deg", "25cm_2deg")
    parts = [
        f"{text} Positives share 8 points with the query, as most images of one kitchen do.\n\n{_ranked(f, 'day', limits)}"
    ]
    if "strict" in f:
        parts.append(f"Positives share a tenth of what either shows (`--min-share 0.1`):\n\n{_ranked(f, 'strict', ())}")
    return "\n".join(parts)


def _corridor(f: Figures) -> str:
    others = ", ".join(f"{title} ({size['keyframes']})" for title, size in f["trained_on"].items())
    return (
        f"### A corridor, by encoders of other places\n\nTrained {f['epochs']} epochs on the images of other maps: {others}; "
        "other-places are simulated corridors, flats and rooms. Lap 2 is looked for in lap 1 (`--pairs`, those of `same_place.csv`, made "
        "by people, whose second image is of lap 1). Nobody knows its poses, and structure from motion cannot make a map of it: no teacher can be asked, and "
        f"no pose be right.\n\n{_ranked(f, 'day', ())}"
    )


def _building(f: Figures) -> str:
    text = (
        f"### A building of rooms that are furnished alike\n\n{f.get('rooms', '')} simulated rooms, several of each model, "
        f"{f['sizes']['day']['keyframes']} images, {f['sizes']['day']['points']} points, {f['epochs']} epochs. Positives share "
        "8 points with the query; at night those that it shows by day (`--by-day`). Night is "
        "`vloc_ros.simulation.lighting.relight`, photometry only, and training darkens images in the same way: no real night."
    )
    lights = {"day": "By day", "night": "At night"}
    tables = [f"{said}:\n\n{_ranked(f, light, ('25cm_2deg',))}" for light, said in lights.items() if light in f]
    return f"{text}\n\n" + "\n".join(tables)


def _ablations(f: Figures) -> str:
    """Seeds as a range; what is gained seed by seed."""
    titles = list(dict.fromkeys(name.partition("/")[0] for name in f if "/" in name))
    rows = [
        [f"{title}, {light}", str(len(found)), *[_spread([of[name] for of in found]) for name in _AT]]
        for title in titles
        for light in ("day", "night")
        if (found := list(_seeds(f, title, light).values()))
    ]
    gains = [
        [f"{what}, {light}", str(len(apart)), *[_gain([pair[name] for pair in apart]) for name in _AT]]
        for what, with_it, without in _GAINS
        for light in ("day", "night")
        if (apart := _apart(_seeds(f, with_it, light), _seeds(f, without, light)))
    ]
    text = (
        f"### What makes them\n\nA simulated building of {f.get('rooms', '')} rooms, two of each model; short runs, "
        f"{f.get('epochs', '')} epochs, which begin from residuals that find most places: gains come on top. A student is taught by "
        "the teacher of its seed: its distances, and which patches count. "
        "With several seeds the mean, and the least and most. Random negatives "
        "(`mining.negatives_are=random`) are any that share no point, where else they are nearest by pose or by covisibility; and "
        "of the others in a batch any count, where else those whose descriptors are nearest. No ranking by shares is "
        "`loss.listed=0`: the contrastive loss alone.\n"
    )
    gained = "What is gained, seed by seed: the mean, and the least and most.\n"
    return f"{text}\n{table(['encoder', 'seeds', *_AT], rows)}\n{gained}\n{table(['gain of', 'seeds', *_AT], gains)}"


def _cost(f: Figures) -> str:
    rows = [
        [
            name,
            f"{m['height']}x{m['width']}",
            f"{m['parameters']:.2f}",
            f"{m['gmac']:.3f}",
            str(m["bytes"]),
            f"{m['torch_ms']:.1f}",
            f"{m['onnx_ms']:.1f}" if "onnx_ms" in m else "",
            f"{m['onnx_per_torch']:.2f}" if "onnx_ms" in m else "",
        ]
        for name, m in f["models"].items()
    ]
    vlad = f["vlad"]
    text = (
        f"### Cost\n\nOne image at a time, {f['threads']} threads, medians; torch (eager) and ONNX Runtime turn by turn in one "
        "process (`make bench SECTIONS=place_encoders_cost`). Parameters and multiply-adds as `python -m training.cost` counts "
        f"them. VLAD-SIFT: {vlad['dimension']} bytes in redkitchen's map, {vlad['ms']:.1f} ms beside the keypoints, which are "
        f"found anyway, {vlad['with_features_ms']:.0f} ms with them.\n"
    )
    header = ["network", "image", "M parameters", "GMAC", "bytes", "torch, ms", "ONNX Runtime, ms", "of torch"]
    return text + "\n" + table(header, rows)


_PARTS = {
    "kitchen": _kitchen,
    "corridor": _corridor,
    "building": _building,
    "ablations": _ablations,
    "cost": _cost,
}


def _ranked(f: Figures, light: str, limits: tuple[str, ...]) -> str:
    """Encoders by light; those that were measured so far."""
    rows = []
    for title, found in f[light].items():
        scores, alone = found["ranking"], found.get("alone")
        localized = [_of(alone, limit) if alone else "" for limit in limits]
        wrong = [str(alone["false_accepts"]) if alone else ""] if limits else []
        shares = [f"{scores[name]:.3f}" for name in _AT]
        rows.append([title, str(scores["dimension"]), *shares, *localized, *wrong])
    named = [limit.replace("cm_", " cm ").replace("deg", "°") for limit in limits]
    header = ["encoder", "bytes", *_AT, *[f"alone, {limit}" for limit in named], *(["wrong"] if limits else [])]
    return table(header, rows)


def _of(s: Figures, limit: str) -> str:
    return f"{s['recall'][limit] * s['queries']:.0f}/{s['queries']}"


def _seeds(f: Figures, title: str, light: str) -> dict[str, Figures]:
    """Scores by seed."""
    named = {name.partition("/")[2]: found for name, found in f.items() if name.partition("/")[0] == title}
    return {seed: found[light] for seed, found in named.items() if light in found}


def _apart(with_it: dict[str, Figures], without: dict[str, Figures]) -> list[dict[str, float]]:
    return [{name: with_it[seed][name] - without[seed][name] for name in _AT} for seed in with_it if seed in without]


def _spread(values: list[float]) -> str:
    return f"{fmean(values):.3f}" + (f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else "")


def _gain(values: list[float]) -> str:
    return f"{fmean(values):+.3f} ({min(values):+.3f} to {max(values):+.3f})"
