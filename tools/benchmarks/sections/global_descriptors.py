"""The chapters of BENCHMARK.md about place encoders."""

from __future__ import annotations

from statistics import fmean

from benchmarks.tables import Figures, table

_AT = [f"{letter}@{k}" for letter in "PR" for k in (1, 5, 20)]
_ALONE = "student without distillation"
_GAINS = (
    ("distillation", "student", _ALONE),
    ("rotary positions in space", "teacher", "teacher without rotary positions"),
    ("labels by points, not boxes", _ALONE, f"{_ALONE}, overlap of boxes"),
    ("hard negatives", _ALONE, f"{_ALONE}, random negatives"),
    ("ranking by shares", _ALONE, f"{_ALONE}, no ranking by shares"),
    ("the residual branch", _ALONE, f"{_ALONE}, transformer alone"),
    ("training, beyond its start", _ALONE, f"{_ALONE}, as it begins"),
)
_SET_UP = """\
Hours on two cores, so not part of `make bench` alone: `make bench SECTIONS="place_encoders_kitchen \
place_encoders_corridor place_encoders_building place_encoders_ablations place_encoders_cost"`, each of which goes on where \
it was cut off: a row stays, whichever revision measured it, while its model, maps and the code that decides on it do.

All models of a table are of the preset small and learn from the same images in the same batches, for as many epochs. All \
networks, ResNet-18 too, start from random weights (with `--pretrained` it starts from ImageNet's where timm can download \
them: not measured). Two parts do not: NetVLAD's centres are k-means of the training images; and the residual branch of \
students and teachers, which describes gradients and colours patch by patch, starts from a linear discriminant analysis of \
three epochs' batches and their labels. That start does most of the work, so two tables have two more rows: the student as \
it begins, and its transformer without that branch. A teacher sees which 3D points an image shows, which no robot can tell \
it: it is a bound. VLAD-SIFT is the map's own index; reduced, it keeps the principal components of the map's own images, \
N-1 of N images at most, and is there to be compared with: no map stores it.

```bash
python -m training.place_recognition.train --map MAP --images DIR --model KIND --set fit.epochs=N --teacher TEACHER --out MODEL  # or none
python -m training.place_recognition.evaluate --encoder MODEL --map MAP --images DIR --queries DIR --poses TUM --camera YAML  # or vlad
vloc map encode MAP --model MODEL --images DIR --out ENCODED
vloc evaluate --map ENCODED --images DIR --poses TUM --camera YAML --encoder MODEL \\
    --set proposals.places=student --set proposals.whole_map_max_points=0 --set proposals.landmarks=none
```

KIND is teacher, student, resnet18-gem or resnet18-netvlad. P@K is hits among the first K over min(K, number of positives), \
R@K the share of queries with a hit among them; numbers are those of a descriptor, of which a map stores one byte each. \
alone: queries localized within the limits where nothing but this encoder says where in the map to search; wrong are \
accepted poses beyond 50 cm or 5°.
"""


def place_encoders(figures: dict[str, Figures]) -> str:
    """Every part that was measured."""
    parts = [_SET_UP]
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
        f"{text} Positives share 8 points with the query, as most images of one kitchen do; {_queries(f, 'day')}.\n\n"
        f"{_ranked(f, 'day', limits)}"
    ]
    if "strict" in f:
        parts.append(
            f"Positives share a tenth of what either shows (`--min-share 0.1`), {_queries(f, 'strict')} have one:\n\n"
            f"{_ranked(f, 'strict', ())}"
        )
    return "\n".join(parts)


def _corridor(f: Figures) -> str:
    others = ", ".join(f"{title} ({size['keyframes']})" for title, size in f["trained_on"].items())
    return (
        f"### A corridor, by encoders of other places\n\nTrained {f['epochs']} epochs on the images of other maps: {others}; "
        "other-places are simulated corridors, flats and rooms. Lap 2 is looked for in lap 1 (`--pairs CSV`, the rows of "
        "`same_place.csv`, made by people, whose second image is of lap 1). Nobody knows its poses, and structure from motion "
        "cannot make a map of it: no teacher can be asked, and no pose be right. "
        f"{_queries(f, 'day').capitalize()}, most with five positives among {f['sizes']['day']['keyframes']} images: "
        f"K of 20 says little.\n\n{_ranked(f, 'day', ())}"
    )


def _building(f: Figures) -> str:
    text = (
        f"### A building of rooms that are furnished alike\n\n{f.get('rooms', '')} simulated rooms, several of each model, "
        f"{f['sizes']['day']['keyframes']} images, {f['sizes']['day']['points']} points, {f['epochs']} epochs. Positives share "
        f"8 points with the query, {_queries(f, 'day')} have one; at night those that it shows by day (`--by-day`). Night is "
        "`vloc_ros.simulation.lighting.relight`, photometry only, and training darkens images in the same way: no real night. "
        "It is another building than that of growing maps."
    )
    lights = {"day": "By day", "night": "At night"}
    tables = [f"{said}:\n\n{_ranked(f, light, ('25cm_2deg',))}" for light, said in lights.items() if light in f]
    return f"{text}\n\n" + "\n".join(tables)


def _ablations(f: Figures) -> str:
    """What is gained, seed by seed; encoders with their seeds as a range."""
    titles = list(dict.fromkeys(name.partition("/")[0] for name in f if "/" in name))
    rows = [
        [f"{title}, {light}", " ".join(found), *[_spread(found, name) for name in _AT]]
        for title in titles
        for light in ("day", "night")
        if (found := _seeds(f, title, light))
    ]
    gains = [
        [f"{what}, {light}", " ".join(apart), *[_gain([pair[name] for pair in apart.values()]) for name in _AT]]
        for what, with_it, without in _GAINS
        for light in ("day", "night")
        if (apart := _apart(_seeds(f, with_it, light), _seeds(f, without, light)))
    ]
    queries = next(f[name]["day"]["queries"] for name in f if "/" in name)
    text = (
        f"### What makes them\n\nA simulated building of {f.get('rooms', '')} rooms, two of each model; short runs, "
        f"{f.get('epochs', '')} epochs; {queries} queries, one of which is {1 / queries:.3f}. What is gained, seed by seed, is "
        "the first table: with several seeds the mean, and the least and most. A student is taught by the teacher of its seed: "
        "its distances, and which patches count. Rotary positions are how a teacher's tokens say where in space the points of "
        "a patch lie (`spatial.encoding=none` without). Labels are shares of points in common, or the overlap of the boxes "
        "around them (`mining.overlap=boxes`). Hard negatives are near by pose or by covisibility, and within a batch those "
        "whose descriptors are most alike; random ones (`mining.negatives_are=random`) are any that share no point, and all in "
        "the batch. Without ranking by shares (`loss.listed=0`) the contrastive loss is alone, without the residual branch "
        "(`network.residuals=0`) the transformer. What a student begins as is one epoch at a learning rate of 1e-7.\n"
    )
    gained = table(["gain of", "seeds", *_AT], gains)
    return f"{text}\n{gained}\nThe encoders themselves:\n\n{table(['encoder', 'seeds', *_AT], rows)}"


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
        f"### Cost\n\nThe network alone, of one image that has its size, {f['threads']} threads, medians; torch (eager) and "
        "ONNX Runtime turn by turn in one process (`make bench SECTIONS=place_encoders_cost`). Parameters and multiply-adds as `python -m training.cost` counts "
        f"them. VLAD-SIFT: {vlad['dimension']} bytes in redkitchen's map, {vlad['ms']:.1f} ms beside the keypoints, which are "
        f"found anyway, {vlad['with_features_ms']:.0f} ms with them.\n"
    )
    header = ["network", "image", "M parameters", "GMAC", "bytes", "torch, ms", "ONNX Runtime, ms", "ONNX / torch"]
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
    header = ["encoder", "numbers", *_AT, *[f"alone, {limit}" for limit in named], *(["wrong"] if limits else [])]
    return table(header, rows)


def _queries(f: Figures, light: str) -> str:
    """How many are ranked."""
    return f"{next(iter(f[light].values()))['ranking']['queries']} queries"


def _of(s: Figures, limit: str) -> str:
    return f"{s['recall'][limit] * s['queries']:.0f}/{s['queries']}"


def _seeds(f: Figures, title: str, light: str) -> dict[str, Figures]:
    """Scores by seed."""
    named = {name.partition("/")[2]: found for name, found in f.items() if name.partition("/")[0] == title}
    return {seed: found[light] for seed, found in named.items() if light in found}


def _apart(with_it: dict[str, Figures], without: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Differences of scores by seed."""
    both = [seed for seed in with_it if seed in without]
    return {seed: {name: with_it[seed][name] - without[seed][name] for name in _AT} for seed in both}


def _spread(found: dict[str, Figures], name: str) -> str:
    values = [scores[name] for scores in found.values()]
    return f"{fmean(values):.3f}" + (f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else "")


def _gain(values: list[float]) -> str:
    return f"{fmean(values):+.3f}" + (f" ({min(values):+.3f} to {max(values):+.3f})" if len(values) > 1 else "")
