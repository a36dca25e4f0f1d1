"""The chapters of BENCHMARK.md about images by themselves."""

from __future__ import annotations

from benchmarks.tables import Figures, table

MAP_COMMAND = "vloc map build --images map/images --poses map/poses_tum.txt --camera camera_info.yaml"
EVALUATE_COMMAND = "vloc evaluate --map MAP --images query/images --poses query/poses_tum.txt --camera camera_info.yaml"


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
        "`vloc map compress MAP --budget PART`, and as many points drawn at random. Maps that are searched as a whole lose "
        "their place index at once, a fifth of the bytes of redkitchen. Where rooms are furnished alike, fewer points also "
        "mean more answers in the wrong one: the rows of half the bytes in the next chapter."
    )
    text += "".join(_beside_hloc(name, f) for name, f in figures["compression"].get("hloc", {}).items()) + "\n"
    header = ["map, points", "points", "bytes", "median error", "2 cm 2°", "5 cm 5°", "after features, ms p50", "NEES"]
    return text + "\n" + table(header, rows)


def _beside_hloc(name: str, f: Figures) -> str:
    return (
        f" hloc's way stores {f['bytes'] / 1e6:.1f} MB for the images of {name}'s map (keypoints, descriptors of 256 bytes, "
        f"points, 4096 float32 an image): the whole map is {f['map_bytes'] / f['bytes']:.1%} of that."
    )


def growth(figures: dict[str, Figures]) -> str:
    """Search in larger and larger maps."""
    f = figures["growth"]
    rows = []
    for size in f["sizes"]:
        title = f"{size['rooms']} rooms, {size['points']} points" + (
            f", {size['buildings']} of them" if size["buildings"] > 1 else ""
        )
        for name, way in size["ways"].items():
            groups = ("all", "tellable", "untellable", "tellable_in_all")
            counts = [_counts(way[g]) for g in groups] if size["copies"] == 1 else [_refused(way["all"]), "", "", ""]
            resident = f"{way['resident_mb']:.0f} MB" if way["resident_mb"] is not None else ""
            ms = f"{way['p50_ms']:.0f}, {way['p95_ms']:.0f}"
            rows.append([title, name, *counts, ms, f"{way['bytes'] / 1e6:.1f} MB", resident])
    text = (
        "`make bench SECTIONS=growth`: rooms of eight models, in which bought things (posters, books, "
        "parcels) are the same pixel for pixel but for a quarter, and walls and floors have marks of their own; points and "
        "keypoints' places from the renderer's truth, since search is measured and not triangulation (rooms and queries in "
        f"{f['rooms_s'] / 60:.0f} minutes). The same rooms and the same questions make buildings of two rooms, of ten, and "
        "of all; figures of several buildings are over all of them. The last building repeats its rooms exactly, for time "
        "and memory: every answer there is unfounded. Right is within 25 cm and 2°; wrong is accepted and not right, "
        "nearly always in a room of the same model. Images that can be told apart show, in 2 % of their pixels or more, "
        "bought things that no other room of the building has at that place; those that cannot, in less than 0.5 %: of "
        "these an honest system refuses most. The images of the column before the milliseconds can be told apart in the "
        "building of all rooms: they are the same in every size. "
        "landmarks: places by the landmarks of the nearest points, compared where several are likely. places: VLAD. "
        "hloc's way: 20 keyframes by VLAD, matched image to image, of a quarter of the questions. Milliseconds are after "
        "the features, p50 and p95; stored is on disk, of one building (hloc's way: keypoints, descriptors of 256 bytes, "
        "global descriptors); resident is a process that localizes, its libraries included. "
        f"{_crossing(f['sizes'])}\n"
    )
    header = ["map", "way", "right, wrong, refused of all", "can be told apart", "cannot", "could in all rooms", "ms"]
    return text + "\n" + table([*header, "stored", "resident"], rows)


def _crossing(sizes: list[Figures]) -> str:
    """From what size on landmarks are the better way, in time and in answers."""
    faster = [s["points"] for s in sizes if s["ways"]["landmarks"]["p50_ms"] < s["ways"]["whole map"]["p50_ms"]]
    told = [s for s in sizes if s["copies"] == 1]
    better = [s["points"] for s in told if _right(s["ways"]["landmarks"]) > _right(s["ways"]["whole map"])]
    in_time = f"from {faster[0]} points on" if faster else f"nowhere up to {sizes[-1]['points']} points"
    in_answers = f"from {better[0]} points on" if better else "nowhere"
    return (
        f"Landmarks are faster than the whole map {in_time}, and right more often {in_answers}: rooms that are alike make "
        "the difference, not the number of points. By default a map up to `proposals.landmarks_min_points` is searched as a "
        "whole first, and by its landmarks where that finds nothing: set it to 0 for a small building of such rooms."
    )


def _right(way: Figures) -> float:
    return float(way["all"].get("right", 0)) / max(way["all"]["queries"], 1)


def _refused(group: Figures) -> str:
    return f"{group.get('refused', 0)} of {group['queries']} refused"


def _counts(group: Figures) -> str:
    n = max(group["queries"], 1)
    right, wrong, refused = (group.get(name, 0) for name in ("right", "wrong", "refused"))
    return f"{right / n:.1%}, {wrong / n:.1%}, {refused / n:.1%} of {group['queries']}"


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
        "`vloc evaluate --map redkitchen --absent --images …` and, in the simulated world, rooms with "
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
        "Normalised estimation error squared per degree of freedom and true poses inside the 95 % "
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
    text = "`python tools/simulation_statistics.py`; frames 4 cm apart; 10th percentile, median and 90th.\n"
    return text + "\n" + table(rows[0], rows[1:])
