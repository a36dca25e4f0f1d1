"""The chapter of BENCHMARK.md about global descriptors."""

from __future__ import annotations

from statistics import fmean

from benchmarks.tables import Figures, table

_AT = [f"{letter}@{k}" for letter in "PR" for k in (1, 5, 20)]
_UNDISTILLED = "student without distillation"
_GAINS = (
    ("distillation", "student", _UNDISTILLED),
    ("rotary positions in space", "teacher", "teacher without rotary positions"),
    ("labels from points, not boxes", _UNDISTILLED, f"{_UNDISTILLED}, overlap of boxes"),
    ("hard negatives", _UNDISTILLED, f"{_UNDISTILLED}, random negatives"),
    ("listwise loss", _UNDISTILLED, f"{_UNDISTILLED}, no listwise loss"),
    ("residual branch", _UNDISTILLED, f"{_UNDISTILLED}, transformer alone"),
    ("training, beyond its initialization", _UNDISTILLED, f"{_UNDISTILLED}, initialization only"),
)
_SET_UP = """\
These sections take hours on two cores, so `make bench` alone leaves them out: `make bench \
SECTIONS="global_descriptors_kitchen global_descriptors_corridor global_descriptors_building \
global_descriptors_ablations global_descriptors_cost"`. An interrupted section resumes where it stopped. A row is kept across \
revisions while its model, its maps and the code that decides on it stay the same.

All models of a table are of the preset small and learn from the same images in the same batches, for as many epochs. All \
networks, ResNet-18 too, start from random weights (with `--pretrained`, ResNet-18 starts from ImageNet's where timm can \
download them; not measured). Two parts do not. NetVLAD's centres are k-means of the training images. The residual branch of \
students and teachers, which describes gradients and colours patch by patch, starts from a linear discriminant analysis of \
three epochs' batches and their labels. This initialization does most of the work, so two tables have two more rows: the \
student at its initialization, and its transformer without the residual branch.

A teacher sees which 3D points an image shows, which a robot does not know: its row is an upper bound. VLAD-SIFT is the map's \
own retrieval index. With PCA it keeps the principal components of the map's own images, N-1 of N images at most. That variant \
is for comparison only: no map stores it.

```bash
python -m training.place_recognition.train --map MAP --images DIR --model KIND --set fit.epochs=N --teacher TEACHER --out MODEL  # or none
python -m training.place_recognition.evaluate --encoder MODEL --map MAP --images DIR --queries DIR --poses TUM --camera YAML  # or vlad
vloc map encode MAP --model MODEL --images DIR --out ENCODED
vloc evaluate --map ENCODED --images DIR --poses TUM --camera YAML --encoder MODEL \\
    --set candidates.retrieval=model --set candidates.whole_map_max_points=0 --set candidates.landmarks=none
```

KIND is teacher, student, resnet18-gem or resnet18-netvlad. P@K is hits among the first K over min(K, number of positives). \
R@K is the share of queries with a hit among the first K. A map stores one byte for each dimension of a descriptor. \
localized: queries localized within the limits where this model alone proposes candidates; wrong: accepted poses beyond 50 cm \
or 5°.
"""


def global_descriptors(figures: dict[str, Figures]) -> str:
    """All parts that were measured."""
    parts = [_SET_UP]
    for name, writer in _WRITERS.items():
        if found := figures.get(f"global_descriptors_{name}"):
            parts.append(writer(found))
    return "\n".join(parts)


def _kitchen(f: Figures) -> str:
    models, resumed = f["models"], f.get("resumed")
    took = [models[name]["train_s"] for name in ("teacher", "student") if name in models]
    text = f"### A kitchen\n\nTrained on the {f['sizes']['day']['keyframes']} images of redkitchen's map, {f['epochs']} epochs."
    if len(took) == 2 and all(took):
        text += f" Teacher and student took {sum(took) / 60:.0f} minutes, one after the other."
    if resumed:
        text += (
            " A training that was killed after an epoch and resumed with `--resume` ended with the weights of an uninterrupted "
            f"one; the largest difference is {resumed['largest_difference']:.1g}."
        )
    limits = ("5cm_5deg", "25cm_2deg")
    parts = [
        f"{text} Positives share 8 points with the query, as most images of one kitchen do; {_queries(f, 'day')}.\n\n"
        f"{_ranked(f, 'day', limits)}"
    ]
    if "strict" in f:
        parts.append(
            "With positives that share a tenth of what either image shows (`--min-share 0.1`), "
            f"{_queries(f, 'strict')} have one:\n\n{_ranked(f, 'strict', ())}"
        )
    return "\n".join(parts)


def _corridor(f: Figures) -> str:
    others = ", ".join(f"{title} ({size['keyframes']})" for title, size in f["trained_on"].items())
    return (
        f"### A corridor, with models of other places\n\nTrained {f['epochs']} epochs on the images of other maps: {others}. "
        "other-places are simulated corridors, flats and rooms. Images of lap 2 are retrieved from lap 1 (`--pairs CSV`: the "
        "rows of `same_place.csv`, annotated by hand, whose second image is of lap 1). The corridor has no ground-truth poses, "
        "and structure from motion cannot make a map of it: there is neither a teacher nor a localization score. "
        f"{_queries(f, 'day').capitalize()}, most with five positives among {f['sizes']['day']['keyframes']} images, so K of 20 "
        f"says little.\n\n{_ranked(f, 'day', ())}"
    )


def _building(f: Figures) -> str:
    text = (
        f"### A building of rooms that are furnished alike\n\n{f.get('rooms', '')} simulated rooms, several of each model, "
        f"{f['sizes']['day']['keyframes']} images, {f['sizes']['day']['points']} points, {f['epochs']} epochs. Positives share "
        f"8 points with the query; {_queries(f, 'day')} have one. At night they are the positives by day (`--by-day`). Night is "
        "`vloc_ros.simulation.lighting.relight`, photometry only, and training darkens images in the same way: it is no real "
        "night. This is not the building of the chapter on map size.\n"
    )
    lights = {"day": "By day", "night": "At night"}
    tables = [f"{title}:\n\n{_ranked(f, light, ('25cm_2deg',))}" for light, title in lights.items() if light in f]
    return f"{text}\n" + "\n".join(tables)


def _ablations(f: Figures) -> str:
    """Gains seed by seed, then models with the range over their seeds."""
    titles = list(dict.fromkeys(name.partition("/")[0] for name in f if "/" in name))
    rows = [
        [f"{title}, {light}", " ".join(found), *[_spread(found, name) for name in _AT]]
        for title in titles
        for light in ("day", "night")
        if (found := _seeds(f, title, light))
    ]
    gains = [
        [f"{what}, {light}", " ".join(gained), *[_gain([pair[name] for pair in gained.values()]) for name in _AT]]
        for what, with_it, without in _GAINS
        for light in ("day", "night")
        if (gained := _differences(_seeds(f, with_it, light), _seeds(f, without, light)))
    ]
    queries = next(f[name]["day"]["queries"] for name in f if "/" in name)
    text = (
        f"### Ablations\n\nA simulated building of {f.get('rooms', '')} rooms, two of each model; short runs, "
        f"{f.get('epochs', '')} epochs; {queries} queries, one of which is {1 / queries:.3f}. The first table has the gains, "
        "seed by seed: with several seeds the mean, and the least and most.\n\n"
        "- distillation: a student learns from the teacher of its seed, from its distances and from which patches count.\n"
        "- rotary positions: a teacher's tokens encode where in space the points of a patch lie (`spatial.encoding=none` "
        "without).\n"
        "- labels: shares of points in common, or the overlap of the boxes around them (`mining.overlap=boxes`).\n"
        "- hard negatives: near by pose or by covisibility, and within a batch those whose descriptors are most similar. "
        "Random negatives (`mining.negative_selection=random`) are any that share no point, and all in the batch.\n"
        "- listwise loss, over shares of points in common: without it (`loss.listwise=0`) the contrastive loss is alone.\n"
        "- residual branch: without it (`network.residuals=0`) the transformer is alone.\n"
        "- initialization only: one epoch at a learning rate of 1e-7.\n"
    )
    gain_table = table(["gain of", "seeds", *_AT], gains)
    return f"{text}\n{gain_table}\nThe models themselves:\n\n{table(['model', 'seeds', *_AT], rows)}"


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
        "### Cost\n\n`make bench SECTIONS=global_descriptors_cost`: the network alone, of one image that has its size, "
        f"{f['threads']} threads, medians. torch (eager) and ONNX Runtime are timed in turns in one process. Parameters and "
        f"multiply-adds as `python -m training.place_recognition.cost` counts them. VLAD-SIFT: {vlad['dimension']} bytes in redkitchen's map, "
        f"{vlad['ms']:.1f} ms beside the keypoints, which are extracted anyway, {vlad['with_features_ms']:.0f} ms with them.\n"
    )
    header = ["network", "image", "M parameters", "GMAC", "bytes", "torch, ms", "ONNX Runtime, ms", "ONNX / torch"]
    return text + "\n" + table(header, rows)


_WRITERS = {
    "kitchen": _kitchen,
    "corridor": _corridor,
    "building": _building,
    "ablations": _ablations,
    "cost": _cost,
}
PARTS = tuple(_WRITERS)


def _ranked(f: Figures, light: str, limits: tuple[str, ...]) -> str:
    """A table of the models that were measured in a light."""
    rows = []
    for title, found in f[light].items():
        scores, localization = found["ranking"], found.get("localization")
        localized = [_of(localization, limit) if localization else "" for limit in limits]
        wrong = [str(localization["false_accepts"]) if localization else ""] if limits else []
        shares = [f"{scores[name]:.3f}" for name in _AT]
        rows.append([title, str(scores["dimension"]), *shares, *localized, *wrong])
    named = [limit.replace("cm_", " cm ").replace("deg", "°") for limit in limits]
    header = ["model", "dimensions", *_AT, *[f"localized, {limit}" for limit in named], *(["wrong"] if limits else [])]
    return table(header, rows)


def _queries(f: Figures, light: str) -> str:
    """The number of ranked queries, as text."""
    return f"{next(iter(f[light].values()))['ranking']['queries']} queries"


def _of(s: Figures, limit: str) -> str:
    return f"{s['recall'][limit] * s['queries']:.0f}/{s['queries']}"


def _seeds(f: Figures, title: str, light: str) -> dict[str, Figures]:
    """Scores by seed."""
    named = {name.partition("/")[2]: found for name, found in f.items() if name.partition("/")[0] == title}
    return {seed: found[light] for seed, found in named.items() if light in found}


def _differences(with_it: dict[str, Figures], without: dict[str, Figures]) -> dict[str, dict[str, float]]:
    """Differences of scores by seed."""
    both = [seed for seed in with_it if seed in without]
    return {seed: {name: with_it[seed][name] - without[seed][name] for name in _AT} for seed in both}


def _spread(found: dict[str, Figures], name: str) -> str:
    values = [scores[name] for scores in found.values()]
    return f"{fmean(values):.3f}" + (f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else "")


def _gain(values: list[float]) -> str:
    return f"{fmean(values):+.3f}" + (f" ({min(values):+.3f} to {max(values):+.3f})" if len(values) > 1 else "")
