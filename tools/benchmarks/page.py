"""BENCHMARK.md, from the figures that the sections left."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Figures = dict[str, Any]
HEAD = """# Benchmark

Written by `make bench`; every figure comes from the command beside it. Two x86-64 cores of a shared machine, no GPU: read
times as ratios within a section. Sections are run one by one, and a figure stays until its section is run again, so not
all are of the same version. Recall is over all queries, a refused one counts as wrong.
"""
MAP_COMMAND = "vloc map build --images map/images --poses map/poses_tum.txt --camera camera_info.yaml"
EVALUATE_COMMAND = "vloc evaluate --map MAP --images query/images --poses query/poses_tum.txt --camera camera_info.yaml"


def write_page(folder: Path, page: Path) -> None:
    """Write the page from all sections that have figures."""
    parts = [HEAD]
    for names, writer in CHAPTERS:
        figures = {name: json.loads(path.read_text()) for name in names if (path := folder / f"{name}.json").is_file()}
        if figures:
            parts.append(writer(figures))
    page.write_text("\n".join(parts))


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def accuracy_row(name: str, f: Figures) -> list[str]:
    """One map's accuracy, latency and size."""
    recall, latency = f["recall"], f["latency_ms"]
    after, features = latency["after_features"]["p50"], latency["features"]["p50"]
    return [
        name,
        f"{f['median_translation_m'] * 100:.2f} cm, {f['median_rotation_deg']:.2f}°",
        f"{recall['2cm_2deg'] * f['queries']:.0f}/{f['queries']}",
        f"{recall['5cm_5deg'] * f['queries']:.0f}/{f['queries']}",
        f"{features:.0f} + {after:.0f} ({after / features:.2f})",
        f"{f['map_bytes'] / 1e6:.2f} MB",
        f"{f['build_s']:.0f} s",
        f"{f['covariance']['nees_per_dof']:.2f}, {f['covariance']['inside_95']:.0%}",
    ]


def accuracy(figures: dict[str, Figures]) -> str:
    """Real scenes, from posed images and from images alone."""
    rows = [accuracy_row(name, figures[name]) for name in ("redkitchen", "castle") if name in figures]
    for name in ("redkitchen", "castle"):
        if "images_alone" in figures:
            rows.append(accuracy_row(f"{name}, images alone", figures["images_alone"][name]))
    for name in ("redkitchen", "castle"):
        if "merged" in figures:
            rows.append(accuracy_row(f"{name}, in one map of both", figures["merged"][name]))
    header = [
        "map",
        "median error",
        "2 cm 2°",
        "5 cm 5°",
        "features + rest, ms p50 (ratio)",
        "map",
        "build",
        "NEES, in 95 %",
    ]
    text = (
        "## Accuracy on photographs\n\n"
        f"`{MAP_COMMAND}` (castle: `--max-keypoints 4000`; images alone: `--structure sfm`, the poses then give scale and "
        f"frame only; both: `vloc map merge REDKITCHEN CASTLE --frames redkitchen castle`, asked with `--scene`; build is "
        f"the merging), then `{EVALUATE_COMMAND}`. redkitchen: 7-Scenes, 100 map images, 80 queries, 640x480. castle: "
        "Strecha castle-P30, 30 map images, the 9 of P19 that are not among them, 1536x1024. NEES is per degree of "
        "freedom, 1 when the covariance is honest; the last column also says how many true poses lie inside the 95 % "
        "ellipsoid. A covariance is about the frame of its map: that of a map from images alone does not hold how well "
        "that frame fits the given poses, which `vloc map build` prints beside it.\n"
    )
    return text + "\n" + table(header, rows)


def compression(figures: dict[str, Figures]) -> str:
    """Bytes against recall."""
    rows = []
    for name, curve in figures["compression"].items():
        for f in curve if isinstance(curve, list) else []:
            n, recall, median = f["queries"], f["recall"], f["median_translation_m"]
            rows.append(
                [
                    f"{name}, {f['chosen']}",
                    str(f["points"]),
                    f"{f['bytes'] / 1e6:.2f} MB ({f['bytes'] / curve[0]['bytes']:.0%})",
                    "" if median is None else f"{median * 100:.2f} cm",
                    f"{recall['2cm_2deg'] * n:.0f}/{n}",
                    f"{recall['5cm_5deg'] * n:.0f}/{n}",
                    f"{f['after_features_ms']:.0f}",
                    f"{f['covariance']['nees_per_dof']:.2f}" if f["covariance"] else "",
                ]
            )
    text = (
        "## Bytes against recall\n\n`vloc map compress MAP --budget PART`, and as many points drawn at random. What is "
        "lost is refused, not wrong. Maps that are searched as a whole lose their place index at once, a fifth of the "
        "bytes of redkitchen.\n"
    )
    header = ["map, points", "points", "bytes", "median error", "2 cm 2°", "5 cm 5°", "after features, ms p50", "NEES"]
    return text + "\n" + table(header, rows)


def growth(figures: dict[str, Figures]) -> str:
    """Search in larger and larger maps."""
    rows = [
        [
            f"{size['rooms']} rooms, {size['points']} points",
            name,
            f"{way['right']}/{size['queries']}",
            str(way["wrong"]),
            f"{way['p50_ms']:.0f}, {way['p95_ms']:.0f}",
        ]
        for size in figures["growth"]["sizes"]
        for name, way in size["ways"].items()
    ]
    text = (
        "## Growing maps\n\n`make bench SECTIONS=growth`: buildings of rooms of four models, in which bought things "
        "(posters, books, doors of cupboards) are the same pixel for pixel but for 15 %, and walls and floors have marks "
        "of their own; points from the truth. Asked are images of all rooms, each by itself: right is within 25 cm and "
        "2°, wrong is accepted and not right, most often a room of the same model whose points are mapped where those of "
        "the right one are not. hloc's way: 20 keyframes by VLAD, matched image to image. Milliseconds are after the "
        "features, p50 and p95.\n"
    )
    return text + "\n" + table(["map", "way", "right", "wrong", "ms"], rows)


def false_accepts(figures: dict[str, Figures]) -> str:
    """Images of places that the map does not hold."""
    rows = [
        [f"redkitchen asked {name}", str(f["queries"]), str(f["accepted"]), _refusals(f)]
        for name, f in figures.get("elsewhere", {}).items()
        if isinstance(f, dict)
    ]
    for name, f in figures.get("merged", {}).items():
        if isinstance(f, dict):
            rows.append([f"redkitchen and castle in one map, asked {name}", str(f["queries"]), *_merged_row(f)])
    for f in figures.get("lookalikes", {}).get("worlds", []):
        rows.append([f"{f['name']}: lookalike", str(f["queries"]), str(f["accepted"]), _refusals(f)])
        rows.append([f"{f['name']}: itself (recall 25 cm 2°)", str(f["own_queries"]), f"{f['own_recall']:.1%}", ""])
    text = (
        "## False accepts\n\n`vloc evaluate --map redkitchen --absent --images …` and, in the simulated world, rooms with "
        "the same wallpapers, furniture and posters in another arrangement (`make bench SECTIONS=lookalikes`). Every "
        "acceptance is a false one.\n"
    )
    text += "\n" + table(["asked", "images", "accepted", "refused as"], rows)
    return text + _with_priors(figures["elsewhere_with_priors"]) if "elsewhere_with_priors" in figures else text


def _with_priors(figures: Figures) -> str:
    """The same images, with a prior that is wrong."""
    rows = []
    for certainty, by_place in figures["certainties"].items():
        for place, f in by_place.items():
            asked = [
                f"redkitchen asked {place}, {certainty}",
                str(f["queries"]),
                str(f["accepted"]),
                str(f["by_prior"]),
                _refusals(f),
            ]
            rows.append(asked)
    text = (
        f"\nThe photographs of other places, asked with a prior that says that the camera is where a keyframe of redkitchen was, "
        f"{figures['priors_per_image']} keyframes drawn for each (`make bench SECTIONS=elsewhere_with_priors`): standard deviations 5 cm and 0.03 rad, like the last fix, or 50 cm "
        "and 0.26 rad, like a pose given in RViz. Beside them redkitchen's own queries, with priors that err as much as they say.\n"
    )
    return text + "\n" + table(["asked", "queries", "accepted", "of these by the prior", "refused as"], rows)


def _merged_row(f: Figures) -> list[str]:
    if f["covariance"] is None:  # of neither scene
        return [str(f["accepted"]), _refusals(f)]
    return [f"{f['accepted']}, {f['false_accepts']} of them in the wrong scene or place", _refusals(f)]


def _refusals(f: Figures) -> str:
    return ", ".join(f"{name} {count}" for name, count in f["refusals"].items())


def covariance(figures: dict[str, Figures]) -> str:
    """Honesty of the covariance in simulated worlds."""
    f = figures["covariance"]
    rows = [
        [
            w["name"],
            str(w["accepted"]),
            f"{w['median_translation_m'] * 100:.2f} cm",
            f"{w['nees']:.2f}",
            f"{w['inside']:.0%}",
        ]
        for w in f["worlds"]
    ]
    text = (
        "## Covariance\n\nNormalised estimation error squared per degree of freedom and true poses inside the 95 % "
        "ellipsoid, `make bench SECTIONS=covariance`. Each map calibrates itself on segments that it leaves out; "
        "nothing was chosen on these worlds. A few answers far outside their covariance make the "
        "worst values. "
        f"Over all: NEES {f['nees']:.2f} (95 % interval {f['nees_interval'][0]:.2f} to {f['nees_interval'][1]:.2f}, "
        f"bootstrapped by world), inside {f['inside']:.1%} ({f['inside_interval'][0]:.1%} to {f['inside_interval'][1]:.1%}).\n"
    )
    return text + "\n" + table(["world", "accepted", "median error", "NEES / 6", "inside 95 %"], rows)


def statistics(figures: dict[str, Figures]) -> str:
    """How like real images the simulated ones are."""
    rows = [[cell.strip() for cell in line.split("|")] for line in figures["statistics"]["lines"]]
    text = (
        "## The simulated world beside redkitchen\n\n`python tools/simulation_statistics.py`; frames 4 cm apart; 10th "
        "percentile, median and 90th.\n"
    )
    return text + "\n" + table(rows[0], rows[1:])


def live(figures: dict[str, Figures]) -> str:
    """Through the real nodes, over DDS, at the bag's own rate."""
    rows = []
    for name in ("live_redkitchen", "live_simulated"):
        if name in figures:
            f = figures[name]
            latency = f["live"]["publish_to_receive_ms"]
            rows.append([
                name.removeprefix("live_"), f"{f['live']['rate_hz']:.1f} Hz", f"{f['live']['answered']}/{f['live']['images']}",
                str(f["live"]["dropped"]), f"{latency['p50']:.0f} / {latency['p95']:.0f} / {latency['p99']:.0f}",
                f"{f['live']['max_difference']:.1e}", f"{f['live']['max_tf_difference']:.1e}",
            ])  # fmt: skip
    text = (
        "## Live, over DDS\n\n`vloc evaluate --bag BAG --map MAP --truth-topic /truth --live`: player, map server, localizer "
        "and recorder as processes, the bag at its own rate, priors off. Latency is from publishing the image to receiving "
        "its pose, on the monotonic clock. The last two columns: the largest difference between a live pose and the "
        "offline one for the same image, and between map→odom · odom→base and the published pose.\n"
    )
    header = ["bag", "rate", "answered", "drops", "latency p50 / p95 / p99 ms", "live to offline", "TF to pose"]
    return text + "\n" + table(header, rows)


def sequences(figures: dict[str, Figures]) -> str:
    """Images in a row: what tracking saves, kidnapping, and leaving the mapped place."""
    writers = {"tracking": _tracking, "kidnappings": _kidnappings, "leaving": _leaving}
    head = (
        "## From image to image\n\nThe last fix, carried on by odometry, tells where to look, and a jump is held until it is "
        "confirmed (`vloc evaluate --sequence`).\n"
    )
    return "\n".join([head, *(write(figures[name]) for name, write in writers.items() if name in figures)])


def _tracking(figures: Figures) -> str:
    """By itself against in a row, live."""
    return "\n".join(
        [
            "The same bags live over DDS, every image by itself (priors off) and in a row "
            "(`make bench SECTIONS=tracking`). Times are of the stages in the node, and from publish to receive.\n",
            table(
                [
                    "bag",
                    "images",
                    "p50 features + rest, ms",
                    "publish to receive p50 / p95 / p99 ms",
                    "drops",
                    "published",
                ],
                [
                    _tracking_row(f"{bag}, {mode}", f)
                    for bag, modes in figures["bags"].items()
                    for mode, f in modes.items()
                ],
            ),
        ]
    )


def _kidnappings(f: Figures) -> str:
    """How long until the pose is right again."""
    return "\n".join(
        [
            "A robot that knows where it is is put down elsewhere in the same map, which odometry does not notice "
            f"(`make bench SECTIONS=kidnappings`, {f['frame_s']:g} s from frame to frame): frames until the first right "
            "pose is published, and wrong ones (50 cm, 5°) published before. Those whose first view is refused by itself, without "
            "anything believed, are counted apart: a robot that stands sees nothing else.\n",
            table(
                [
                    "world",
                    "kidnappings",
                    f"back within {f['most']} frames",
                    "of these with a first view accepted by itself",
                    "with one refused by itself",
                    "frames: median / 90 % / most",
                    "wrong published",
                ],
                [_kidnapping_row(world) for world in [*f["worlds"], *_over_worlds(f["worlds"])]],
            ),
        ]
    )


def _leaving(f: Figures) -> str:
    """What is believed of places that are not mapped."""
    return "\n".join(
        [
            "A robot that knows where it is sees places that only look like the mapped one "
            "(`make bench SECTIONS=leaving`): every fix is a false one.\n",
            table(
                ["world", "known at the start", "frames", "accepted by the localizer", "published by the filter"],
                [
                    [w["name"], w["starts_known"], str(w["frames"]), str(w["accepted"]), str(w["published"])]
                    for w in f["worlds"]
                ],
            ),
        ]
    )


# of the images that were answered; dropped ones have no times
_AFTER_FEATURES = ("proposals", "matching", "pose", "verification")


def _tracking_row(name: str, f: Figures) -> list[str]:
    received, stages = f["live"]["publish_to_receive_ms"], f["latency_ms"]
    return [
        name,
        str(f["live"]["images"]),
        f"{stages['features']['p50']:.0f} + {sum(stages[s]['p50'] for s in _AFTER_FEATURES):.0f}",
        f"{received['p50']:.0f} / {received['p95']:.0f} / {received['p99']:.0f}",
        str(f["live"]["dropped"]),
        str(f["accepted"]),
    ]


def _kidnapping_row(world: Figures) -> list[str]:
    back = sorted(frames for frames in world["frames"] if frames is not None)
    spread = f"{back[len(back) // 2]} / {back[int(0.9 * len(back))]} / {back[-1]}" if back else "-"
    return [
        world["name"],
        str(len(world["frames"])),
        str(len(back)),
        _back_of(world, refused=False),
        _back_of(world, refused=True),
        spread,
        str(world["wrong"]),
    ]


def _back_of(world: Figures, *, refused: bool) -> str:
    """How many came back of those whose first view is refused by itself, or is not."""
    pairs = zip(world["frames"], world["refused_alone"], strict=True)
    these = [frames for frames, alone in pairs if alone == refused]
    return f"{sum(frames is not None for frames in these)} of {len(these)}"


def _over_worlds(worlds: list[Figures]) -> list[Figures]:
    """One row for the robots that drive on, one for those that stand."""
    rows = []
    for then in sorted({world["then"] for world in worlds}):
        these = [world for world in worlds if world["then"] == then]
        pooled = {name: [one for world in these for one in world[name]] for name in ("frames", "refused_alone")}
        rows.append({"name": f"all, {then}", "wrong": sum(world["wrong"] for world in these), **pooled})
    return rows


def rigs(figures: dict[str, Figures]) -> str:
    """One camera against several."""
    worlds = figures["rigs"]["worlds"]
    rows = []
    for world in worlds:
        for names, f in world["cameras"].items():
            right, metres = f"{f['right']}/{f['queries']}", f["median_translation_m"]
            error = "-" if metres is None else f"{metres * 1000:.1f} mm"
            rows.append([world["name"], names, right, str(f["false_accepts"]), error, f"{f['total_ms']:.0f}"])
    text = (
        "## Several cameras\n\n`make bench SECTIONS=rigs`: a camera that looks ahead, as those that made the map, and "
        "two that look aside; each alone, and solved together. Every moment by itself. Right is within 25 cm and 2°; the median counts "
        "what was refused as the largest.\n"
    )
    return text + "\n" + table(["world", "cameras", "right", "wrong", "median error", "ms"], rows)


def memory(figures: dict[str, Figures]) -> str:
    """Of the nodes over a long drive."""
    f = figures["soak"]
    rows = [[name, f"{f['memory_mb'][name]:.0f} MB", f"{mb:+.1f} MB"] for name, mb in f["growth_mb"].items()]
    seen = ", ".join(f"{name} {count}" for name, count in f["statuses"].items())
    text = (
        f"## Memory\n\n`make soak`: {f['minutes']:g} minutes of images at {f['rate_hz']:g} Hz, anonymous resident memory, its "
        f"growth from the third minute to the last, which is to stay under 5 MB. Statuses: {seen}.\n"
    )
    return text + "\n" + table(["node", "at the end", "growth"], rows)


CHAPTERS: list[tuple[tuple[str, ...], Callable[[dict[str, Figures]], str]]] = [
    (("redkitchen", "castle", "images_alone", "merged"), accuracy),
    (("compression",), compression),
    (("growth",), growth),
    (("elsewhere", "elsewhere_with_priors", "merged", "lookalikes"), false_accepts),
    (("covariance",), covariance),
    (("live_redkitchen", "live_simulated"), live),
    (("tracking", "kidnappings", "leaving"), sequences),
    (("rigs",), rigs),
    (("soak",), memory),
    (("statistics",), statistics),
]
